//! API B's checklist: B1 to B34.

use super::Answer::{self, Differs, Proven};

/// Every row, in order.
pub const ROWS: [Answer; 34] = [
    // B1: the deployed definitions, Route, and older selectors and blocks.
    Proven(&[
        ("hub/api/tests/crds.rs", "the_written_definitions_are_the_generated_ones"),
        ("hub/api/tests/mesh.rs", "every_real_object_is_accepted_and_has_a_form"),
        ("hub/api/src/b/tests/spellings.rs", "document_and_deployed_spelling_of_a_listener_have_one_form"),
        ("hub/api/src/b/tests/random.rs", "any_value_anywhere_is_accepted_with_a_form_or_refused"),
        ("hub/cli/tests/convert.rs", "both_examples_of_the_document_are_converted_whole"),
    ]),
    // B2: selectors by labels, expressions, fields, namespace and Service.
    Proven(&[
        ("hub/src/resolve/b/tests/fields.rs", "proxies_and_endpoints_are_selected_by_fields"),
        (
            "hub/api/src/b/tests/tables.rs",
            "selector_that_selects_every_pod_or_by_an_unknown_field_is_refused",
        ),
        ("hub/api/tests/mesh_refusals.rs", "selectors_that_select_no_pod_are_refused"),
        (
            "hub/src/resolve/b/tests/mesh.rs",
            "every_real_object_resolves_into_one_plan_without_a_missing_reference",
        ),
        ("tests/tests/scenarios/mesh.rs", "users_of_the_second_example_hear_each_other_once"),
    ]),
    // B3: short, fully specified, path and selfLink references.
    Proven(&[
        (
            "hub/src/resolve/b/tests/mod.rs",
            "name_is_that_of_a_target_then_a_virtual_service_then_a_service_then_the_proxys_own",
        ),
        (
            "hub/src/resolve/b/tests/mesh.rs",
            "every_real_object_resolves_into_one_plan_without_a_missing_reference",
        ),
    ]),
    // B4: listeners of each protocol; server mode and peers.
    Differs(
        "A peer of a listener that several proxies have is waited for by each of them (mode server), with a warning: users would hear themselves if each connected to it.",
        &[
            ("hub/api/src/b/tests/tables.rs", "ports_modes_and_peers_of_a_listener_are_checked"),
            ("agent/core/src/translate/l7mp/tests.rs", "each_protocol_has_its_own_spec"),
            ("agent/l7mp/src/making/tests.rs", "connected_listeners_are_known"),
            ("hub/src/resolve/b/tests/mod.rs", "peer_of_several_proxies_is_waited_for"),
            (
                "tests/tests/scenarios/mesh.rs",
                "datagrams_of_the_first_example_pass_a_websocket_and_a_unix_socket",
            ),
            ("tests/tests/scenarios/mesh.rs", "users_of_the_second_example_hear_each_other_once"),
        ],
    ),
    // B5: clusters of each protocol.
    Proven(&[
        ("agent/core/src/translate/l7mp/tests.rs", "each_protocol_has_its_own_spec"),
        (
            "hub/api/src/b/tests/tables.rs",
            "endpoints_of_a_protocol_without_any_would_end_the_proxy_and_are_refused",
        ),
        ("hub/api/tests/mesh_refusals.rs", "clusters_that_reach_nothing_are_refused"),
        (
            "tests/tests/scenarios/mesh.rs",
            "datagrams_of_the_first_example_pass_a_websocket_and_a_unix_socket",
        ),
    ]),
    // B6: ordered rules, validated at admission.
    Proven(&[
        ("hub/api/src/b/tests/tables.rs", "predicate_that_never_matches_is_refused"),
        ("hub/api/tests/mesh_refusals.rs", "rules_whose_parts_have_no_effect_are_refused"),
        ("agent/l7mp/src/steps/tests.rs", "rules_are_brought_into_order_by_position"),
        ("tests/tests/scenarios/mesh.rs", "users_of_the_second_example_hear_each_other_once"),
    ]),
    // B7: named and inline routes, chains and retries.
    Proven(&[
        ("hub/api/src/b/tests/spellings.rs", "both_names_of_a_route_and_of_a_destination_have_one_form"),
        ("hub/api/src/b/tests/spellings.rs", "entries_of_a_chain_have_one_form_in_every_spelling"),
        (
            "hub/src/resolve/b/tests/mod.rs",
            "rule_leads_to_inline_clusters_and_the_proxys_own_and_health_checks_come_by_annotation",
        ),
        ("tests/tests/scenarios/mesh.rs", "users_of_the_second_example_hear_each_other_once"),
    ]),
    // B8: named and inline targets; static endpoints.
    Differs(
        "A host name is resolved by the agent, which keeps its last addresses; the proxy gets addresses.",
        &[
            ("hub/api/tests/mesh_refusals.rs", "addresses_of_endpoints_are_ip_addresses_names_and_files"),
            ("agent/l7mp/src/steps/tests.rs", "endpoint_with_another_weight_keeps_its_sessions"),
            (
                "hub/src/resolve/b/tests/mesh.rs",
                "every_real_object_resolves_into_one_plan_without_a_missing_reference",
            ),
        ],
    ),
    // B9: targets that refer to a VirtualService.
    Proven(&[
        ("hub/src/resolve/b/tests/mod.rs", "second_example_works_as_its_author_meant_it"),
        (
            "hub/src/resolve/b/tests/mesh.rs",
            "every_real_object_resolves_into_one_plan_without_a_missing_reference",
        ),
        ("tests/tests/scenarios/mesh_workers.rs", "call_of_a_worker_that_dies_goes_on_at_another"),
    ]),
    // B10: endpoints by selector.
    Proven(&[
        ("hub/src/resolve/b/tests/fields.rs", "proxies_and_endpoints_are_selected_by_fields"),
        ("tests/tests/scenarios/mesh_workers.rs", "call_of_a_worker_that_dies_goes_on_at_another"),
    ]),
    // B11: load balancing with a key.
    Proven(&[
        ("hub/src/resolve/b/tests/mod.rs", "second_example_works_as_its_author_meant_it"),
        ("tests/tests/scenarios/mesh.rs", "users_of_the_second_example_hear_each_other_once"),
        ("agent/envoy/src/tests/mesh.rs", "keys_are_the_senders_address_a_constant_or_chance"),
    ]),
    // B12: a hop is a Target, a VirtualService, a Service, or the proxy's own.
    Differs(
        "An unknown name is no error of the object: only the agent can tell whether the proxy has it.",
        &[
            (
                "hub/src/resolve/b/tests/mod.rs",
                "name_is_that_of_a_target_then_a_virtual_service_then_a_service_then_the_proxys_own",
            ),
            ("agent/l7mp/src/making/tests.rs", "what_the_proxys_own_configuration_lacks_is_named"),
        ],
    ),
    // B13: services without proxies.
    Differs(
        "A pod is a proxy by its container or annotation; others get nothing. A VirtualService with rules that selects no proxy is no error: its status says that nothing programs it.",
        &[
            ("hub/src/resolve/b/tests/mod.rs", "missing_service_route_and_pods_are_told_by_field_and_name"),
            (
                "tests/tests/scenarios/mesh.rs",
                "datagrams_of_the_first_example_pass_a_websocket_and_a_unix_socket",
            ),
        ],
    ),
    // B14: routes go where a VirtualService uses them, targets to their selector, and away when unused.
    Proven(&[
        (
            "agent/core/src/translate/l7mp/tests.rs",
            "plan_of_a_target_has_its_cluster_and_plan_of_a_rule_its_insertion",
        ),
        ("agent/l7mp/src/steps/tests.rs", "everything_of_the_drivers_goes_and_nothing_else"),
        ("tests/tests/mesh_churn.rs", "calls_are_programmed_and_nothing_is_left_of_them"),
    ]),
    // B15: port conflicts per proxy.
    Proven(&[
        ("agent/l7mp/src/making/tests.rs", "taken_ports_are_refused_by_their_owners_name"),
        (
            "tests/tests/l7mp/own.rs",
            "listener_on_a_port_of_the_proxys_own_is_refused_by_name_and_others_are_not",
        ),
    ]),
    // B16: sessions that end with their listener, and tracked ones.
    Differs(
        "A session that is being set up ends by itself: the proxy would end with it.",
        &[
            ("tests/tests/l7mp/life.rs", "sessions_outlive_a_listener_that_does_not_end_them"),
            ("tests/tests/l7mp/life.rs", "objects_come_and_go_on_a_strict_proxy"),
            (
                "agent/l7mp/src/sessions.rs",
                "only_sessions_of_gone_listeners_that_end_them_and_of_gone_clusters_end",
            ),
            (
                "tests/tests/l7mp/unsettled.rs",
                "removal_of_a_listener_with_an_unsettled_session_leaves_the_proxy_alive",
            ),
        ],
    ),
    // B17: deletion in order.
    Differs(
        "The listener goes first, then what it used: so no session meets a half-removed way.",
        &[
            ("agent/l7mp/src/steps/tests.rs", "everything_of_the_drivers_goes_and_nothing_else"),
            ("tests/tests/mesh_churn.rs", "calls_are_programmed_and_nothing_is_left_of_them"),
        ],
    ),
    // B18: pods come and go; sessions leave dead ones.
    Proven(&[
        ("tests/tests/scenarios/mesh_workers.rs", "call_of_a_worker_that_dies_goes_on_at_another"),
        ("tests/tests/l7mp/changes.rs", "sessions_move_when_their_endpoint_leaves"),
    ]),
    // B19: restarts are noticed, drift is mended.
    Proven(&[
        ("tests/tests/l7mp/life.rs", "restarted_proxy_gets_everything_again"),
        ("tests/tests/l7mp/life.rs", "what_others_delete_is_made_again"),
        ("tests/tests/l7mp/life.rs", "idle_connection_that_the_proxy_closes_is_no_restart"),
    ]),
    // B20: make before break.
    Differs(
        "A listener whose own settings change on the same port is closed for one request: the proxy can't have both.",
        &[
            (
                "tests/tests/l7mp/changes.rs",
                "changed_rule_loses_nothing_and_sessions_follow_when_their_cluster_goes",
            ),
            ("tests/tests/l7mp/changes.rs", "listener_moves_to_another_port_with_its_rules"),
            ("agent/l7mp/src/steps/tests.rs", "listener_with_another_spec_leaves_its_port_first"),
        ],
    ),
    // B21: safe order, retries, clean-up, requests that end no proxy.
    Proven(&[
        ("tests/tests/mesh_churn.rs", "kills_at_random_moments_end_in_the_desired_state"),
        ("agent/l7mp/src/steps/random.rs", "plan_for_changed_resources_is_the_plan_for_all"),
        ("tests/tests/l7mp/own.rs", "refusal_disturbs_nothing_else_on_a_strict_proxy"),
        ("agent/l7mp/src/steps/tests.rs", "orphans_of_a_half_failed_request_are_used_and_the_rest_removed"),
    ]),
    // B22: rules for lists of the proxy's own configuration.
    Proven(&[
        ("tests/tests/l7mp/own.rs", "rule_in_a_list_of_the_proxys_own_comes_and_goes"),
        ("agent/l7mp/src/steps/tests.rs", "insertion_takes_its_position_and_its_successor_the_same"),
        ("tests/tests/scenarios/mesh.rs", "rule_for_a_list_that_the_proxy_lacks_is_told"),
    ]),
    // B23: owners are told.
    Proven(&[
        ("tests/tests/scenarios/applied.rs", "owners_are_told_of_an_applied_child_until_it_is_deleted"),
        ("tests/tests/scenarios/applied.rs", "entries_that_others_changed_or_left_behind_are_put_right"),
    ]),
    // B24: Sync as one cluster of a pod; labels through JSONSocket; WebSocket.
    Proven(&[
        ("tests/tests/scenarios/mesh.rs", "users_of_the_second_example_hear_each_other_once"),
        (
            "tests/tests/scenarios/mesh.rs",
            "datagrams_of_the_first_example_pass_a_websocket_and_a_unix_socket",
        ),
        ("hub/src/resolve/b/tests/mod.rs", "first_example_reaches_a_socket_through_a_websocket"),
    ]),
    // B25: sessions by REST.
    Differs(
        "Portreeve has no command for sessions: the proxy's own interface stays open to tools beside it.",
        &[("tests/tests/l7mp/life.rs", "objects_come_and_go_on_a_loose_proxy")],
    ),
    // B26: strict proxies that can't show sessions.
    Proven(&[(
        "tests/tests/l7mp/life.rs",
        "strict_proxy_that_cannot_show_its_sessions_is_driven_all_the_same",
    )]),
    // B27: metrics.
    Differs(
        "Only the proxy's own counters, which rules may lead through; the agent does not export them again yet.",
        &[("agent/l7mp/src/making/tests.rs", "own_parts_of_the_proxy_can_be_named")],
    ),
    // B28: manifests.
    Differs(
        "A gateway of l7mp proxies is a NodeProxy of kind l7mp, which the node's agent runs. Other pods with l7mp are the user's own; rights are shipped.",
        &[
            (
                "tests/tests/scenarios/mesh_nodes.rs",
                "l7mp_of_a_node_serves_a_mesh_object_and_comes_back_with_it",
            ),
            ("tests/tests/scenarios/applied.rs", "owners_are_told_of_an_applied_child_until_it_is_deleted"),
        ],
    ),
    // B29: wishes of the authors.
    Differs(
        "Health checks decide who is an endpoint. What each proxy allows of the others is told in deploy/README.md.",
        &[
            (
                "agent/core/src/translate/l7mp/tests.rs",
                "endpoint_whose_check_failed_is_left_out_and_an_unknown_group_holds_the_plan_back",
            ),
            ("tests/tests/scenarios/mesh_workers.rs", "call_of_a_worker_that_dies_goes_on_at_another"),
        ],
    ),
    // B30: names of the proxy's own objects.
    Proven(&[
        ("agent/l7mp/src/making/tests.rs", "what_the_proxys_own_configuration_lacks_is_named"),
        ("tests/tests/l7mp/own.rs", "rule_in_a_list_of_the_proxys_own_comes_and_goes"),
        ("tests/tests/scenarios/mesh.rs", "rule_for_a_list_that_the_proxy_lacks_is_told"),
    ]),
    // B31: ports of the proxy's own listeners.
    Proven(&[(
        "tests/tests/l7mp/own.rs",
        "listener_on_a_port_of_the_proxys_own_is_refused_by_name_and_others_are_not",
    )]),
    // B32: an annotation on applied objects.
    Proven(&[(
        "tests/tests/scenarios/applied.rs",
        "object_is_annotated_once_every_proxy_confirmed_its_newest_generation",
    )]),
    // B33: bind, track, and a peer in server mode.
    Proven(&[
        ("hub/api/tests/mesh_refusals.rs", "bind_of_a_cluster_is_kept"),
        ("hub/api/tests/mesh_refusals.rs", "server_mode_is_read_in_both_spellings"),
        ("hub/api/src/b/tests/tables.rs", "ports_modes_and_peers_of_a_listener_are_checked"),
    ]),
    // B34: paths with and without slashes.
    Proven(&[
        ("hub/api/src/b/tests/spellings.rs", "paths_may_have_slashes_at_both_ends_or_none"),
        ("hub/api/tests/mesh_refusals.rs", "paths_of_queries_and_headers_get_their_slashes"),
    ]),
];
