//! API A's checklist: A1 to A27.

use super::Answer::{self, Differs, Proven};

/// Every row, in order.
pub const ROWS: [Answer; 27] = [
    // A1: the VirtualService CRD with every field.
    Proven(&[
        ("hub/api/tests/crds.rs", "the_written_definitions_are_the_generated_ones"),
        (
            "tests/tests/scenarios/call.rs",
            "two_sided_call_reaches_the_app_of_one_worker_through_all_four_pipes",
        ),
    ]),
    // A2: real validation.
    Proven(&[
        (
            "tests/tests/scenarios/admission.rs",
            "the_server_takes_every_good_sample_and_refuses_every_bad_one_where_the_programs_do",
        ),
        ("hub/src/resolve/a/tests.rs", "bad_objects_are_rejected_with_the_field_and_good_ones_are_not"),
    ]),
    // A3: proxies by pod labels, all of them; other namespaces defined.
    Proven(&[
        (
            "tests/tests/scenarios/pods.rs",
            "proxies_and_endpoints_are_the_pods_that_carry_all_labels_of_a_selector",
        ),
        ("hub/src/index/tests/plans.rs", "pod_must_carry_all_labels_of_a_selector"),
        ("hub/src/index/tests/plans.rs", "namespace_scope_matches_in_its_own_namespace_only"),
        ("hub/src/index/tests/plans.rs", "cluster_scope_matches_in_every_namespace"),
        ("hub/src/index/tests/verdicts.rs", "endpoints_outside_of_the_namespace_are_named"),
        (
            "hub/src/index/tests/verdicts.rs",
            "workload_outside_of_the_namespace_is_named_and_one_that_is_nowhere_is_no_fault",
        ),
        (
            "tests/tests/scenarios/trouble.rs",
            "conditions_say_what_is_thought_of_which_generation_and_are_written_once",
        ),
    ]),
    // A4: node identity is the pod's UID through the downward API.
    Differs(
        "The kernel identifies an Envoy's pod, so that no Envoy can pose as another pod's. Its bootstrap's node.id is used \
         only with --identity=claimed, and then it is the pod's UID.",
        &[
            (
                "tests/tests/scenarios/identity.rs",
                "envoy_gets_what_is_meant_for_its_own_pod_whatever_it_claims",
            ),
            ("tests/tests/scenarios/identity.rs", "envoy_of_a_keeper_is_its_node_proxy_whatever_it_claims"),
            ("tests/tests/scenarios/pods.rs", "envoy_is_the_pod_whose_uid_it_says_where_claims_count"),
        ],
    ),
    // A5: delta CDS, LDS and EDS on :18000; state of the world and ADS as well.
    Differs(
        "All of them are served, but over the Unix socket of the node's own agent: a central TCP port would put every \
         proxy of the cluster behind one process, and could not identify its clients.",
        &[
            (
                "tests/tests/scenarios/call.rs",
                "two_sided_call_reaches_the_app_of_one_worker_through_all_four_pipes",
            ),
            ("tests/tests/scenarios/pods.rs", "envoy_with_streams_for_each_type_is_served_in_both_variants"),
            ("hub/xds/tests/streams/suite/mod.rs", "all_98_cases_of_the_public_suite_pass"),
        ],
    ),
    // A6: UDP listener on every address, to a cluster.
    Proven(&[("agent/envoy/src/tests/golden.rs", "keyed_gateway_with_three_pods")]),
    // A7: constant key, Maglev.
    Differs(
        "Endpoints are ranked by rendezvous hash over key and address and put into priorities. Maglev with a constant \
         key splits calls: 7 of 7 when a pod flaps, 3 of 30 when one is added (measured).",
        &[
            (
                "agent/envoy/src/tests/affinity.rs",
                "four_pipes_of_a_call_agree_on_the_pod_and_on_its_runner_up",
            ),
            ("agent/envoy/src/tests/affinity.rs", "scale_up_moves_no_older_call"),
            (
                "tests/tests/scenarios/affinity.rs",
                "calls_are_spread_whole_and_a_pod_added_between_their_pipes_moves_none",
            ),
            (
                "tests/tests/scenarios/affinity.rs",
                "a_pod_deleted_at_once_moves_its_own_calls_alone_and_whole",
            ),
        ],
    ),
    // A8: clusters with equal keys agree on the pod, by the address.
    Proven(&[
        ("agent/envoy/src/tests/facts.rs", "hosts_that_are_hashed_carry_their_address_as_hash_key"),
        ("agent/envoy/src/tests/affinity.rs", "calls_with_one_key_agree_across_objects"),
        (
            "tests/tests/scenarios/affinity.rs",
            "calls_are_spread_whole_and_a_pod_added_between_their_pipes_moves_none",
        ),
    ]),
    // A9: STRICT_DNS clusters with addresses, names and selectors, mixed.
    Differs(
        "strictdns is accepted and served by EDS: the agent resolves names, so that pods, names and addresses mix in \
         one cluster and follow their changes.",
        &[
            ("hub/src/resolve/a/tests.rs", "strictdns_and_eds_are_served_alike"),
            ("agent/envoy/src/tests/golden.rs", "unkeyed_cluster_of_address_name_and_pods"),
            ("tests/tests/scenarios/names.rs", "endpoints_follow_the_name_and_outlive_a_server_that_fails"),
        ],
    ),
    // A10: EDS clusters that follow pods.
    Proven(&[
        (
            "hub/src/index/tests/endpoints.rs",
            "endpoint_appears_when_ready_and_stays_while_it_terminates_and_then_vanishes",
        ),
        ("hub/src/index/tests/endpoints.rs", "endpoints_go_to_the_nodes_that_use_the_group_and_to_no_other"),
    ]),
    // A11: health checks.
    Differs(
        "Each endpoint is probed once, by the agent of its own node, and not by every proxy that uses it. A \
         node without a fresh verdict of that agent probes the endpoint itself. A proxy checks its own loopback.",
        &[
            (
                "tests/tests/health.rs",
                "closed_port_of_the_same_node_moves_its_sessions_within_interval_and_timeout",
            ),
            (
                "tests/tests/health.rs",
                "silent_port_is_unhealthy_by_timeout_and_one_that_keeps_its_connections_is_not",
            ),
            ("tests/tests/health.rs", "without_owner_and_hub_endpoints_stay_in_use_and_are_probed_directly"),
            ("tests/tests/health.rs", "neither_a_flap_of_a_second_nor_a_termination_splits_a_call"),
            ("tests/tests/health.rs", "loopback_endpoint_is_checked_by_its_own_proxy"),
        ],
    ),
    // A12: no check means healthy; panic threshold 0; health ignored on removal.
    Proven(&[
        ("hub/src/resolve/a/tests.rs", "without_a_health_check_nothing_is_checked_nor_warned_of"),
        ("agent/envoy/src/tests/facts.rs", "silent_defaults_of_envoy_are_stated"),
        ("tests/tests/scenarios/checks.rs", "checks_by_http_and_tcp_and_none_are_what_the_object_says"),
    ]),
    // A13: a check without a port is warned of.
    Proven(&[
        ("hub/src/resolve/a/tests.rs", "health_check_is_taken_with_the_seeds_figures_and_its_traps_are_told"),
        ("tests/tests/scenarios/checks.rs", "checks_by_http_and_tcp_and_none_are_what_the_object_says"),
    ]),
    // A14: GET /healthcheck, as the deployed Envoys answer it.
    Proven(&[
        ("tests/tests/scenarios/checks.rs", "checks_by_http_and_tcp_and_none_are_what_the_object_says"),
        ("hub/src/resolve/a/tests.rs", "http_check_keeps_its_path"),
        ("agent/src/prober/probe.rs", "http_answers_of_200_and_300_are_healthy_and_all_others_are_not"),
        ("agent/tests/keeper_trouble.rs", "health_listener_answers_and_nothing_else_listens"),
    ]),
    // A15: the same selectors for proxies and endpoints; gateway, sidecar, app.
    Proven(&[(
        "tests/tests/scenarios/call.rs",
        "two_sided_call_reaches_the_app_of_one_worker_through_all_four_pipes",
    )]),
    // A16: a proxy that joins late gets everything.
    Proven(&[
        (
            "tests/tests/scenarios/routing.rs",
            "service_whose_selector_matches_nothing_is_accepted_and_waits_for_its_pod",
        ),
        ("agent/envoy/tests/world/proxies.rs", "pods_proxy_is_made_when_it_connects_and_goes_with_the_pod"),
    ]),
    // A17: deletion, and the old clients' finalizer.
    Proven(&[
        ("tests/tests/churn.rs", "calls_deleted_by_the_old_protocol_leave_nothing_behind"),
        (
            "tests/tests/churn.rs",
            "an_object_that_carries_the_finalizer_from_its_creation_is_served_until_it_is_deleted",
        ),
        ("hub/src/index/tests/plans.rs", "delete_takes_plan_and_groups_from_the_nodes"),
    ]),
    // A18: update in place.
    Proven(&[
        (
            "tests/tests/scenarios/routing.rs",
            "listeners_come_change_and_go_without_touching_the_sessions_of_others",
        ),
        (
            "hub/src/index/tests/plans.rs",
            "update_reaches_the_nodes_that_have_the_plan_and_an_equal_one_reaches_none",
        ),
    ]),
    // A19: readiness gates endpoints; those that terminate leave at once; the last one leaves too.
    Differs(
        "A terminating pod gets no new session and keeps its existing ones, so that calls can end normally. It is \
         removed when it is gone.",
        &[
            (
                "tests/tests/scenarios/routing.rs",
                "empty_cluster_is_served_and_follows_the_readiness_of_its_pods",
            ),
            (
                "tests/tests/scenarios/affinity.rs",
                "a_terminating_pod_keeps_its_calls_whole_and_takes_no_new_one",
            ),
            ("hub/src/index/tests/endpoints.rs", "last_endpoint_leaves_and_the_group_stays"),
            ("agent/envoy/src/tests/facts.rs", "terminating_pod_takes_no_new_session"),
        ],
    ),
    // A20: an empty set of endpoints is said.
    Proven(&[
        ("tests/tests/scenarios/routing.rs", "empty_cluster_is_served_and_follows_the_readiness_of_its_pods"),
        ("agent/envoy/src/tests/golden.rs", "empty_group_is_an_empty_assignment"),
        ("agent/envoy/tests/world/feed.rs", "last_endpoint_leaves_and_the_empty_assignment_stays"),
    ]),
    // A21: a proxy's state goes with its pod.
    Proven(&[
        ("tests/tests/scenarios/pods.rs", "deleted_pods_streams_end_and_nothing_of_it_is_kept"),
        ("agent/envoy/tests/world/proxies.rs", "pods_proxy_is_made_when_it_connects_and_goes_with_the_pod"),
    ]),
    // A22: names need not be unique; conflicts are told.
    Proven(&[
        ("tests/tests/scenarios/ports.rs", "port_of_two_objects_on_one_proxy_is_the_olders_until_it_goes"),
        ("hub/src/resolve/a/tests.rs", "cluster_of_a_listener_is_the_same_whatever_listeners_are_beside_it"),
        ("agent/envoy/tests/world/ports.rs", "older_object_has_the_port_and_the_other_is_told_who"),
        ("tests/tests/scenarios/status.rs", "what_keeps_an_object_from_its_proxies_is_named"),
    ]),
    // A23: conditions, events, refusals of proxies.
    Proven(&[
        (
            "tests/tests/scenarios/trouble.rs",
            "conditions_say_what_is_thought_of_which_generation_and_are_written_once",
        ),
        ("tests/tests/scenarios/status.rs", "what_keeps_an_object_from_its_proxies_is_named"),
        (
            "tests/tests/scenarios/status.rs",
            "programmed_is_true_only_after_the_proxys_ack_however_the_edit_races",
        ),
        ("tests/tests/scenarios/ports.rs", "port_that_a_stranger_holds_is_taken_as_soon_as_it_is_free"),
        (
            "hub/src/index/tests/verdicts.rs",
            "rejected_update_keeps_the_previous_version_in_force_and_says_so",
        ),
        (
            "tests/tests/scenarios/trouble.rs",
            "an_object_past_the_schema_is_rejected_by_its_field_and_its_last_good_version_stays",
        ),
    ]),
    // A24: many objects on one proxy, many a second.
    Proven(&[
        ("tests/tests/churn.rs", "calls_deleted_by_the_old_protocol_leave_nothing_behind"),
        ("hub/src/index/tests/endpoints.rs", "objects_share_a_group_and_it_goes_with_the_last_of_them"),
    ]),
    // A25: metrics, probes, leader election.
    Proven(&[
        ("tests/tests/scenarios/metrics.rs", "hub_and_agent_tell_what_they_serve_and_when_they_are_ready"),
        (
            "tests/tests/scenarios/metrics.rs",
            "agent_that_was_told_nothing_yet_is_not_ready_and_says_what_it_waits_for",
        ),
        ("tests/tests/scenarios/trouble.rs", "two_hubs_serve_one_of_them_writes_and_the_other_takes_over"),
        ("hub/src/lease.rs", "lease_is_over_when_it_was_seen_unchanged_for_as_long_as_it_lasts"),
    ]),
    // A26: manifests.
    Proven(&[
        (
            "tests/tests/scenarios/deploy.rs",
            "manifests_are_taken_by_a_strict_server_and_start_what_the_programs_understand",
        ),
        (
            "tests/tests/scenarios/migration.rs",
            "controllers_that_run_as_default_can_do_each_step_of_a_call_and_nothing_else",
        ),
        ("tests/tests/scenarios/security.rs", "agent_writes_and_deletes_its_own_nodes_report_and_no_other"),
        ("tests/tests/scenarios/identity.rs", "agent_without_an_envoy_serves_the_envoys_of_pods"),
    ]),
    // A27: TCP listeners.
    Proven(&[
        ("tests/tests/scenarios/routing.rs", "tcp_connections_are_carried_both_ways"),
        ("hub/src/resolve/a/tests.rs", "tcp_listener_forwards_to_its_cluster"),
        ("agent/envoy/src/tests/golden.rs", "tcp_pipe"),
    ]),
];
