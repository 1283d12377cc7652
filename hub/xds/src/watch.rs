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

/// Which changes of its view a stream takes in before a response. The others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// None.
    Nothing,
    /// Those of [urgent](ResourceType::urgent) types.
    Urgent,
    /// All.
    All,
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
        self.respond(now, Take::All)
    }

    /// Returns the next response, if there is one now. Changes that are not taken wait.
    pub fn respond(&mut self, now: Instant, take: Take) -> Option<Response<T>> {
        let inner = self.view.read();
        if take != Take::Nothing {
            let all = take == Take::All;
            let mut mail = self.mailbox.lock();
            mail.news = false;
            let recheck = all && std::mem::take(&mut mail.recheck);
            let dirty = match all {
                true => std::mem::take(&mut mail.dirty),
                false => mail.dirty.extract_if(.., |(ty, _), _| ty.urgent()).collect(),
            };
            drop(mail);
            if recheck {
                self.session.recheck(&inner.snapshot);
            }
            for ((ty, name), place) in dirty {
                self.session.changed_at(ty, &name, place);
            }
            self.session.told(&inner.snapshot, |ty| all || ty.urgent());
        }
        let mut response = self.session.next(&inner.snapshot, now)?;
        response.system_version.clone_from(&inner.watermark);
        Some(response)
    }

    /// See [`Session::is_far_behind`].
    pub fn is_far_behind(&self) -> bool {
        self.session.is_far_behind(&self.view.read().snapshot)
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
        if mail.news || mail.closed.is_some() {
            return Poll::Ready(());
        }
        mail.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T: ResourceType> Drop for Watch<T> {
    fn drop(&mut self) {
        self.view.leave(self.id, self.session.subscribed_names());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{Base, Batch, Changes, EnvoyType, Kind, Resource, Snapshot};

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
        assert!(watch.respond(now, Take::All).is_some_and(|first| first.removed.len() == 1));
        for body in [b"1", b"2", b"3"] {
            view.apply(put(body));
            assert!(watch.respond(now, Take::Nothing).is_none());
        }
        let response = watch.respond(now, Take::All).unwrap();
        assert_eq!(response.resources.iter().map(|one| one.body()).collect::<Vec<_>>(), [b"3"]);
        assert!(watch.respond(now, Take::All).is_none());
    }

    /// Types of which one is urgent.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    enum Two {
        Siren,
        Parcel,
    }

    impl ResourceType for Two {
        const ALL: &'static [Self] = &[Self::Siren, Self::Parcel];

        fn type_url(self) -> &'static str {
            match self {
                Self::Siren => "siren",
                Self::Parcel => "parcel",
            }
        }

        fn legacy_wildcard(self) -> bool {
            true
        }

        fn full_state(self) -> bool {
            true
        }

        fn urgent(self) -> bool {
            self == Self::Siren
        }
    }

    #[test]
    fn stream_that_is_far_behind_may_take_what_is_urgent_alone() {
        let now = Instant::now();
        let view: Arc<View<Two>> = View::new(Snapshot::of(Base::default(), None));
        let mut watch = Watch::new(view.clone(), Variant::Delta, None);
        let told = |response: Option<Response<Two>>| response.map(|one| (one.ty, one.resources.len()));
        for ty in Two::ALL {
            watch.request(Request::new(Kind::Known(*ty)), now);
            assert_eq!(told(watch.respond(now, Take::All)), Some((Some(*ty), 0)));
        }
        let mut base = Base::default();
        let many = (0..1000).map(|i| (Two::Parcel, Resource::new(Two::Parcel, i.to_string(), b"1")));
        let own = |ty| (ty, Resource::new(ty, "own", b"1"));
        let shared = [(Two::Siren, Resource::new(Two::Siren, "shared", b"1"))];
        let changes = Changes { upsert: many.chain(shared).collect(), remove: Vec::new() };
        let differ: Batch<Two> = base.apply(&changes).into();
        view.install(
            base,
            &differ,
            Changes { upsert: Two::ALL.iter().copied().map(own).collect(), remove: Vec::new() },
        );
        assert!(watch.is_far_behind());
        assert_eq!(told(watch.respond(now, Take::Urgent)), Some((Some(Two::Siren), 2)));
        assert_eq!(told(watch.respond(now, Take::Urgent)), None);
        assert!(watch.poll_changed(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(told(watch.respond(now, Take::All)), Some((Some(Two::Parcel), 1001)));
        assert!(!watch.is_far_behind());
    }
}
