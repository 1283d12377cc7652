//! Every translation of these tests is made again from other endpoints, addresses and verdicts: what differs then must differ in
//! its inputs too. Otherwise a proxy of an earlier agent would keep it for ever.

use portreeve_agent_core::fleet::Inputs;
use portreeve_agent_core::translate::ProxyModel;
use portreeve_xds::Version;

use super::*;

/// Another state of everything that a lookup answers.
fn other(lookup: &Fixture) -> Fixture {
    let newcomer = |pods: &[Endpoint]| Endpoint { ips: mk_ips(&["10.9.9.9"]), ..pods[0].clone() };
    let groups = lookup.groups.iter().map(|(name, pods)| {
        let mut pods = if pods.is_empty() { mk_pods(1) } else { pods.clone() };
        pods[0] = newcomer(&pods);
        (name.clone(), pods)
    });
    let hosts = lookup.hosts.keys().map(|name| (name.clone(), mk_ips(&["10.8.8.8"])));
    let stale = lookup.groups.values().flatten().map(|pod| pod.uid.to_string());
    Fixture {
        groups: groups.collect(),
        hosts: hosts.collect(),
        secrets: lookup.secrets.clone(),
        failed: BTreeSet::new(),
        stale: stale.collect(),
    }
}

pub(super) fn assert_complete(
    plan: &plan::Plan,
    families: Families,
    (lookup, done): (&Fixture, &Translation<Envoy>),
) {
    let (other_lookup, version) = (other(lookup), Version(1));
    let Some(changed) = try_run(plan, families, &other_lookup) else { return };
    with_request(plan, families, |request| {
        let before = Inputs::new(request, version).with_peers(lookup);
        let after = Inputs::new(request, version).with_peers(&other_lookup);
        for (ty, resource) in done.outputs.iter().filter(|(ty, _)| *ty != Envoy::ASSIGNMENT) {
            let key = (*ty, resource.name().clone());
            let again = changed.outputs.iter().find(|(of, one)| of == ty && one.name() == resource.name());
            let same = again.is_some_and(|(_, one)| one.version() == resource.version());
            assert!(same || before.of(&key) != after.of(&key), "{key:?} has inputs that are not recorded");
        }
    });
}
