//! API C's checklist: the rows of tunnels and their packets, C11 and C23 to C31.

use portreeve_tests::ledger::Proof;

use super::Answer::{self, Differs, Proven};
use super::c::{ORDERS, TUNNELS};

// Tests that prove several rows.
const PACKETS: Proof = (
    "tests/tests/scenarios/epic_gue.rs",
    "customers_with_the_same_pod_addresses_are_reached_through_their_own_tunnels",
);
const RESUMED: Proof =
    ("tests/tests/scenarios/epic_gue.rs", "flows_of_a_dead_gateway_resume_on_the_other_one_without_a_ping");
const STRANGERS: Proof = (
    "tests/tests/scenarios/epic_gue_faults.rs",
    "packets_of_strangers_are_dropped_and_counted_by_their_reason",
);

/// The rows, each with its number.
pub const ROWS: [(u8, Answer); 10] = [
    // C11: gue-tunnel-endpoints.
    (
        11,
        Differs(
            "R2, PureLB's allocator and node agent, are in no package registry. The tests' own client reads the tunnels in \
             both forms, step by step as C.5 tells it, and this project's gue-client sends by them.",
            &[ORDERS, TUNNELS, PACKETS],
        ),
    ),
    // C23: the bytes of data and pings.
    (
        23,
        Differs(
            "R3, the pinger of that time, is in no package registry. The bytes of the specification's example stand for it, \
             both ways; the packets between the roles are captured and parsed.",
            &[("agent/gue/tests/gue/wire.rs", "example_is_written_and_read_as_it_is_documented"), PACKETS],
        ),
    ),
    // C24: nodes behind NATs are learned, and learned again.
    (
        24,
        Proven(&[
            (
                "tests/tests/scenarios/epic_gue_faults.rs",
                "node_behind_a_nat_is_found_again_when_its_port_changes",
            ),
            ("agent/gue/tests/gue/gateway.rs", "pings_teach_where_a_tunnel_leads_and_data_never_does"),
        ]),
    ),
    // C25: what is wrong is dropped, and counted by its reason.
    (
        25,
        Differs(
            "R4, the one-shot ping of that time, is in no package registry. The tests write its bytes themselves.",
            &[
                STRANGERS,
                ("agent/gue/tests/gue/wire.rs", "everything_else_is_dropped_for_a_reason"),
                ("agent/gue/tests/gue/hostile.rs", "no_bytes_are_a_panic_and_only_the_key_opens"),
            ],
        ),
    ),
    // C26: the ids of August 2021 are echoed.
    (
        26,
        Proven(&[
            (
                "agent/gue/tests/gue/gateway.rs",
                "ids_of_the_last_good_ping_are_those_of_the_packets_to_its_end",
            ),
            ("agent/gue/tests/gue/wire.rs", "ids_of_a_tunnel_are_its_halves_the_low_one_also_cut"),
        ]),
    ),
    // C27: the inner source must be an endpoint.
    (
        27,
        Proven(&[
            STRANGERS,
            ("agent/gue/tests/gue/gateway.rs", "packets_of_strangers_are_dropped_for_their_reason"),
        ]),
    ),
    // C28: ICMP 3/4, sizes, DF, IP options, fragments.
    (
        28,
        Differs(
            "The outer header is that of a UDP socket, because only the kernel divides datagrams fast (UDP GSO): DF is always \
             set, TOS is 0, there are no options, and the UDP checksum is not 0, which receivers accept. Inner headers pass \
             unchanged, with options and DF. Fragments are dropped and counted.",
            &[
                ("agent/gue/tests/gue/too_big.rs", "answer_quotes_the_packet_and_tells_what_would_pass"),
                ("agent/gue/tests/gue/gateway.rs", "only_endpoints_are_sent_to_and_no_more_than_fits"),
                ("agent/gue/tests/gue/wire.rs", "inner_packets_that_do_not_pass_tunnels_are_told_apart"),
                (
                    "agent/tunnels/tests/tunnels.rs",
                    "accounts_with_the_same_endpoints_reach_their_own_through_their_tunnels",
                ),
                (
                    "tests/tests/scenarios/epic_gue_faults.rs",
                    "datagrams_of_all_sizes_that_fit_pass_without_loss",
                ),
            ],
        ),
    ),
    // C29: the customer's end: sessions and pings.
    (
        29,
        Proven(&[
            ("agent/gue/tests/gue/client.rs", "sessions_end_when_they_are_idle_for_an_hour_and_no_sooner"),
            ("agent/gue/tests/gue/client.rs", "session_that_was_used_longest_ago_makes_room"),
            (
                "agent/gue/tests/gue/client.rs",
                "each_tunnel_is_pinged_at_once_soon_again_and_then_every_25_seconds",
            ),
            PACKETS,
        ]),
    ),
    // C30: the eBPF programs of that time as the other end.
    (
        30,
        Differs(
            "R5, the eBPF programs of that time, are in no package registry. Each end is held against the specification's \
             bytes, and the two ends against each other.",
            &[
                ("agent/gue/tests/gue/wire.rs", "example_is_written_and_read_as_it_is_documented"),
                ("agent/gue/tests/gue/hostile.rs", "what_is_read_is_written_the_same"),
                PACKETS,
            ],
        ),
    ),
    // C31: EPIC's end, ids and the customers' ends survive a takeover.
    (
        31,
        Proven(&[
            RESUMED,
            ("agent/gue/tests/gue/gateway.rs", "gateway_resumes_flows_by_what_another_one_learned"),
            (
                "hub/src/status/tests/tunnels.rs",
                "other_end_is_the_one_that_was_learned_last_on_whichever_node",
            ),
        ]),
    ),
];
