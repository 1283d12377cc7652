//! API D's checklist: D1 to D28.

use super::Answer::{self, Differs, Proven};

/// Every row, in order.
pub const ROWS: [Answer; 28] = [
    // D1: both CRDs, all spellings, validation; old stored objects stay readable.
    Proven(&[
        (
            "tests/tests/scenarios/former_objects.rs",
            "objects_from_before_the_schema_are_served_beside_others_without_sense",
        ),
        ("hub/api/tests/crds.rs", "the_written_definitions_are_the_generated_ones"),
        ("hub/api/tests/listeners.rs", "every_spelling_of_an_ingress_listener_has_the_same_form"),
        ("hub/api/tests/listeners.rs", "every_spelling_of_an_egress_listener_has_the_same_form"),
        ("hub/api/tests/listeners.rs", "both_spellings_of_a_field_are_refused_and_named"),
        (
            "hub/api/tests/listeners.rs",
            "what_served_under_the_old_definitions_is_readable_and_new_objects_are_told",
        ),
        ("hub/api/tests/samples.rs", "manifests_of_the_original_documents_are_accepted_as_they_are"),
    ]),
    // D2: pods join a cluster by a configurable annotation.
    Proven(&[
        ("hub/src/resolve/d/tests.rs", "clusters_are_found_by_the_annotation_that_the_hubs_flag_names"),
        ("hub/src/index/tests/selected.rs", "group_by_annotation_follows_the_annotation"),
        (
            "tests/tests/scenarios/node_names.rs",
            "pods_of_the_allowed_cluster_reach_the_application_and_others_not_a_byte",
        ),
    ]),
    // D3: several Kubernetes clusters as sources of endpoints.
    Proven(&[
        (
            "hub/src/index/tests/sources.rs",
            "one_cluster_name_in_two_sources_is_one_cluster_of_all_their_pods",
        ),
        ("hub/src/index/tests/sources.rs", "pods_of_sources_are_in_groups_of_clusters_only_and_on_no_node"),
        ("hub/src/index/tests/sources.rs", "removed_source_takes_its_pods_along"),
        (
            "tests/tests/scenarios/sources.rs",
            "pods_of_another_cluster_are_members_and_outlive_their_api_server_for_the_grace",
        ),
        ("tests/tests/scenarios/sources.rs", "sources_come_and_go_with_the_file_while_the_hub_runs"),
        ("hub/src/sources/file.rs", "listener_source_in_another_cluster_is_refused_with_what_to_do"),
        ("tests/tests/scenarios/two_clusters.rs", "traffic_flows_across_clusters_to_those_who_are_allowed"),
    ]),
    // D4: proxies are chosen by node.id, many for one nodename.
    Proven(&[
        (
            "tests/tests/scenarios/node_names.rs",
            "nodename_is_what_the_pods_envoy_announces_or_its_annotation_says",
        ),
        ("agent/envoy/tests/world/named.rs", "pods_proxy_gets_the_plans_of_the_name_that_it_announces"),
        (
            "hub/src/index/tests/named.rs",
            "plan_goes_to_nodes_whose_agents_know_a_proxy_of_its_name_in_its_namespace",
        ),
    ]),
    // D5: a TCP listener to the application on 127.0.0.1.
    Proven(&[
        (
            "tests/tests/scenarios/node_names.rs",
            "pods_of_the_allowed_cluster_reach_the_application_and_others_not_a_byte",
        ),
        ("hub/src/resolve/d/tests.rs", "plans_are_those_of_the_golden_texts"),
        ("agent/envoy/src/tests/access.rs", "ingress_with_sources_and_mutual_tls"),
    ]),
    // D6: a TCP listener on 127.0.0.1 to the pods of a cluster.
    Proven(&[
        (
            "tests/tests/scenarios/node_names.rs",
            "egress_listener_stays_without_pods_and_follows_their_readiness",
        ),
        ("hub/src/resolve/d/tests.rs", "plans_are_those_of_the_golden_texts"),
        ("agent/envoy/src/tests/access.rs", "egress_of_tcp"),
    ]),
    // D7: HTTP/2, and gRPC streams of more than 15 s.
    Proven(&[
        (
            "tests/tests/scenarios/seed_d.rs",
            "grpc_calls_are_balanced_and_their_streams_last_longer_than_fifteen_seconds",
        ),
        ("agent/envoy/src/tests/access.rs", "ingress_of_http"),
        ("agent/envoy/src/tests/access.rs", "egress_of_http_with_mutual_tls"),
    ]),
    // D8: only the addresses of a cluster's pods, of both families.
    Proven(&[
        (
            "tests/tests/access/main.rs",
            "peers_come_and_go_without_harm_to_others_and_rejected_ones_reach_nothing",
        ),
        (
            "agent/envoy/src/tests/access.rs",
            "allowed_networks_are_those_of_the_groups_members_within_the_networks",
        ),
        (
            "tests/tests/scenarios/peers.rs",
            "connections_of_allowed_peers_live_through_changes_of_others_within_a_second",
        ),
        (
            "hub/src/index/tests/named.rs",
            "change_of_one_pod_among_1000_nodes_goes_only_to_those_whose_resources_name_its_cluster",
        ),
        (
            "tests/tests/scenarios/node_names.rs",
            "pods_of_the_allowed_cluster_reach_the_application_and_others_not_a_byte",
        ),
    ]),
    // D9: only clients whose certificate has a name.
    Proven(&[
        ("tests/tests/access/main.rs", "client_without_an_admitted_name_reaches_nothing"),
        ("tests/tests/access/main.rs", "client_without_an_admitted_subject_reaches_nothing"),
        ("agent/envoy/src/tests/access.rs", "principals_demand_a_certificate_even_where_the_plan_does_not"),
    ]),
    // D10: TLS from Secrets, and their rotation.
    Proven(&[
        ("tests/tests/scenarios/tls.rs", "listener_is_closed_and_tells_why_until_its_secrets_are_whole"),
        ("tests/tests/scenarios/tls.rs", "rotation_cuts_no_connection_and_changes_no_listener"),
        ("tests/tests/access/main.rs", "certificate_and_names_change_under_live_connections"),
    ]),
    // D11: certificates are demanded and verified.
    Proven(&[
        ("tests/tests/scenarios/tls.rs", "clients_without_a_good_certificate_are_rejected_and_counted"),
        ("tests/tests/scenarios/seed_d.rs", "bar_serves_alice_and_bob_and_no_pod_without_their_certificates"),
        ("hub/src/resolve/d/tests.rs", "clients_must_show_a_certificate_as_soon_as_one_is_validated"),
    ]),
    // D12: closed while something is missing, and told.
    Proven(&[
        ("hub/src/index/tests/named.rs", "missing_secret_closes_what_was_open_and_its_return_opens_it"),
        ("hub/src/index/tests/named.rs", "object_that_is_created_with_a_missing_secret_opens_nothing"),
        ("hub/src/index/tests/named.rs", "cluster_without_pods_is_told_as_nobody_who_may_connect"),
        ("hub/src/resolve/d/tests.rs", "missing_empty_and_wrong_keys_are_named_with_their_secret_and_field"),
        ("tests/tests/scenarios/node_names.rs", "object_without_a_proxy_of_its_name_says_so"),
    ]),
    // D13: pods come, change and go; only ready ones get traffic.
    Proven(&[
        (
            "tests/tests/scenarios/node_names.rs",
            "egress_listener_stays_without_pods_and_follows_their_readiness",
        ),
        (
            "tests/tests/scenarios/node_names.rs",
            "pods_of_the_allowed_cluster_reach_the_application_and_others_not_a_byte",
        ),
        ("hub/src/index/tests/named.rs", "pods_that_are_not_ready_may_connect_and_take_no_traffic"),
    ]),
    // D14: every discovery service; an unknown node gets nothing at once, and later updates.
    Proven(&[
        ("tests/tests/scenarios/pods.rs", "envoy_with_streams_for_each_type_is_served_in_both_variants"),
        (
            "tests/tests/scenarios/former_bootstrap.rs",
            "envoys_with_the_former_bootstrap_follow_objects_and_pods_and_outlive_their_agent",
        ),
        (
            "tests/tests/scenarios/node_names.rs",
            "nodename_is_what_the_pods_envoy_announces_or_its_annotation_says",
        ),
        ("hub/xds/tests/protocol/sotw.rs", "wildcard_over_nothing_is_answered_empty"),
    ]),
    // D15: versions by content, only what changed to whom it concerns, addresses in one order.
    Proven(&[
        ("hub/xds/tests/protocol/ack.rs", "identical_state_sends_nothing"),
        ("hub/xds/tests/protocol/sotw.rs", "only_changed_endpoints_are_sent"),
        (
            "agent/envoy/src/tests/facts.rs",
            "equal_input_gives_equal_bytes_and_the_order_of_pods_does_not_matter",
        ),
        (
            "hub/src/index/tests/named.rs",
            "change_of_one_pod_among_1000_nodes_goes_only_to_those_whose_resources_name_its_cluster",
        ),
        ("agent/envoy/src/tests/access.rs", "change_of_peers_or_secrets_changes_no_filter_chain"),
    ]),
    // D16: a full resync as a safety net.
    Differs(
        "Nothing is replayed by the clock. A watch that ends is followed by a new list, which replaces everything, and a \
         replica of the hub that starts gets to the same state.",
        &[
            ("hub/src/index/tests/random.rs", "reset_to_a_new_state_equals_a_start_from_it"),
            ("hub/src/index/tests/random.rs", "changes_add_up_to_what_an_agent_that_connects_is_sent"),
            ("hub/src/index/tests/plans.rs", "resets_remove_what_vanished"),
        ],
    ),
    // D17: objects are known by namespace and name; conflicts are told.
    Proven(&[
        ("hub/src/index/tests/named.rs", "ingress_and_egress_listener_of_one_name_are_served_side_by_side"),
        ("agent/envoy/tests/world/ports.rs", "older_object_has_the_port_and_the_other_is_told_who"),
        ("tests/tests/scenarios/ports.rs", "port_of_two_objects_on_one_proxy_is_the_olders_until_it_goes"),
    ]),
    // D18: several replicas serve.
    Proven(&[(
        "tests/tests/scenarios/trouble.rs",
        "two_hubs_serve_one_of_them_writes_and_the_other_takes_over",
    )]),
    // D19: the loss of one cluster.
    Proven(&[
        (
            "hub/src/index/tests/sources.rs",
            "lost_source_keeps_its_pods_for_the_grace_and_tells_the_objects_concerned",
        ),
        ("hub/src/index/tests/sources.rs", "source_that_is_back_replaces_its_pods_and_is_told_no_more"),
        ("hub/src/index/tests/sources.rs", "source_that_was_never_read_concerns_every_cluster"),
        (
            "tests/tests/scenarios/sources.rs",
            "pods_of_a_lost_cluster_are_withdrawn_after_the_grace_and_come_back_with_it",
        ),
        (
            "tests/tests/scenarios/remote_pods.rs",
            "traffic_reaches_a_pod_of_another_cluster_while_its_api_server_and_hub_and_agent_are_away",
        ),
        (
            "tests/tests/scenarios/kill_campaign.rs",
            "no_listener_certificate_or_connection_is_lost_whatever_is_killed_when",
        ),
    ]),
    // D20: health checks.
    Proven(&[
        (
            "tests/tests/scenarios/node_names.rs",
            "pod_whose_health_check_fails_gets_no_connection_until_it_succeeds",
        ),
        ("hub/api/tests/listeners.rs", "health_check_uses_the_targets_port_unless_it_has_its_own"),
    ]),
    // D21: JSON logs, and the level.
    Proven(&[
        ("hub/runtime/src/logs.rs", "event_is_one_line_without_control_characters"),
        ("hub/runtime/src/logs.rs", "format_reads_what_it_writes"),
    ]),
    // D22: combinations without sense are refused or told of.
    Proven(&[
        ("hub/src/resolve/d/tests.rs", "every_combination_of_an_ingress_listener_is_closed_or_told"),
        (
            "hub/api/tests/listeners.rs",
            "what_cannot_be_served_as_it_was_meant_is_refused_also_if_it_is_stored",
        ),
        ("hub/api/tests/samples.rs", "bad_samples_break_exactly_the_rule_that_they_name"),
    ]),
    // D23: without the API server no listener and no certificate goes.
    Proven(&[
        ("tests/tests/scenarios/tls_outage.rs", "listener_and_certificate_stay_in_force_whatever_is_killed"),
        (
            "tests/tests/scenarios/tls_outage.rs",
            "restarted_agent_without_a_hub_holds_up_no_new_envoy_and_takes_nothing_from_a_running_one",
        ),
        (
            "hub/src/index/tests/secrets.rs",
            "secret_that_became_unreadable_stays_in_force_with_the_reason_in_the_status",
        ),
    ]),
    // D24: who may join a cluster.
    Proven(&[
        ("hub/src/pod_reader.rs", "only_pods_of_the_given_namespaces_join"),
        (
            "tests/tests/scenarios/sources.rs",
            "pods_of_another_cluster_are_members_and_outlive_their_api_server_for_the_grace",
        ),
        ("tests/tests/scenarios/sources.rs", "sources_come_and_go_with_the_keys_of_a_secret"),
    ]),
    // D25: sources file, ConfigMap and Secrets as they are.
    Proven(&[
        ("hub/src/sources/list.rs", "files_of_the_replaced_control_plane_are_read_as_they_are"),
        (
            "hub/src/sources/kubeconfig.rs",
            "kubeconfig_of_the_original_script_uses_its_only_context_and_says_so",
        ),
        ("hub/src/sources/file.rs", "example_of_the_original_names_the_hubs_own_cluster_and_another"),
        ("tests/tests/scenarios/sources.rs", "sources_come_and_go_with_the_keys_of_a_secret"),
    ]),
    // D26: servers are verified.
    Proven(&[
        ("tests/tests/scenarios/tls_egress.rs", "client_and_server_verify_each_other_by_their_own_secrets"),
        (
            "hub/src/resolve/d/tests.rs",
            "servers_are_verified_by_the_clients_own_secret_unless_another_is_named",
        ),
    ]),
    // D27: a refused peer reaches nothing.
    Proven(&[
        (
            "tests/tests/access/main.rs",
            "peers_come_and_go_without_harm_to_others_and_rejected_ones_reach_nothing",
        ),
        ("tests/tests/access/main.rs", "client_without_an_admitted_name_reaches_nothing"),
        ("tests/tests/access/main.rs", "client_without_an_admitted_subject_reaches_nothing"),
        (
            "tests/tests/scenarios/node_names.rs",
            "pods_of_the_allowed_cluster_reach_the_application_and_others_not_a_byte",
        ),
    ]),
    // D28: the original's bootstrap.
    Proven(&[
        (
            "tests/tests/scenarios/former_bootstrap.rs",
            "envoys_with_the_former_bootstrap_follow_objects_and_pods_and_outlive_their_agent",
        ),
        (
            "agent/envoy/src/tests/streams.rs",
            "every_reference_of_clusters_and_listeners_is_to_the_proxys_own_source",
        ),
        (
            "agent/envoy/tests/world/streams.rs",
            "cluster_refers_to_the_agent_by_the_name_that_the_proxy_has_for_it",
        ),
    ]),
];
