//! One stream on a view ([`Watch`]): a [`Session`] that gets the view's changes. It needs no runtime, only a waker.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::load::Load;
use crate::message::{Event, Request, Response, Variant};
use crate::resource::ResourceType;
use crate::session::Session;
use crate::view::{Mailbox, View};

/// A session on a view. Dropping it leaves the view.
pub struct Watch<T: ResourceType> {
    view: Arc<View<T>>,
    mailbox: Arc<Mailbox<T>>,
    id: u32,
    session: Session<T>,
}

// === impl Watch ===

impl<T: ResourceType> Watch<T> {
    /// Starts a stream on `view`; `only` as in [`Session::new`].
    pub fn new(view: Arc<View<T>>, variant: Variant, only: Option<T>) -> Self {
        let (id, mailbox) = view.join();
        Self { view, mailbox, id, session: Session::new(variant, only) }
    }

    /// Handles one request.
    pub fn request(&mut self, req: Request<T>, now: Instant) {
        if !self.session.may_subscribe(&req) {
            let inner = self.view.read();
            self.session.request(req, &inner.snapshot, now);
            return;
        }
        let mut inner = self.view.write();
        self.session.request(req, &inner.snapshot, now);
        for interest in self.session.take_interest() {
            inner.set_interest(self.id, interest);
        }
    }

    /// Returns the next response, if there is one now.
    pub fn next(&mut self, now: Instant) -> Option<Response<T>> {
        self.respond(now, true)
    }

    /// Returns the next response. Without `take_changes`, changes since the last call wait.
    pub(crate) fn respond(&mut self, now: Instant, take_changes: bool) -> Option<Response<T>> {
        let inner = self.view.read();
        if take_changes {
            let mut mail = self.mailbox.lock();
            let (dirty, recheck) = (std::mem::take(&mut mail.dirty), std::mem::take(&mut mail.recheck));
            let rebased = std::mem::take(&mut mail.rebased);
            drop(mail);
            if recheck {
                self.session.recheck(&inner.snapshot);
            }
            for ((ty, name), place) in dirty {
                self.session.changed_at(ty, &name, place);
            }
            self.session.told(&inner.snapshot, rebased);
        }
        let mut response = self.session.next(&inner.snapshot, now)?;
        response.system_version.clone_from(&inner.watermark);
        Some(response)
    }

    /// See [`Session::is_idle`].
    pub fn is_idle(&self) -> bool {
        self.session.is_idle()
    }

    /// See [`Session::load`].
    pub fn load(&self) -> Load {
        self.session.load()
    }

    /// See [`Session::check`].
    pub fn check(&self) -> Result<(), String> {
        self.session.check()
    }

    /// See [`Session::deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }

    /// See [`Session::events`].
    pub fn events(&mut self) -> Vec<Event<T>> {
        self.session.events()
    }

    /// Returns why the view was closed; `None` if it was not.
    pub fn closed(&self) -> Option<Arc<str>> {
        self.mailbox.lock().closed.clone()
    }

    /// Is ready when the view has a change for this stream or was closed.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut mail = self.mailbox.lock();
        if !mail.dirty.is_empty() || mail.rebased || mail.recheck || mail.closed.is_some() {
            return Poll::Ready(());
        }
        mail.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T: ResourceType> Drop for Watch<T> {
    fn drop(&mut self) {
        self.view.leave(self.id, self.session.subscriptions());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Changes, EnvoyType, Kind, Resource, Snapshot};

    #[test]
    fn changes_that_wait_are_one_response() {
        let now = Instant::now();
        let put = |body: &[u8]| {
            let resource = Resource::new(EnvoyType::Cluster, "c", body);
            Changes { upsert: vec![(EnvoyType::Cluster, resource)], ..Changes::default() }
        };
        let view = View::new(Snapshot::default());
        let mut watch = Watch::new(view.clone(), Variant::Delta, None);
        let subscribe = vec!["c".into()];
        watch.request(Request { subscribe, ..Request::new(Kind::Known(EnvoyType::Cluster)) }, now);
        assert!(watch.respond(now, true).is_some_and(|first| first.removed.len() == 1));
        for body in [b"1", b"2", b"3"] {
            view.apply(put(body));
            assert!(watch.respond(now, false).is_none());
        }
        let response = watch.respond(now, true).unwrap();
        assert_eq!(response.resources.iter().map(|one| one.body()).collect::<Vec<_>>(), [b"3"]);
        assert!(watch.respond(now, true).is_none());
    }
}
