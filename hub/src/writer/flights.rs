//! The writes in flight ([`Flights`]), at most one for each object.

use std::collections::HashMap;

use portreeve_api::refs::ObjectRef;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::request::Outcome;
use crate::status::ObjectStatus;

/// A finished write.
pub struct Landed {
    /// The object.
    pub key: ObjectRef,
    /// The status that was to be written.
    pub status: ObjectStatus,
    /// The result.
    pub outcome: kube::Result<Outcome>,
}

/// The writes in flight. They are cancelled on drop.
#[derive(Default)]
pub struct Flights {
    tasks: JoinSet<Landed>,
    handles: HashMap<ObjectRef, AbortHandle>,
}

// === impl Flights ===

impl Flights {
    /// Begins a write. None of the same object may be in flight.
    pub fn begin(&mut self, key: &ObjectRef, write: impl Future<Output = Landed> + Send + 'static) {
        let handle = self.tasks.spawn(write);
        self.handles.insert(key.clone(), handle);
    }

    /// Cancels the write of an object, whose result is lost even if it is finished.
    pub fn cancel(&mut self, key: &ObjectRef) {
        if let Some(handle) = self.handles.remove(key) {
            handle.abort();
        }
    }

    /// Cancels all writes.
    pub fn cancel_all(&mut self) {
        self.handles.clear();
        self.tasks.abort_all();
    }

    /// Returns whether no write is in flight.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Waits for the next finished write. Can be dropped without losing one.
    pub async fn landed(&mut self) -> Landed {
        loop {
            let ended = match self.tasks.join_next_with_id().await {
                Some(ended) => self.settle(ended),
                None => std::future::pending().await,
            };
            if let Some(landed) = ended {
                return landed;
            }
        }
    }

    /// Returns the next write that is finished already.
    pub fn try_landed(&mut self) -> Option<Landed> {
        loop {
            let ended = self.tasks.try_join_next_with_id()?;
            if let Some(landed) = self.settle(ended) {
                return Some(landed);
            }
        }
    }

    /// Returns the result of a task, unless it was cancelled.
    fn settle(&mut self, ended: Result<(Id, Landed), JoinError>) -> Option<Landed> {
        let (id, landed) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return None,
        };
        self.handles.get(&landed.key).filter(|handle| handle.id() == id)?;
        self.handles.remove(&landed.key);
        Some(landed)
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::a::virtual_service::KIND;

    use super::*;

    async fn ended(key: ObjectRef) -> Landed {
        Landed { key, status: ObjectStatus::default(), outcome: Ok(Outcome::Passed) }
    }

    #[tokio::test]
    async fn result_of_a_cancelled_write_is_not_taken_for_that_of_the_next_one() {
        let key = ObjectRef::namespaced(&KIND, "ns", "o");
        let mut flights = Flights::default();
        flights.begin(&key, ended(key.clone()));
        tokio::task::yield_now().await;
        flights.cancel(&key);
        assert!(flights.is_empty());
        flights.begin(&key, std::future::pending());
        tokio::task::yield_now().await;
        assert!(flights.try_landed().is_none() && !flights.is_empty(), "the second one still runs");
        flights.cancel(&key);
        flights.begin(&key, ended(key.clone()));
        assert_eq!(flights.landed().await.key, key);
        assert!(flights.is_empty());
    }
}
