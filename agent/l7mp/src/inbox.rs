//! The way of a desired state to its driver ([`channel`]). Changes that the driver has not taken yet are merged, so there
//! is at most one per resource.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::desired::{Changes, Desired};

/// The sending half. The driver ends when it is dropped.
pub struct Sender {
    shared: Arc<Shared>,
}

/// The driver's half.
pub struct Receiver {
    shared: Arc<Shared>,
}

/// What the driver has not taken yet.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// The whole desired state.
    Whole(Box<Desired>),
    /// Changes since the last news.
    Changes(Changes),
}

struct Shared {
    mail: Mutex<Mail>,
    posted: Notify,
}

#[derive(Default)]
struct Mail {
    news: Option<News>,
    closed: bool,
}

/// Creates both halves. The desired state is empty and keeps everything that the proxy has, until the first news.
pub fn channel() -> (Sender, Receiver) {
    let shared = Arc::new(Shared { mail: Mutex::default(), posted: Notify::new() });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

// === impl Sender ===

impl Sender {
    /// Replaces the whole desired state.
    pub fn replace(&self, desired: Desired) {
        self.shared.post(|mail| mail.news = Some(News::Whole(Box::new(desired))));
    }

    /// Changes the desired state.
    pub fn change(&self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        self.shared.post(|mail| match &mut mail.news {
            Some(News::Whole(desired)) => desired.apply(changes),
            Some(News::Changes(earlier)) => earlier.merge(changes),
            None => mail.news = Some(News::Changes(changes)),
        });
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.post(|mail| mail.closed = true);
    }
}

// === impl Receiver ===

impl Receiver {
    /// Takes what was sent since the last call.
    pub(crate) fn take(&self) -> Option<News> {
        self.shared.lock().news.take()
    }

    /// Whether the sender is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Waits for news or for the end of the sender. At once if there are some already.
    pub(crate) async fn posted(&self) {
        loop {
            let posted = self.shared.posted.notified();
            {
                let mail = self.shared.lock();
                if mail.closed || mail.news.is_some() {
                    return;
                }
            }
            posted.await;
        }
    }
}

// === impl Shared ===

impl Shared {
    fn post(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.lock());
        self.posted.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{mk_desired, put_cluster};

    #[test]
    fn later_changes_win_and_nothing_is_told_twice() {
        let (sender, receiver) = channel();
        let removed = || Changes { clusters: [("c".into(), None)].into(), ..Changes::default() };
        sender.replace(mk_desired());
        sender.change(removed());
        let Some(News::Whole(desired)) = receiver.take() else { panic!("whole") };
        assert!(desired.clusters.is_empty() && desired.listeners.len() == 1);
        assert_eq!(receiver.take(), None);
        sender.change(removed());
        let mut again = Desired::default();
        put_cluster(&mut again, "c", 9, &[]);
        let clusters = again.clusters.into_iter().map(|(name, entry)| (name, Some(entry))).collect();
        let added = Changes { clusters, keep_all: Some(false), ..Changes::default() };
        sender.change(added.clone());
        assert_eq!(receiver.take(), Some(News::Changes(added)));
    }

    #[tokio::test]
    async fn receiver_wakes_for_news_and_for_the_end() {
        let (sender, receiver) = channel();
        sender.replace(mk_desired());
        receiver.posted().await;
        receiver.take();
        assert!(!receiver.is_closed());
        drop(sender);
        receiver.posted().await;
        assert!(receiver.is_closed());
    }
}
