//! Streams of proxies: their begin, their answers and their end. The xDS server uses them as a [`Source`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_agent_core::fleet::{Announced, Roster};
use portreeve_agent_core::translate::ProxyModel;
use portreeve_agent_core::world::{ProxyId, World};
use portreeve_xds::{Budget, Event, Hello, Peer, Source, StreamGuard, StreamInfo, View};
use tonic::Status;

use super::{Local, announced};
use crate::witness::witnessed;
use crate::{interfaces, restore};

/// How long a connecting proxy waits for its pod to appear in the pod watch, which may lag behind.
const UNKNOWN_PROXY: Duration = Duration::from_secs(5);

/// How long a connecting proxy waits for the first answers for host names of its Plans. Then it is served
/// everything else, and no resource that it runs is removed.
const UNANSWERED_NAMES: Duration = Duration::from_secs(3);

// === impl Local ===

impl Local {
    /// Returns a proxy's view; `None` while it is not available. With `patient`, the view is available only
    /// once the host names of the proxy's Plans are resolved.
    fn try_open<T: ProxyModel>(&self, id: &ProxyId, hello: &Hello, patient: bool) -> Option<Arc<View<T>>> {
        let announced = announced::of(hello);
        let settled = |world: &World| !patient || world.settled(T::KIND, id, &announced);
        if !self.read(settled) {
            return None;
        }
        self.begin(hello.stream, id, announced, hello.fresh)
    }

    /// Begins a stream of a proxy, and returns the proxy's view; `None` while it is not available. A `fresh` proxy has no
    /// resources yet.
    pub(crate) fn begin<T: ProxyModel>(
        &self,
        stream: u64,
        id: &ProxyId,
        announced: Announced,
        fresh: bool,
    ) -> Option<Arc<View<T>>> {
        let mut inner = self.lock();
        if !inner.world.complete() {
            return None;
        }
        let view = inner.world.open::<T>(id, &announced)?;
        // If another process of this proxy still has sessions, the new one gets the same resources.
        if fresh && inner.world.is_alone::<T>(id) {
            inner.world.restarted::<T>(id);
        }
        inner.world.welcome::<T>(stream, id, announced);
        self.note_announced(&inner.world, id);
        restore::save(&mut inner.world, &self.saver);
        self.settle(&mut inner);
        drop(inner);
        self.generation.send_modify(|n| *n += 1);
        Some(view)
    }

    /// Ends a stream of a proxy.
    pub(crate) fn end<T: ProxyModel>(&self, stream: u64) {
        let mut inner = self.lock();
        let Some((id, alone)) = inner.world.part::<T>(stream, Instant::now()) else { return };
        self.note_announced(&inner.world, &id);
        self.settle(&mut inner);
        drop(inner);
        if alone {
            self.presumptions.notify_one();
        }
        tracing::info!(proxy = %id, "proxy disconnected");
        self.generation.send_modify(|n| *n += 1);
    }

    /// Logs that a process of a pod announces another name than a connected process of the same pod.
    fn tell_of_names<T: ProxyModel>(&self, id: &ProxyId, claimed: &str) {
        let named =
            |world: &World| world.fleet::<T>()?.facts(id).map(|facts| facts.announced.node_id.clone());
        let ProxyId::Pod(_) = id else { return };
        if let Some(announced) = self.read(named).filter(|announced| announced != claimed) {
            tracing::warn!(
                proxy = %id,
                claimed,
                announced,
                "this pod's proxies announce different names; all of them get the listeners of the first one's name"
            );
        }
    }

    /// Finds the interfaces that lead to a proxy's pod with a network of its own.
    async fn find_interfaces(&self, id: &ProxyId, peer: &Peer) {
        let ProxyId::Pod(uid) = id else { return };
        let Ok(pid) = witnessed(peer, |pid| pid) else { return };
        let found = interfaces::leading_to(pid).await;
        // The pid belonged to this process all the time.
        if witnessed(peer, |_| ()).is_err() {
            return;
        }
        match found {
            Ok(found) => self.change(|world| world.set_interfaces(uid, found)),
            Err(error) => {
                tracing::warn!(proxy = %id, error = format!("{error:#}"), "can't tell which interface leads to the pod")
            }
        }
    }

    /// Records a proxy's answer on a stream.
    pub(crate) fn note<T: ProxyModel>(&self, stream: u64, event: &Event<T>) {
        let mut inner = self.lock();
        let Some(id) = inner.world.at_stream::<T>(stream).cloned() else { return };
        // Its end is stamped before the hub can hear of it: the whole change must not end before its parts.
        self.tracer.get().inspect(|tracer| tracer.answered(&id, event));
        inner.world.answered(&id, event);
        restore::save(&mut inner.world, &self.saver);
        self.settle(&mut inner);
        // An l7mp proxy that has everything makes its pod an endpoint.
        self.health.follow(inner.world.health());
        drop(inner);
        self.generation.send_modify(|n| *n += 1);
    }
}

impl<T: ProxyModel> Source<T> for Local {
    fn admit(&self, peer: &Peer) -> Result<StreamGuard, Status> {
        self.door.begin(peer)
    }

    async fn open(&self, hello: Hello) -> Result<Arc<View<T>>, Status> {
        let claimed = &*hello.node.id;
        let id = self.door.proxy(&hello.peer, claimed)?;
        let mut changes = self.changes();
        // Until the hub has sent everything, the proxy waits: an empty answer would remove its listeners.
        let known = async {
            let patience = tokio::time::sleep(UNANSWERED_NAMES);
            tokio::pin!(patience);
            loop {
                let id = self.read(|world| world.embodied(&id));
                if let Some(view) = self.try_open(&id, &hello, !patience.is_elapsed()) {
                    return (id, view);
                }
                // The sender lives as long as self.
                tokio::select! {
                    _ = changes.changed() => {}
                    () = &mut patience, if !patience.is_elapsed() => {}
                }
            }
        };
        let complete = async {
            let mut changes = self.changes();
            // The sender lives as long as self.
            while !self.read(World::complete) && changes.changed().await.is_ok() {}
            tokio::time::sleep(UNKNOWN_PROXY).await;
        };
        tokio::select! {
            (id, view) = known => {
                tracing::info!(proxy = %id, pid = hello.peer.pid, claimed, "proxy connected");
                self.tell_of_names::<T>(&id, claimed);
                self.find_interfaces(&id, &hello.peer).await;
                Ok(view)
            }
            () = complete => {
                let pid = hello.peer.pid.unwrap_or_default();
                let named = self.read(|world| world.embodied(&id));
                let of = if named == id { id.to_string() } else { format!("{id}, which embodies {named}") };
                Err(self.door.deny(&format!("process {pid} of {of}, which is not known on this node")))
            }
        }
    }

    fn event(&self, stream: &StreamInfo, event: &Event<T>) {
        self.note(stream.id, event);
    }

    fn budget(&self, stream: &StreamInfo) -> Option<Arc<Budget>> {
        self.door.budget(&stream.peer)
    }

    fn exhausted(&self, stream: &StreamInfo, text: &str) {
        self.door.exhausted(&stream.peer, text);
    }

    fn closed(&self, stream: &StreamInfo) {
        self.end::<T>(stream.id);
    }
}
