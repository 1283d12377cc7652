//! Endpoints of other Kubernetes clusters: kept while a hub has not read these clusters since its start.

use super::*;

/// A slice with these endpoints, given as source and number, from a hub that has not read `unread`.
fn mk_slice_of(endpoints: &[(&str, u8)], unread: &[&str]) -> plan::EndpointSlice {
    let endpoint = |(source, i): &(&str, u8)| plan::Endpoint {
        uid: format!("{source}/uid-{i}"),
        ips: vec![format!("10.0.1.{i}")],
        ready: true,
        source: (*source).to_owned(),
        ..Default::default()
    };
    let unread_sources = unread.iter().map(|source| (*source).to_owned()).collect();
    plan::EndpointSlice { endpoints: endpoints.iter().map(endpoint).collect(), unread_sources }
}

/// The slices of one group with these endpoints.
fn cut(shards: usize, endpoints: &[(&str, u8)], unread: &[&str]) -> Vec<(String, Vec<u8>)> {
    let slice = |index: usize| {
        let of = |(source, i): &&(&str, u8)| names::slice_of(&format!("{source}/uid-{i}"), shards) == index;
        let own: Vec<(&str, u8)> = endpoints.iter().filter(of).copied().collect();
        (names::slice_name(W, shards, index).to_string(), mk_slice_of(&own, unread).encode_to_vec())
    };
    (0..shards).map(slice).collect()
}

// === impl Rig ===

impl Rig {
    /// Sends a group's slices, and removes those of an earlier number of shards, as the agent receives them. Returns what is
    /// stored.
    fn cut_group(&mut self, slices: &[(String, Vec<u8>)], former: usize) -> Vec<Sent> {
        let sent = |(name, body): &(String, Vec<u8>)| {
            (Name::from(name.as_str()), Version::of(body), Bytes::from(body.clone()))
        };
        let mut sent: Vec<Sent> = slices.iter().map(sent).collect();
        let removed: Vec<Name> = (0..former).map(|index| names::slice_name(W, former, index)).collect();
        self.world.keep_unread(PlanType::Slice, &mut sent);
        self.world.apply_feed(PlanType::Slice, &sent, &removed).unwrap();
        let shards = u32::try_from(slices.len()).unwrap();
        self.put(PlanType::Group, W, &plan::Group { shards, ..Default::default() });
        sent
    }

    fn with_plan() -> Self {
        let mut rig = Self::new();
        rig.put_plan(&mk_plan("call", 1, 2000, group()));
        rig
    }
}

#[test]
fn endpoints_of_a_source_that_a_new_hub_has_not_read_stay_until_it_has() {
    let mut rig = Rig::with_plan();
    rig.cut_group(&cut(1, &[("", 1), ("gcp", 2), ("aws", 3)], &[]), 0);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2", "10.0.1.3"]);
    // The new hub has read aws, where the pod is gone, and knows another pod of its own cluster.
    rig.cut_group(&cut(1, &[("", 4)], &["gcp"]), 0);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.2", "10.0.1.4"]);
    rig.cut_group(&cut(1, &[("", 4), ("", 5)], &["gcp"]), 0);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.2", "10.0.1.4", "10.0.1.5"]);
    rig.cut_group(&cut(1, &[("", 4), ("gcp", 6)], &[]), 0);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.4", "10.0.1.6"]);
}

#[test]
fn endpoints_of_an_unread_source_stay_when_the_group_is_cut_otherwise() {
    let mut rig = Rig::with_plan();
    let all: Vec<(&str, u8)> = (1..=9).map(|i| ("gcp", i)).collect();
    let own: Vec<(&str, u8)> = (10..=12).map(|i| ("", i)).collect();
    let expected = |of: &[(&str, u8)]| {
        let mut ips: Vec<String> = of.iter().map(|(_, i)| format!("10.0.1.{i}")).collect();
        ips.sort();
        ips
    };
    let found = |rig: &mut Rig| {
        let mut ips = rig.endpoints("call").unwrap();
        ips.sort();
        ips
    };
    rig.cut_group(&cut(4, &[&all[..], &own[..]].concat(), &[]), 0);
    assert_eq!(found(&mut rig), expected(&[&all[..], &own[..]].concat()));
    rig.cut_group(&cut(1, &own, &["gcp"]), 4);
    assert_eq!(found(&mut rig), expected(&[&all[..], &own[..]].concat()));
    rig.cut_group(&cut(2, &own[1..], &["gcp"]), 1);
    assert_eq!(found(&mut rig), expected(&[&all[..], &own[1..]].concat()));
    // The grace is over.
    rig.cut_group(&cut(2, &own, &[]), 0);
    assert_eq!(found(&mut rig), expected(&own));
}

#[test]
fn kept_endpoints_survive_a_restart_of_the_agent_and_the_hub_sends_the_slice_only_when_it_changes() {
    let mut rig = Rig::with_plan();
    rig.cut_group(&cut(1, &[("gcp", 2)], &[]), 0);
    let stored = rig.cut_group(&cut(1, &[("", 1)], &["gcp"]), 0);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2"]);
    let mut next = Rig::with_plan();
    let version = stored[0].1;
    next.world.restore_feed(&BTreeMap::from([(PlanType::Slice, stored)]), true);
    next.put(PlanType::Group, W, &plan::Group { shards: 1, ..Default::default() });
    assert_eq!(next.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2"]);
    assert_eq!(next.world.held()[&(PlanType::Slice, names::slice_name(W, 1, 0))], version);
    assert_eq!(version, Version::of(&cut(1, &[("", 1)], &["gcp"])[0].1), "the hub's own version");
}

#[test]
fn agent_without_endpoints_of_an_unread_source_uses_those_that_are_known() {
    let mut rig = Rig::with_plan();
    rig.cut_group(&cut(1, &[("", 1)], &["gcp"]), 0);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1"]);
    // Another group's endpoints of that source are no members.
    rig.world
        .apply_feed(
            PlanType::Slice,
            &[("ns/app=v#1.0".into(), Version(1), mk_slice_of(&[("gcp", 7)], &[]).encode_to_vec().into())],
            &[],
        )
        .unwrap();
    rig.cut_group(&cut(1, &[("", 1), ("", 2)], &["gcp"]), 0);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2"]);
}
