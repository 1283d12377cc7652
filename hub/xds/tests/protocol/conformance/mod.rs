//! The cases of the public suite ii/xds-test-harness: both variants, aggregated and per-type services.
//!
//! The suite distinguishes contents by versions that it sets. Here a resource's body is its version.

mod client;

use portreeve_xds::EnvoyType::{self, Cluster, Endpoint, Listener, Route};
use portreeve_xds::Variant::{self, Delta, Sotw};

use client::{Client, Mode};

/// The types that the suite covers.
const ALL: [EnvoyType; 4] = [Cluster, Listener, Route, Endpoint];

/// Runs a case in every mode of a variant, for each of the types.
fn each(variant: Variant, types: &[EnvoyType], case: impl Fn(&mut Client, EnvoyType), resources: &str) {
    for mode in Mode::all(variant) {
        for ty in types {
            let mut client = Client::new(mode, *ty, resources);
            case(&mut client, *ty);
            client.answered_no_ack();
        }
    }
}

#[test]
fn wildcard_brings_all_in_one_response() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "");
        client.has(ty, "C,A,B", "1");
        client.in_one_response(ty, "A,B,C");
    };
    each(Sotw, &[Cluster, Listener], case, "A,B,C");
}

#[test]
fn update_under_a_wildcard_brings_the_full_set() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "");
        client.put(ty, "A", "2");
        client.has(ty, "A", "2");
        client.in_one_response(ty, "A,B,C");
    };
    each(Sotw, &[Cluster, Listener], case, "A,B,C");
}

#[test]
fn addition_under_a_wildcard_brings_the_full_set() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "");
        client.put(ty, "D", "2");
        client.has(ty, "D", "2");
        client.in_one_response(ty, "A,B,C,D");
    };
    each(Sotw, &[Cluster, Listener], case, "A,B,C");
}

#[test]
fn subscription_by_name_brings_these_names_only() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "D,B");
        client.has(ty, "B,D", "1");
        client.has_only(ty, "B,D");
    };
    each(Sotw, &ALL, case, "A,B,C,D");
    each(Delta, &ALL, case, "A,B,C,D");
}

#[test]
fn update_of_one_of_several_names_is_sent() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "B,D");
        client.put(ty, "A", "2");
        client.put(ty, "B", "2");
        client.has(ty, "B", "2");
        client.has_only(ty, "B,D");
        match ty {
            Cluster | Listener => client.in_one_response(ty, "B,D"),
            _ => client.alone(ty, "B"),
        }
    };
    each(Sotw, &ALL, case, "A,B,C,D");
}

#[test]
fn missing_name_is_sent_when_it_is_created() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "A,Z");
        client.has(ty, "A", "1");
        client.put(ty, "Z", "2");
        client.has(ty, "Z", "2");
        match ty {
            Cluster | Listener => client.in_one_response(ty, "A,Z"),
            _ => client.alone(ty, "Z"),
        }
    };
    each(Sotw, &ALL, case, "A,B,C");
}

#[test]
fn names_dropped_from_the_subscription_are_no_longer_sent() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "B,D");
        client.narrow(ty, "B");
        client.put(ty, "D", "2");
        client.put(ty, "B", "2");
        client.has(ty, "B", "2");
        client.has_only(ty, "B");
    };
    each(Sotw, &ALL, case, "A,B,C,D");
}

#[test]
fn empty_name_in_place_of_the_others_ends_the_subscription() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "A,B");
        client.has(ty, "A,B", "1");
        client.unsubscribe(ty, "A,B");
        client.put(ty, "B", "2");
        client.has_only(ty, "");
    };
    each(Sotw, &ALL, case, "A,B,C,D");
}

#[test]
fn several_types_share_an_aggregated_stream() {
    for variant in [Sotw, Delta] {
        for mode in Mode::all(variant).filter(|mode| mode.aggregated) {
            for (one, other) in [(Cluster, Listener), (Route, Endpoint)] {
                let mut client = Client::new(mode, one, "A,B,C");
                client.subscribe(one, "B");
                client.has(one, "B", "1");
                client.subscribe(other, "B");
                client.has(other, "B", "1");
                client.put(one, "B", "2");
                client.has(one, "B", "2");
                client.answered_no_ack();
            }
        }
    }
}

#[test]
fn names_are_subscribed_one_after_the_other() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "A");
        client.has_only(ty, "A");
        client.subscribe(ty, "B");
        client.has(ty, "A,B", "1");
        client.has_only(ty, "A,B");
    };
    each(Delta, &ALL, case, "A,B,C");
}

#[test]
fn update_brings_the_updated_resource_alone() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "A,B,C");
        client.put(ty, "A", "2");
        client.has(ty, "A", "2");
        client.has(ty, "B,C", "1");
        client.alone(ty, "A");
    };
    each(Delta, &ALL, case, "A,B,C");
}

#[test]
fn missing_name_is_reported_removed_and_sent_alone_when_it_is_created() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "A,B");
        client.has_only(ty, "A");
        client.lost(ty, "B");
        client.put(ty, "B", "1");
        client.has(ty, "A,B", "1");
        client.alone(ty, "B");
    };
    each(Delta, &ALL, case, "A");
}

#[test]
fn removed_resource_is_reported_removed_and_sent_when_it_returns() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "A,B");
        client.remove(ty, "B");
        client.lost(ty, "B");
        client.has_only(ty, "A");
        client.put(ty, "B", "2");
        client.has(ty, "B", "2");
        client.alone(ty, "B");
    };
    each(Delta, &ALL, case, "A,B");
}

#[test]
fn names_are_unsubscribed_one_after_the_other() {
    let case = |client: &mut Client, ty| {
        client.subscribe(ty, "A,B");
        client.unsubscribe(ty, "B");
        client.put(ty, "B", "2");
        client.has_only(ty, "A");
        client.unsubscribe(ty, "A");
        client.put(ty, "A", "2");
        client.has_only(ty, "");
    };
    each(Delta, &ALL, case, "A,B");
}
