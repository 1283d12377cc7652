//! Listeners and clusters whose secrets a restarted agent does not have: proxies that run them keep them, others are not
//! sent them.

use super::restore::reborn;
use super::*;

const LISTENER: &str = "A/ns/call/l";
const CLUSTER: &str = "A/ns/call/c";
/// The TLS of the listener.
const SERVER: &str = "ns/web/tls.crt";
/// The authority of the cluster.
const AUTHORITY: &str = "ns/web/ca.crt";

fn tcp(mut plan: plan::Plan) -> plan::Plan {
    plan.listeners[0].socket.as_mut().unwrap().set_protocol(plan::Protocol::Tcp);
    plan.clusters[0].socket.as_mut().unwrap().set_protocol(plan::Protocol::Tcp);
    plan
}

/// A Plan whose listener has a certificate, and a Plan without TLS.
fn ingress() -> [plan::Plan; 2] {
    let mut plan = tcp(mk_plan("call", 1, 2000, ip("127.0.0.1")));
    plan.listeners[0].tls = Some(plan::Tls { certificate: SERVER.into(), ..Default::default() });
    [plan, mk_plan("plain", 2, 2001, ip("10.0.0.9"))]
}

/// A Plan whose cluster verifies its servers.
fn egress() -> [plan::Plan; 1] {
    let mut plan = tcp(mk_plan("call", 1, 2000, ip("10.0.0.9")));
    plan.clusters[0].tls = Some(plan::Tls { authority: AUTHORITY.into(), ..Default::default() });
    [plan]
}

// === impl Rig ===

impl Rig {
    /// Sends these Plans and the tests' Secrets.
    fn with(plans: &[plan::Plan]) -> Self {
        let mut rig = Self::new();
        plans.iter().for_each(|plan| drop(rig.put_plan(plan)));
        rig.put_secrets();
        rig
    }

    fn put_secrets(&mut self) {
        let pair = plan::Secret { private_key: "key".into(), ..Default::default() };
        self.put(PlanType::Secret, SERVER, &pair);
        self.put(
            PlanType::Secret,
            AUTHORITY,
            &plan::Secret { authority: "authority".into(), ..Default::default() },
        );
    }

    /// Connects a gateway's Envoy that runs these resources.
    fn envoy_with(&mut self, ty: Envoy, runs: &BTreeMap<Name, Version>) -> Watch<Envoy> {
        let view = self.world.open_envoy(&gateway()).unwrap();
        let mut watch = Watch::new(view, Variant::Delta, Some(ty));
        let initial = runs.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect();
        let hello = Request { initial, ..Request::new(Kind::Known(ty)) };
        watch.request(hello, Instant::now());
        watch
    }

    /// The names and versions of a type that the gateway is sent.
    fn versions(&mut self, ty: Envoy) -> BTreeMap<Name, Version> {
        let view = self.world.open_envoy(&gateway()).unwrap();
        view.snapshot(|s| s.iter(ty).map(|(name, one)| (name.clone(), one.version())).collect())
    }
}

/// Returns the names that a response adds, and those that it removes, until there is no response any more.
fn told(watch: &mut Watch<Envoy>, ty: Envoy) -> (Vec<String>, Vec<String>) {
    let (mut put, mut removed) = (Vec::new(), Vec::new());
    while let Some(response) = watch.next(Instant::now()) {
        put.extend(response.resources.iter().map(|one| one.name().to_string()));
        removed.extend(response.removed.iter().map(ToString::to_string));
        watch.request(Request { nonce: response.nonce, ..Request::new(Kind::Known(ty)) }, Instant::now());
    }
    (put, removed)
}

#[test]
fn restarted_agent_sends_what_lacks_a_secret_to_no_new_envoy_and_takes_it_from_none_that_runs_it() {
    let mut rig = Rig::with(&ingress());
    let (mut again, _) = reborn(&mut rig, &ingress());
    let runs = rig.versions(Envoy::Listener);
    assert_eq!(again.listeners(&gateway()), ["A/ns/plain/l"]);
    assert_eq!(again.names(&gateway(), Envoy::Cluster).unwrap(), ["A/ns/call/c", "A/ns/plain/c"]);
    // The hub is back and does not have the Secret yet. Then absence means deletion, except for what is withheld.
    for ty in PlanType::ALL {
        again.respond(*ty, &[], &[]).unwrap();
    }
    let mut running = again.envoy_with(Envoy::Listener, &runs);
    let mut fresh = again.envoy_with(Envoy::Listener, &BTreeMap::new());
    assert_eq!(told(&mut fresh, Envoy::Listener).0, ["A/ns/plain/l"]);
    let (put, removed) = told(&mut running, Envoy::Listener);
    assert!(!put.contains(&LISTENER.into()) && removed.is_empty(), "{put:?} {removed:?}");
    again.put_secrets();
    assert_eq!(again.listeners(&gateway()), [LISTENER, "A/ns/plain/l"]);
    assert_eq!(told(&mut fresh, Envoy::Listener), (vec![LISTENER.to_owned()], vec![]));
    assert!(told(&mut running, Envoy::Listener).1.is_empty());
}

#[test]
fn cluster_that_lacks_a_secret_is_withheld_with_its_listener_and_keeps_its_endpoints() {
    let mut rig = Rig::with(&egress());
    let (mut again, _) = reborn(&mut rig, &egress());
    for ty in PlanType::ALL {
        again.respond(*ty, &[], &[]).unwrap();
    }
    for ty in [Envoy::Cluster, Envoy::Listener] {
        let runs = rig.versions(ty);
        assert_eq!(again.names(&gateway(), ty).unwrap(), [""; 0], "{ty:?}");
        assert!(told(&mut again.envoy_with(ty, &runs), ty).1.is_empty(), "{ty:?}");
    }
    assert_eq!(
        again.names(&gateway(), Envoy::Endpoint).unwrap(),
        [CLUSTER],
        "an absent one would be emptied"
    );
    again.put_secrets();
    assert_eq!(again.names(&gateway(), Envoy::Cluster).unwrap(), [CLUSTER]);
    assert_eq!(again.listeners(&gateway()), [LISTENER]);
}

#[test]
fn envoy_that_is_restarted_while_the_agent_has_the_secret_is_sent_everything() {
    let mut rig = Rig::with(&ingress());
    rig.accept_types(Envoy::ALL);
    rig.remove(PlanType::Secret, SERVER);
    rig.world.restarted::<Envoy>(&gateway());
    assert_eq!(rig.listeners(&gateway()), [LISTENER, "A/ns/plain/l"]);
    assert_eq!(rig.names(&gateway(), Envoy::Secret).unwrap(), ["A/ns/call/l/server-certificate"]);
}

#[test]
fn withheld_listener_goes_with_its_plan() {
    let mut rig = Rig::with(&ingress());
    let (mut again, _) = reborn(&mut rig, &ingress());
    let runs = rig.versions(Envoy::Listener);
    for ty in PlanType::ALL {
        again.respond(*ty, &[], &[]).unwrap();
    }
    let mut running = again.envoy_with(Envoy::Listener, &runs);
    told(&mut running, Envoy::Listener);
    again.remove(PlanType::Plan, "A/ns/call");
    assert_eq!(told(&mut running, Envoy::Listener), (vec![], vec![LISTENER.to_owned()]));
    assert!(again.world.take_unsaved().contains(&(owner(gateway(), "A/ns/call"), vec![])));
}
