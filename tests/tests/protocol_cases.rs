//! The thirty protocol cases that an xDS server must pass, with the tests that prove each. The tests must exist.

use portreeve_tests::ledger::{Proof, missing};

const ORDER: &str = "hub/xds/tests/protocol/order.rs";
const ACK: &str = "hub/xds/tests/protocol/ack.rs";
const CONTENT: &str = "hub/xds/tests/protocol/content.rs";
const REJECT: &str = "hub/xds/tests/protocol/reject.rs";
const SOTW: &str = "hub/xds/tests/protocol/sotw.rs";
const SUBSCRIBE: &str = "hub/xds/tests/protocol/subscribe.rs";
const CALLS: &str = "hub/xds/tests/streams/calls.rs";
const CLIENTS: &str = "hub/xds/tests/streams/clients.rs";
const LOAD: &str = "hub/xds/tests/streams/load.rs";
const PEERS: &str = "hub/xds/tests/streams/peers.rs";

const CASES: [&[Proof]; 30] = [
    // 1: the first request, of any type, carries the node.
    &[
        (CALLS, "node_comes_from_the_first_request_of_any_type_and_the_peer_from_the_kernel"),
        (SUBSCRIBE, "endpoints_requested_first_are_answered_before_any_cluster"),
    ],
    // 2: an empty first subscription of CDS and LDS is a wildcard.
    &[
        (SUBSCRIBE, "first_empty_subscription_of_clusters_and_listeners_means_all"),
        (SUBSCRIBE, "wildcard_over_nothing_is_answered_with_an_empty_response"),
    ],
    // 3: the explicit wildcard in four steps.
    &[
        (SUBSCRIBE, "wildcard_then_name_then_neither_leaves_nothing"),
        (SOTW, "wildcard_then_name_then_neither_leaves_nothing"),
    ],
    // 4: wildcard on and off in one request.
    &[(SUBSCRIBE, "wildcard_on_and_off_in_one_request_sends_nothing_and_names_work_later")],
    // 5: a name leaves a wildcard.
    &[
        (SUBSCRIBE, "name_unsubscribed_under_a_wildcard_is_answered_by_the_resource"),
        (SUBSCRIBE, "missing_name_unsubscribed_under_a_wildcard_is_answered_by_a_removal"),
    ],
    // 6: a known name is subscribed again.
    &[(SUBSCRIBE, "known_name_subscribed_again_is_sent_again")],
    // 7: a missing name.
    &[
        (SUBSCRIBE, "missing_name_is_reported_removed_and_sent_when_it_exists"),
        (SUBSCRIBE, "missing_secret_is_not_answered_and_is_sent_when_it_exists"),
    ],
    // 8: unsubscribing what was not subscribed, repeated names.
    &[
        (SUBSCRIBE, "unsubscribing_what_was_never_subscribed_is_ignored"),
        (SUBSCRIBE, "name_given_twice_gives_one_resource"),
    ],
    // 9: unsubscribing is not answered.
    &[(SUBSCRIBE, "unsubscribing_is_not_answered_and_stops_later_changes")],
    // 10: a stale nonce, incremental.
    &[(SUBSCRIBE, "stale_nonce_does_not_lose_a_subscription_and_confirms_nothing")],
    // 11: a stale nonce, state of the world.
    &[(SOTW, "stale_nonce_is_not_answered_and_its_names_are_not_lost")],
    // 12: names changed at the same version.
    &[
        (SOTW, "names_added_at_the_same_version_are_sent"),
        (SOTW, "full_set_is_sent_on_every_change_of_a_full_state_type"),
        (SOTW, "only_changed_endpoints_are_sent"),
    ],
    // 13: an empty set is never sent by accident.
    &[
        (CALLS, "nothing_is_answered_before_the_source_is_ready"),
        (SOTW, "wildcard_over_nothing_is_answered_empty"),
    ],
    // 14: an ACK is not answered.
    &[(ACK, "ack_is_not_answered_and_reports_names_and_versions"), (SOTW, "ack_is_not_answered")],
    // 15: a rejection is recorded and not repeated.
    &[
        (REJECT, "rejected_resource_is_not_sent_again_until_it_changes"),
        (REJECT, "rejected_text_is_cut_and_never_shown_for_secrets"),
    ],
    // 16: a rejection in part.
    &[
        (REJECT, "good_rest_of_a_rejected_response_is_sent_once_more_without_the_culprit"),
        (REJECT, "three_bad_of_a_thousand_are_named_and_the_rest_confirmed"),
    ],
    // 17: a reconnect without change.
    &[
        (ACK, "reconnect_without_change_sends_no_resource"),
        (CLIENTS, "restarted_server_with_the_same_state_sends_no_resource"),
    ],
    // 18: a reconnect after changes.
    &[(ACK, "reconnect_sends_outdated_resources_and_removes_vanished_ones")],
    // 19: an assignment behind every cluster.
    &[
        (ORDER, "changed_cluster_is_followed_by_its_unchanged_assignment"),
        (ORDER, "assignment_follows_a_cluster_that_changed_while_the_client_was_away"),
    ],
    // 20: make before break.
    &[
        (ORDER, "additions_are_sent_as_clusters_endpoints_listeners_routes_secrets"),
        (ORDER, "cluster_is_removed_after_the_listener_removal_was_acked"),
        (ORDER, "cluster_is_removed_after_a_grace_time_without_an_answer"),
    ],
    // 21: a held-back ACK of clusters.
    &[(ACK, "held_back_cluster_ack_blocks_nothing")],
    // 22: coalescing.
    &[
        (ACK, "client_that_does_not_ack_gets_a_few_merged_responses_ending_in_the_newest"),
        (PEERS, "stuck_reader_delays_no_other_and_gets_the_newest_state_in_the_end"),
    ],
    // 23: equal content.
    &[(ACK, "identical_state_sends_nothing"), (ACK, "change_reverted_between_two_responses_sends_nothing")],
    // 24: names, nonces, type URLs.
    &[
        (CONTENT, "nonces_are_set_and_unique_on_a_stream"),
        (CONTENT, "delta_response_carries_names_versions_and_removals"),
    ],
    // 25: what a removal means for each type.
    &[
        (ORDER, "vanished_assignment_becomes_an_empty_one"),
        (SOTW, "vanished_or_missing_assignment_becomes_an_empty_one"),
    ],
    // 26: two streams of one node.
    &[
        (PEERS, "two_streams_of_one_node_are_both_served_and_the_end_of_one_leaves_the_other"),
        (CONTENT, "state_of_two_streams_is_never_mixed"),
    ],
    // 27: an unknown type.
    &[
        (SUBSCRIBE, "unknown_type_is_answered_by_does_not_exist_and_the_stream_goes_on"),
        (SUBSCRIBE, "wildcard_of_an_unknown_type_is_answered_empty"),
    ],
    // 28: hung peers.
    &[(PEERS, "hung_peer_is_noticed_on_both_sides_and_others_are_served")],
    // 29: a storm of reconnects.
    &[
        (LOAD, "fifty_clients_at_once_each_get_all_thousand_clusters"),
        (CALLS, "stream_over_the_limit_is_refused_and_a_place_is_free_again_after_an_end"),
    ],
    // 30: secrets.
    &[
        (REJECT, "rotation_sends_only_the_secret"),
        (REJECT, "rejected_text_is_cut_and_never_shown_for_secrets"),
    ],
];

#[test]
fn every_case_names_tests_that_exist() {
    let rows = CASES.iter().enumerate();
    let faults: Vec<String> =
        rows.flat_map(|(i, proofs)| missing(&format!("case {}", i + 1), proofs)).collect();
    assert!(CASES.iter().all(|proofs| !proofs.is_empty()));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
