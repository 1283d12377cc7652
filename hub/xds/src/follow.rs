//! A listener for a view's changes that is not a stream ([`Follower`]): for what serves a proxy by another protocol.

use std::sync::Arc;

use crate::resource::{Name, ResourceType};
use crate::session::Interest;
use crate::view::{Mailbox, View};

/// Notes which resources of a view change. Dropping it leaves the view.
///
/// It counts as a stream of the view. It holds at most one entry per name of a resource, however long it is not read.
pub struct Follower<T: ResourceType> {
    view: Arc<View<T>>,
    mailbox: Arc<Mailbox<T>>,
    id: u32,
}

// === impl Follower ===

impl<T: ResourceType> Follower<T> {
    /// Follows all resources of `view` from now on.
    pub fn new(view: Arc<View<T>>) -> Self {
        let (id, mailbox) = view.join();
        let mut inner = view.write();
        T::ALL.iter().for_each(|ty| inner.set_interest(id, Interest::Wildcard(*ty, true)));
        drop(inner);
        Self { view, mailbox, id }
    }

    /// Returns the view.
    pub fn view(&self) -> &Arc<View<T>> {
        &self.view
    }

    /// Returns the resources that were added, replaced or removed since the last call, each once. The view's snapshot
    /// tells what they are now.
    pub fn take(&self) -> Vec<(T, Name)> {
        let dirty = std::mem::take(&mut self.mailbox.lock().dirty);
        dirty.into_keys().collect()
    }
}

impl<T: ResourceType> Drop for Follower<T> {
    fn drop(&mut self) {
        self.view.leave(self.id, std::iter::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Changes;
    use crate::envoy::EnvoyType;
    use crate::resource::Resource;
    use crate::snapshot::Snapshot;

    #[test]
    fn changes_are_told_once_each_until_the_follower_leaves() {
        let view = View::<EnvoyType>::new(Snapshot::new());
        let follower = Follower::new(view.clone());
        let cluster = |body: &[u8]| (EnvoyType::Cluster, Resource::new(EnvoyType::Cluster, "c", body));
        for body in [b"1", b"2"] {
            view.apply(Changes { upsert: vec![cluster(body)], remove: Vec::new() });
        }
        assert_eq!(follower.take(), [(EnvoyType::Cluster, Name::from("c"))]);
        assert!(follower.take().is_empty());
        view.apply(Changes { upsert: Vec::new(), remove: vec![(EnvoyType::Cluster, "c".into())] });
        assert_eq!(follower.take(), [(EnvoyType::Cluster, Name::from("c"))]);
        assert_eq!(view.streams(), 1);
        drop(follower);
        assert_eq!(view.streams(), 0);
    }
}
