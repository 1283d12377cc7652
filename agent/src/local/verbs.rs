//! The inputs from the hub ([`FeedSink`]) and the pod watch ([`PodVerbs`]). All input is saved to the store.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use portreeve_agent_core::world::Effects;
use portreeve_api::PlanType;
use portreeve_api::model::ProxyKind;
use portreeve_api::names::{PROGRAMS_KEY, PROXY_NAMES_KEY, WATERMARK_KEY};
use portreeve_api::pod::Pod;
use portreeve_api::proxy_names;
use portreeve_runtime::watch::Verbs;
use portreeve_xds::{Delta, Name, Node, Sink, Version};

use super::Local;
use crate::link::Link;
use crate::restore;
use crate::store::{Content, Key};

/// Receives the hub's feed, and proves to the hub which node this agent belongs to.
pub struct FeedSink(pub Arc<Local>, pub Link);

/// Receives the events of the pod watch.
pub struct PodVerbs(pub Arc<Local>);

// === impl FeedSink ===

impl Sink<PlanType> for FeedSink {
    fn node(&self) -> Node {
        let mut node = Node { id: self.0.node.clone(), ..Node::default() };
        node.metadata.insert(PROGRAMS_KEY.into(), ProxyKind::ALL.map(ProxyKind::word).join(","));
        let inner = self.0.lock();
        let names = proxy_names::text(inner.world.announced());
        node.metadata.extend(names.map(|names| (PROXY_NAMES_KEY.into(), names)));
        if let Some(watermark) = &inner.watermark {
            node.metadata.insert(WATERMARK_KEY.into(), watermark.to_string());
        }
        node
    }

    fn known(&self) -> Vec<(PlanType, Name, Version)> {
        self.0.lock().world.held().iter().map(|((ty, name), version)| (*ty, name.clone(), *version)).collect()
    }

    fn apply(&mut self, delta: Delta<PlanType>) -> Result<(), String> {
        let mut upsert: Vec<(Name, Version, Bytes)> =
            delta.upsert.into_iter().map(|u| (u.name, u.version, u.body)).collect();
        let begun = SystemTime::now();
        let mut tracer = self.0.tracer.get().filter(|_| delta.ty == PlanType::Plan);
        let effects = self.0.change(|world| {
            tracer = tracer.filter(|_| world.complete());
            let before = (world.complete(), world.heard_node_proxies());
            let hosts = world.wanted_hosts();
            world.keep_unread(delta.ty, &mut upsert);
            let effects = world
                .apply_feed(delta.ty, &upsert, &delta.removed)
                .inspect_err(|error| tracing::warn!(error, "a response of the hub is refused"))?;
            tracer.inspect(|tracer| tracer.translated(&upsert, begun..SystemTime::now()));
            // The watermark is saved first: the store must never be newer than its watermark.
            if let Some(watermark) = &delta.watermark {
                self.0.saver.put(Key::Watermark, Content::Watermark(watermark.clone()));
            }
            restore::save_feed(world, &self.0.saver, delta.ty, (&upsert, &delta.removed), &hosts);
            // A complete list also tells which NodeProxies are not wanted, so it counts as a change of the
            // NodeProxies.
            let completed = before != (world.complete(), world.heard_node_proxies());
            Ok::<_, String>(Effects { proxies: effects.proxies || completed, ..effects })
        })?;
        if let Some(watermark) = delta.watermark {
            self.0.lock().watermark = Some(watermark);
        }
        self.0.react(&effects);
        tracer.inspect(|tracer| tracer.applied(&upsert, &delta.removed, begun..SystemTime::now()));
        Ok(())
    }

    fn connected(&mut self, connected: bool) {
        tracing::info!(connected, "hub");
    }

    fn headers(&self) -> http::HeaderMap {
        self.1.headers()
    }
}

// === impl PodVerbs ===

impl Verbs<Pod> for PodVerbs {
    fn apply(&mut self, pod: Pod) {
        self.0.change(|world| {
            self.0.save_pod(world, &pod);
            world.apply_pod(pod);
        });
    }

    fn delete(&mut self, pod: Pod) {
        self.0.change(|world| {
            self.0.saver.remove(Key::Pod(pod.uid.clone()));
            world.delete_pod(&pod.uid);
        });
    }

    fn reset(&mut self, pods: Vec<Pod>) {
        self.0.reset_pods(pods);
    }
}
