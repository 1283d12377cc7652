//! API C's checklist: the rows from C1 to C34, without those of tunnels' packets. Rows that ask for a public program
//! of that time which can't be fetched (R1 to R6 of the specification) differ in their proof.

use portreeve_tests::ledger::Proof;

use super::Answer::{self, Differs, Proven};

/// The number of the last row.
pub const LAST: u8 = 34;

// Tests that prove several rows.
const STORM: Proof =
    ("hub/allocate/tests/storm/main.rs", "nothing_is_handed_out_twice_and_every_gap_has_a_cause");
const PORTS: Proof = (
    "hub/src/resolve/c/tests/mod.rs",
    "each_port_listens_on_the_public_address_and_leads_to_endpoints_of_its_name_and_protocol",
);
const TRAFFIC: Proof =
    ("tests/tests/scenarios/epic.rs", "accounts_with_equal_names_reach_their_own_endpoints_over_tcp_and_udp");
const IDS: Proof = (
    "tests/tests/scenarios/epic_allocation.rs",
    "accounts_and_load_balancers_get_ids_keys_and_addresses_that_nothing_else_has",
);
const CONTESTS: Proof = (
    "tests/tests/scenarios/epic_allocation.rs",
    "address_of_an_older_object_is_refused_and_a_full_pool_says_what_to_do_until_one_is_free",
);
const KILLS: Proof = (
    "tests/tests/scenarios/epic_allocation.rs",
    "hubs_that_are_killed_while_they_allocate_give_nothing_twice",
);
const SAMPLES: Proof = (
    "tests/tests/scenarios/epic_objects.rs",
    "samples_of_each_version_are_taken_strictly_and_read_back_unchanged",
);
pub const ORDERS: Proof = (
    "tests/tests/scenarios/epic_orders.rs",
    "customer_orders_shares_adds_endpoints_that_get_traffic_and_releases",
);
const USERS: Proof =
    ("tests/tests/scenarios/epic_orders.rs", "users_reach_their_own_account_alone_and_strangers_none");
const POLICY: Proof = ("tests/tests/scenarios/epic_policies.rs", "epic_is_created_in_one_place_and_stays");
const DELETION: Proof =
    ("tests/tests/scenarios/epic_policies.rs", "load_balancer_is_deleted_once_it_has_no_upstream_clusters");
const TAKEOVER: Proof = (
    "tests/tests/scenarios/epic_tunnels.rs",
    "e1_objects_in_labelled_namespaces_are_taken_over_and_no_id_is_given_again",
);
pub const TUNNELS: Proof = (
    "tests/tests/scenarios/epic_tunnels.rs",
    "each_load_balancer_has_a_tunnel_to_each_node_with_an_id_that_no_other_has",
);
const TABLE: Proof =
    ("tests/tests/scenarios/epic_web.rs", "every_request_of_the_table_has_its_codes_links_and_keys");
const EXAMPLE: Proof =
    ("tests/tests/up/epic.rs", "both_load_balancers_lead_to_their_own_endpoints_over_tcp_and_udp");

/// The answered rows, each with its number.
pub const ROWS: [(u8, Answer); 24] = [
    // C1: CRDs in the document's form and in E1's, with exact names.
    (
        1,
        Differs(
            "R6, the samples of EPIC's own repository, are in no package registry. The tests' samples stand for them: \
             e1.yaml and later.yaml have every field and label of their kinds. document.yaml holds the document's own \
             objects, value by value.",
            &[
                SAMPLES,
                ("hub/api/tests/epic/samples.rs", "every_sample_is_accepted_and_written_back_unchanged"),
                ("hub/api/tests/crds.rs", "the_written_definitions_are_the_generated_ones"),
                ("hub/api/tests/crds.rs", "kinds_have_their_documented_names"),
                ("hub/api/tests/epic/samples.rs", "columns_are_those_of_e1"),
                EXAMPLE,
            ],
        ),
    ),
    // C2: epic/epic is created, stays, and is the only one.
    (2, Proven(&[IDS, POLICY, ("hub/api/tests/epic/refusals.rs", "epic_has_one_name_and_stays")])),
    // C3: group-id in the Account's spec, in both namespaces.
    (3, Proven(&[IDS])),
    // C4: service-id per account.
    (4, Proven(&[IDS])),
    // C5: a tunnel id for each load balancer and node, unique in the whole system.
    (5, Proven(&[TUNNELS])),
    // C6: optimistic locking: retried to success, never twice.
    (
        6,
        Proven(&[
            STORM,
            KILLS,
            (
                "hub/allocate/tests/ids.rs",
                "write_carries_the_version_that_was_read_and_its_answer_yields_the_id",
            ),
        ]),
    ),
    // C7: ids are immutable once set.
    (
        7,
        Proven(&[
            ("tests/tests/scenarios/epic_objects.rs", "ids_are_given_once_and_stay"),
            ("hub/api/tests/epic/refusals.rs", "ids_are_immutable_once_they_are_set"),
        ]),
    ),
    // C8: a namespace for each account.
    (
        8,
        Proven(&[
            TAKEOVER,
            CONTESTS,
            ("hub/api/tests/epic/references.rs", "namespaces_and_accounts_are_named_after_each_other"),
            ("hub/api/tests/epic/refusals.rs", "names_that_no_namespace_can_have_are_no_accounts"),
        ]),
    ),
    // C9: the address and each port become listeners.
    (9, Proven(&[TRAFFIC, EXAMPLE, PORTS])),
    // C10: endpoints by load balancer, cluster and port name, live.
    (
        10,
        Proven(&[
            TRAFFIC,
            PORTS,
            ("hub/src/resolve/c/tests/mod.rs", "document_form_is_served_too_with_its_group_in_epic"),
        ]),
    ),
    // C12: proxy-ifname and proxy-ifindex in pod mode.
    (
        12,
        Proven(&[
            (
                "tests/tests/scenarios/epic_pods.rs",
                "pods_of_a_load_balancer_serve_on_a_real_node_until_gateways_do_or_it_is_deleted",
            ),
            (
                "tests/tests/scenarios/interfaces.rs",
                "interfaces_that_lead_to_a_process_are_those_that_the_kernel_connects_with_it",
            ),
            (
                "agent/envoy/tests/world/interfaces.rs",
                "interface_on_the_bridge_is_reported_or_else_the_first_and_for_no_other_plan",
            ),
            ("hub/src/status/tests/interface.rs", "interface_is_told_until_a_proxy_runs_without_one"),
        ]),
    ),
    // C13: copies of ids; objects go in any order, with all finalizers.
    (
        13,
        Proven(&[
            TUNNELS,
            (
                "tests/tests/scenarios/epic_cleanup.rs",
                "objects_go_in_every_order_of_their_deletion_and_their_address_is_free_again",
            ),
            (
                "tests/tests/scenarios/epic_cleanup.rs",
                "no_listener_address_route_or_device_is_left_whatever_goes_first",
            ),
            (
                "tests/tests/scenarios/epic_cleanup.rs",
                "finalizers_of_others_stay_and_a_lost_node_holds_nothing_up",
            ),
        ]),
    ),
    // C14: defaults, and refusals in E1's phrases.
    (
        14,
        Differs(
            "R1, a client of the web service, is in no package registry. The tests' own client sends the same requests: it \
             reads the group, orders a service without ports, follows the 302 and compares the link to the group.",
            &[
                (
                    "tests/tests/scenarios/epic_objects.rs",
                    "changes_that_break_a_rule_are_refused_or_are_the_hubs_to_refuse",
                ),
                DELETION,
                POLICY,
                TABLE,
                ("hub/api/tests/epic/samples.rs", "defaults_of_the_definitions_are_those_of_e1"),
                ("hub/api/tests/epic/samples.rs", "settings_of_an_empty_spec_are_the_defaults"),
                (
                    "hub/api/tests/epic/refusals.rs",
                    "changes_that_break_a_rule_are_refused_with_field_and_reason",
                ),
            ],
        ),
    ),
    // C15: references stay in the account.
    (
        15,
        Proven(&[
            TRAFFIC,
            ("hub/src/resolve/c/tests/mod.rs", "objects_of_another_account_are_never_seen"),
            ("hub/epic/tests/path.rs", "every_target_belongs_to_the_account_in_its_path"),
        ]),
    ),
    // C16: the group's template and defaults.
    (
        16,
        Differs(
            "The samples of EPIC's own repository are in no package registry. v2.yaml and inline.yaml stand for them, in the \
             same manner. Secrets by SDS, runtime values, and what reaches beyond the load balancer are refused, because \
             accounts share an Envoy.",
            &[
                ("hub/template/tests/golden.rs", "http_template_of_api_v2_weighs_its_clusters"),
                ("hub/template/tests/golden.rs", "template_with_inline_endpoints_has_one_cluster"),
                ("hub/template/tests/adopt.rs", "what_reaches_beyond_the_load_balancer_is_refused"),
                (
                    "hub/src/resolve/c/tests/template.rs",
                    "own_template_of_a_load_balancer_comes_before_that_of_its_group",
                ),
                (
                    "tests/tests/scenarios/epic_templates.rs",
                    "equal_templates_of_two_accounts_lead_to_their_own_endpoints",
                ),
                ("tests/tests/scenarios/epic_templates.rs", "samples_are_acknowledged_by_an_envoy"),
            ],
        ),
    ),
    // C17: LBServiceGroup, and all spellings of labels.
    (
        17,
        Differs(
            "R6 at its later commit is in no package registry. later.yaml stands for it, with the kinds, labels and fields \
             of that version.",
            &[
                (
                    "tests/tests/scenarios/epic_objects.rs",
                    "e1_objects_are_read_alike_in_all_spellings_of_their_labels",
                ),
                SAMPLES,
                ("hub/api/tests/epic/references.rs", "every_spelling_names_the_group"),
                ("hub/api/tests/epic/references.rs", "spellings_that_disagree_are_both_named"),
                ("hub/api/tests/epic/samples.rs", "group_of_either_kind_has_one_form"),
                ("hub/src/resolve/c/tests/mod.rs", "group_may_name_its_gateways_by_labels"),
            ],
        ),
    ),
    // C18: pools of addresses without double owners.
    (
        18,
        Proven(&[
            STORM,
            IDS,
            KILLS,
            CONTESTS,
            ("hub/src/resolve/c/tests/mod.rs", "address_of_an_older_load_balancer_is_not_opened_twice"),
        ]),
    ),
    // C19: the web service, every row and code.
    (
        19,
        Differs(
            "R1, a client of the web service, is in no package registry. The tests' own client compares each request's \
             codes, links, Locations and keys with the table.",
            &[
                TABLE,
                USERS,
                (
                    "tests/tests/scenarios/epic_orders.rs",
                    "fifty_customers_order_a_thousand_services_and_none_is_lost_or_double",
                ),
                ("hub/epic/tests/request.rs", "keys_match_in_any_case_at_every_depth"),
                ("hub/epic/tests/path.rs", "each_path_leads_to_its_target_and_back"),
                ("hub/epic/tests/answer.rs", "errors_are_a_text_in_the_body_and_in_a_header"),
            ],
        ),
    ),
    // C20: HTTP Basic per account, over TLS.
    (
        20,
        Proven(&[
            USERS,
            ("hub/epic/tests/auth.rs", "secret_serves_the_account_of_its_namespace"),
            ("hub/epic/tests/auth.rs", "right_password_alone_is_let_in"),
            ("hub/epic/tests/auth.rs", "all_three_versions_of_bcrypt_are_taken"),
        ]),
    ),
    // C21: PureLB's allocator orders, shares and releases.
    (
        21,
        Differs(
            "The allocator of R2 is in no package registry. The tests' own client (tests/src/orderer.rs) sends its requests \
             step by step, in its spelling, and follows its links and Locations.",
            &[ORDERS, ("hub/epic/tests/request.rs", "service_of_purelb_is_read")],
        ),
    ),
    // C22: PureLB's node agent sets tunnels up.
    (
        22,
        Differs(
            "The node agent of R2 is in no package registry. The tests' own client (tests/src/orderer.rs) reads the \
             account, announces an endpoint and waits for its node's tunnel in both forms. It configures no tunnel, because \
             the gateways can't end one yet.",
            &[
                ORDERS,
                ("hub/epic/tests/request.rs", "endpoint_of_purelb_is_read"),
                ("hub/epic/tests/answer.rs", "service_has_its_tunnels_in_both_forms"),
                ("hub/api/tests/epic/samples.rs", "tunnels_of_status_and_spec_are_read_alike"),
            ],
        ),
    ),
    // C32: upstream-clusters.
    (
        32,
        Differs(
            "R2 is in no package registry: the tests' own client sends its requests.",
            &[
                (
                    "tests/tests/scenarios/epic_web.rs",
                    "endpoints_go_with_their_cluster_and_those_of_other_clusters_stay",
                ),
                TABLE,
                DELETION,
                ("hub/src/resolve/c/tests/mod.rs", "clusters_share_alike_however_many_endpoints_they_have"),
            ],
        ),
    ),
    // C33: pod mode, the Deployment of C.3.
    (
        33,
        Differs(
            "The Deployment lacks what was for debugging or for servers that are gone: debug log, privileges, pull secret, the \
             certificate and bootstrap of E1's xDS server. Its Envoy gets its configuration from the node's agent.",
            &[
                (
                    "hub/src/epic/pods/deployment.rs",
                    "deployment_is_the_golden_one_with_the_bootstrap_of_the_sidecars",
                ),
                (
                    "hub/src/resolve/c/tests/pods.rs",
                    "own_annotation_counts_before_the_groups_and_pods_listen_on_all_their_addresses",
                ),
                (
                    "tests/tests/scenarios/epic_pods.rs",
                    "pods_of_a_load_balancer_serve_on_a_real_node_until_gateways_do_or_it_is_deleted",
                ),
            ],
        ),
    ),
    // C34: objects of E1 are taken over, and no id is used again.
    (
        34,
        Proven(&[
            TAKEOVER,
            (
                "tests/tests/scenarios/epic_allocation.rs",
                "ids_go_on_behind_those_of_objects_that_are_taken_over",
            ),
            STORM,
        ]),
    ),
];
