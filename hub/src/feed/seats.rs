//! The views of the connected agents ([`Seats`]), and how changes are published to them.

use std::collections::HashMap;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_xds::{Base, Changes, Snapshot, View, Withheld};

use super::audience::Audience;
use super::shelves::{Round, Shelves, Shift};
use crate::index::{ClassId, Index, Name};
use crate::served::Share;

/// A node, and which of its agents.
pub(super) type Of = (Name, Audience);

/// The view of each node's agents, one for each audience with a stream.
#[derive(Default)]
pub(super) struct Seats {
    seats: HashMap<Of, Seat>,
    shelves: Shelves,
    /// Number of resources published to agents since the start.
    pub(super) pushed: u64,
    /// Number of published changes since the start, each of one node's resources.
    pub(super) pushes: u64,
}

/// What the agents of a node see.
struct Seat {
    view: Arc<View<PlanType>>,
    /// The class of the node when its changes were last published.
    class: Option<ClassId>,
}

// === impl Seats ===

impl Seats {
    /// Returns the view of a node's agents. It gets all changes from now on.
    pub(super) fn open(&mut self, of: Of, index: &mut Index, watermark: Arc<str>) -> Arc<View<PlanType>> {
        if let Some(seat) = self.seats.get(&of) {
            return seat.view.clone();
        }
        index.attach(&of.0);
        let class = index.class_of(&of.0);
        let base = self.shelves.join(class, || {
            let mut base = Base::default();
            base.apply(&index.shared_of(class));
            base
        });
        // A node doesn't need its own Health.
        let mut snapshot = Snapshot::of(base, Some((PlanType::Health, of.0.clone())));
        snapshot.apply(of.1.part(&index.own_of(&of.0), |name| index.is_l7mp(name)));
        snapshot.withhold(index.withheld());
        let view = View::new(snapshot);
        view.set_watermark(watermark);
        self.seats.insert(of, Seat { view: view.clone(), class });
        view
    }

    /// Forgets the view of a node's agents, of which none is connected any more.
    pub(super) fn close(&mut self, of: &Of, index: &mut Index) {
        let Some(seat) = self.seats.remove(of) else { return };
        self.shelves.leave(seat.class);
        if !Audience::EVERY.iter().any(|audience| self.seats.contains_key(&(of.0.clone(), *audience))) {
            index.detach(&of.0);
        }
    }

    /// Publishes what changed in the index. `watermark` tells up to where.
    pub(super) fn publish(&mut self, index: &mut Index, watermark: impl FnOnce() -> Arc<str>) {
        let changes = index.take();
        if changes.is_empty() {
            return;
        }
        let (watermark, mut round, mut moved) = (watermark(), Round::default(), Vec::new());
        for (node, taken) in changes {
            index.heart().beat();
            for audience in Audience::EVERY {
                let of = (node.clone(), audience);
                let Some(seat) = self.seats.get_mut(&of) else { continue };
                seat.view.set_watermark(watermark.clone());
                if seat.class != taken.class {
                    self.shelves.leave(std::mem::replace(&mut seat.class, taken.class));
                    moved.push((of, taken.clone()));
                    continue;
                }
                let shift = self.shelves.stay(&taken, &mut round);
                self.install(&of, shift, &taken.own, index);
            }
        }
        for (of, taken) in moved {
            index.heart().beat();
            let Some(seat) = self.seats.get(&of) else { continue };
            let old = seat.view.snapshot(Snapshot::base);
            let shift = self.shelves.enter(&old, &taken);
            self.install(&of, Some(shift), &taken.own, index);
        }
    }

    /// See [`View::withhold`].
    pub(super) fn withhold(&self, withheld: &Withheld<PlanType>) {
        self.seats.values().for_each(|seat| seat.view.withhold(withheld.clone()));
    }

    /// The resources of each node.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&Name, Share)> {
        self.seats.iter().map(|((node, _), seat)| (node, Share::of(&seat.view)))
    }

    fn install(&mut self, of: &Of, shift: Option<Shift>, own: &Changes<PlanType>, index: &Index) {
        let Some(Seat { view, .. }) = self.seats.get(of) else { return };
        let own = of.1.part(own, |name| index.is_l7mp(name));
        let differ = match shift {
            Some((base, differ)) => view.install(base, &differ, own),
            None => view.apply(own),
        };
        self.pushed += differ as u64;
        self.pushes += u64::from(differ > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use portreeve_api::a::virtual_service::{KIND, VirtualService};
    use portreeve_api::own::node_proxy::NodeProxy;
    use portreeve_api::plan;
    use portreeve_api::pod::Pod;
    use portreeve_api::refs::ObjectRef;
    use portreeve_xds::{Kind, Request, ResourceType, Response, Variant, Version, Watch};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use serde_json::json;

    use super::*;
    use crate::index::Labels;
    use crate::object::Object;
    use crate::selection::SelectorScope;

    const NODES: usize = 5;
    const STEPS: usize = 1_500;

    type Held = BTreeMap<(PlanType, Name), Version>;

    /// An agent: what it was sent, all of which it accepted.
    struct Agent {
        of: Of,
        watch: Watch<PlanType>,
        held: Held,
        now: Instant,
    }

    impl Agent {
        fn new(of: Of, view: Arc<View<PlanType>>) -> Self {
            let (now, mut watch) = (Instant::now(), Watch::new(view, Variant::Delta, None));
            PlanType::ALL.iter().for_each(|ty| watch.request(Request::new(Kind::Known(*ty)), now));
            Self { of, watch, held: Held::new(), now }
        }

        /// Takes everything that it is sent now, also what waits for an answer that doesn't come.
        fn follow(&mut self) {
            for _ in 0..2 {
                self.now += Duration::from_secs(5);
                while let Some(response) = self.watch.next(self.now) {
                    self.take(response);
                }
            }
        }

        fn take(&mut self, response: Response<PlanType>) {
            let ty = response.ty.unwrap();
            for name in response.removed {
                self.held.remove(&(ty, name));
            }
            let put = response.resources.iter().map(|one| ((ty, one.name().clone()), one.version()));
            self.held.extend(put);
            let answer = Request { nonce: response.nonce, ..Request::new(Kind::Known(ty)) };
            self.watch.request(answer, self.now);
        }
    }

    /// All resources that a node needs.
    fn needed(index: &Index, node: &Name) -> Held {
        let all = index.all_of(node).upsert.into_iter();
        all.map(|(ty, one)| ((ty, one.name().clone()), one.version())).collect()
    }

    fn pod(name: &str, app: &str, node: usize, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": app}},
            "spec": {"nodeName": format!("n{node}")},
            "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": ready}]},
        });
        Pod::from_kube(serde_json::from_value(pod).unwrap()).unwrap()
    }

    /// A service of the gateways `gw`, with the endpoints `app`.
    fn service(name: usize, gw: usize, app: usize) -> Box<dyn Object> {
        let (service, _) = VirtualService::parse(json!({
            "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService",
            "metadata": {"name": format!("v{name}"), "namespace": "ns", "uid": format!("v{name}"), "generation": 1},
            "spec": {"selector": {"app": format!("gw{gw}")}, "listeners": [{"name": "l", "udp": {"port": 1, "cluster": {
                "name": "c", "service_discovery": "eds",
                "endpoints": [{"name": "e", "host": {"selector": {"app": format!("w{app}")}}, "port": 1}]}}}]},
        }))
        .unwrap();
        service.boxed()
    }

    fn proxy(edge: usize) -> NodeProxy {
        let (proxy, _) = NodeProxy::parse(json!({
            "apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeProxy", "metadata": {"name": "x"},
            "spec": {"nodeSelector": {"edge": edge.to_string()}, "labels": {"app": "gw0"}},
        }))
        .unwrap();
        proxy
    }

    fn change(dice: &mut SmallRng, index: &mut Index, now: i64) {
        let mut roll = |below: usize| dice.random_range(0..below);
        let node = roll(NODES);
        match roll(9) {
            0 | 1 => {
                let gateway = roll(6);
                index.apply_pod(pod(&format!("g{gateway}"), &format!("gw{}", gateway % 3), node, true), now);
            }
            2 => index.delete_pod(&format!("g{}", roll(6)).as_str().into(), now),
            3 | 4 => {
                let worker = roll(12);
                let app = format!("w{}", worker % 4);
                index.apply_pod(pod(&format!("p{worker}"), &app, node, roll(3) > 0), now);
            }
            5 => index.apply_object(&*service(roll(4), roll(3), roll(4)), now),
            6 => index
                .delete_object(&ObjectRef::namespaced(&KIND, "ns", format!("v{}", roll(4)).as_str()), now),
            7 => {
                let health = plan::Health { sequence: roll(9) as u64, ..Default::default() };
                index.set_health(&format!("n{node}").as_str().into(), Some(&health));
            }
            _ => index.apply_proxy(&proxy(roll(2)), now),
        }
        if roll(2) == 0 {
            index.tick(now);
        }
    }

    fn run(seed: u64) {
        let (mut dice, mut index) = (SmallRng::seed_from_u64(seed), Index::new(SelectorScope::Namespace, 20));
        for node in 0..NODES {
            let labels = Labels::from([("edge".to_owned(), (node % 2).to_string())]);
            index.apply_node(format!("n{node}").as_str().into(), labels, 0);
        }
        let (mut seats, mut agents): (_, Vec<Agent>) = (Seats::default(), Vec::new());
        for step in 0..STEPS {
            if dice.random_range(0..8) == 0 {
                let node = format!("n{}", dice.random_range(0..NODES));
                let of: Of = (node.as_str().into(), Audience::EVERY[dice.random_range(0..2)]);
                match agents.iter().position(|agent| agent.of == of) {
                    Some(at) => {
                        agents.remove(at);
                        seats.close(&of, &mut index);
                    }
                    None => {
                        let view = seats.open(of.clone(), &mut index, "".into());
                        agents.push(Agent::new(of, view));
                    }
                }
            }
            for _ in 0..dice.random_range(1..4) {
                change(&mut dice, &mut index, step as i64);
            }
            seats.publish(&mut index, || "".into());
            for agent in &mut agents {
                agent.follow();
                assert_eq!(
                    agent.held,
                    needed(&index, &agent.of.0),
                    "seed {seed}, step {step}, {:?}",
                    agent.of
                );
            }
            let (share, count) =
                (seats.shares().map(|(_, share)| share.resources).sum::<usize>(), |agent: &Agent| {
                    agent.held.len()
                });
            assert_eq!(share, agents.iter().map(count).sum::<usize>(), "seed {seed}, step {step}");
        }
        agents.into_iter().for_each(|agent| seats.close(&agent.of, &mut index));
        assert!(seats.shelves.is_empty(), "a class without views is kept");
    }

    #[test]
    fn agents_of_classes_that_nodes_enter_and_leave_have_what_their_nodes_need() {
        (0..12).for_each(run);
    }

    #[test]
    fn agents_of_one_class_share_what_they_are_sent() {
        let (mut index, mut seats) = (Index::new(SelectorScope::Namespace, 0), Seats::default());
        index.apply_object(&*service(0, 0, 0), 0);
        for node in 0..2 {
            index.apply_pod(pod(&format!("g{node}"), "gw0", node, true), 0);
        }
        let open = |seats: &mut Seats, index: &mut Index, node: &str| {
            seats.open((node.into(), Audience::All), index, "".into())
        };
        let views = [open(&mut seats, &mut index, "n0"), open(&mut seats, &mut index, "n1")];
        index.apply_pod(pod("p", "w0", 3, true), 0);
        seats.publish(&mut index, || "".into());
        let slices =
            views.map(|view| view.snapshot(|all| all.iter(PlanType::Slice).next().unwrap().1.clone()));
        assert!(Arc::ptr_eq(&slices[0], &slices[1]));
        assert_eq!((seats.pushed, seats.pushes), (2, 2));
    }
}
