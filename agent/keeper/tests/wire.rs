//! The keeper's protocol, compared with golden bytes, because keepers and agents of different versions use it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use portreeve_keeper::envoy::Family;
use portreeve_keeper::handover::Handover;
use portreeve_keeper::proto::{self, Instruction, Report, instruction::What};
use portreeve_keeper::{Exit, Order, Phase, Program, Spec, State, Usage, l7mp};
use prost::Message;

fn mk_state() -> State {
    State {
        protocol: 1,
        name: "gateway".into(),
        keeper_pid: 100,
        envoy_pid: Some(101),
        envoy_ticks: None,
        epoch: 2,
        base_id: Some(7),
        started_ms: Some(1_700_000_000_000),
        restarts: 3,
        last_exit: Some(Exit::Signal(11)),
        backoff_until_ms: Some(1_700_000_000_100),
        phase: Phase::Backoff,
        spec_hash: "a8ad7fcae0ecda3c".into(),
        netns: 4_026_531_840,
        memory_kills: 0,
        memory_limit: None,
        out_of_memory: false,
        serves: false,
        concurrency: 0,
        usage: None,
    }
}

fn mk_order() -> Order {
    let spec = Spec {
        name: "gateway".into(),
        envoy: "/usr/bin/envoy".into(),
        node_id: "n".into(),
        node_cluster: "c".into(),
        ads_socket: "/run/x/agent.sock".into(),
        concurrency: 2,
        extra_args: vec!["-l".into(), "debug".into()],
        health_listener: Some(1233),
        drain_s: 5,
        wildcard: Family::Dual,
        memory_limit: None,
        extra_bootstrap: None,
        program: Program::Envoy,
    };
    Order { hash: "a8ad7fcae0ecda3c".into(), spec }
}

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    fs::read_to_string(path).unwrap()
}

fn golden(name: &str) -> Vec<u8> {
    let text = text(name);
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn report_has_the_golden_bytes_and_comes_back() {
    let bytes = Report::from(&mk_state()).encode_to_vec();
    assert_eq!(hex(&bytes), hex(&golden("report.hex")));
    let read = State::try_from(Report::decode(&bytes[..]).unwrap()).unwrap();
    assert_eq!(read, mk_state());
}

#[test]
fn memory_and_usage_come_back_and_are_nothing_from_an_older_keeper() {
    let usage = Some(Usage { resident: 70 << 20, cpu_ms: 12_345 });
    let state =
        State { memory_kills: 2, memory_limit: Some(1 << 28), out_of_memory: true, usage, ..mk_state() };
    let bytes = Report::from(&state).encode_to_vec();
    assert_eq!(State::try_from(Report::decode(&bytes[..]).unwrap()).unwrap(), state);
    let file = serde_json::to_value(&state).unwrap();
    assert_eq!(file.get("usage"), None, "the file would be written with every report");
    let mut older = file.as_object().unwrap().clone();
    older.retain(|key, _| !key.contains("memory"));
    let read: State = serde_json::from_value(older.into()).unwrap();
    assert_eq!(
        (read.memory_kills, read.memory_limit, read.out_of_memory, read.usage),
        (0, None, false, None)
    );
}

#[test]
fn instructions_have_the_golden_bytes_and_come_back() {
    let spec = Instruction { what: Some(What::Spec((&mk_order()).into())) };
    let bytes = spec.encode_to_vec();
    assert_eq!(hex(&bytes), hex(&golden("spec.hex")));
    let Some(What::Spec(read)) = Instruction::decode(&bytes[..]).unwrap().what else { panic!("no spec") };
    assert_eq!(Order::try_from(read).unwrap(), mk_order());
    let stop = Instruction { what: Some(What::Stop(proto::Stop { drain_s: 30 })) };
    assert_eq!(hex(&stop.encode_to_vec()), "1202081e");
}

/// An agent can read the state of a first-release keeper, and a keeper the order of a first-release agent. In the other
/// direction, they read what they would have written themselves.
#[test]
fn files_have_the_golden_text_and_are_read() {
    let state = State { envoy_ticks: Some(4711), ..mk_state() };
    assert_eq!(serde_json::to_string_pretty(&state).unwrap(), text("state.json").trim_end());
    assert_eq!(serde_json::from_str::<State>(&text("state.json")).unwrap(), state);
    assert_eq!(serde_json::to_string_pretty(&mk_order()).unwrap(), text("order.json").trim_end());
    assert_eq!(serde_json::from_str::<Order>(&text("order.json")).unwrap(), mk_order());
}

/// Fields added since the first release, which a first-release keeper ignores.
#[test]
fn memory_limit_and_extra_bootstrap_follow_the_bytes_of_the_first_release() {
    let mut order = mk_order();
    order.spec.memory_limit = Some(512 << 20);
    order.spec.extra_bootstrap = Some("{}".into());
    let bytes = proto::Spec::from(&order).encode_to_vec();
    let before = proto::Spec::from(&mk_order()).encode_to_vec();
    assert_eq!(hex(&bytes), format!("{}60808080800{}", hex(&before), "26a027b7d"));
    assert_eq!(Order::try_from(proto::Spec::decode(&bytes[..]).unwrap()).unwrap(), order);
    let text = serde_json::to_string(&order).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
}

#[test]
fn renewal_has_the_golden_bytes_and_its_file_the_golden_text() {
    let renew = proto::Renew { command: vec!["/a".into(), "b".into()] };
    let bytes = Instruction { what: Some(What::Renew(renew.clone())) }.encode_to_vec();
    assert_eq!(hex(&bytes), "1a070a022f610a0162");
    assert_eq!(Instruction::decode(&bytes[..]).unwrap().what, Some(What::Renew(renew)));
    let handover = Handover { order: mk_order(), state: State { envoy_ticks: Some(4711), ..mk_state() } };
    assert_eq!(serde_json::to_string_pretty(&handover).unwrap(), text("handover.json").trim_end());
    assert_eq!(serde_json::from_str::<Handover>(&text("handover.json")).unwrap(), handover);
}

#[test]
fn nothing_is_known_of_absent_values() {
    let empty = Report { phase: 2, ..Report::default() };
    let state = State::try_from(empty).unwrap();
    assert_eq!((state.envoy_pid, state.base_id, state.last_exit), (None, None, None));
    assert_eq!((state.started_ms, state.backoff_until_ms), (None, None));
    assert!(State::try_from(Report::default()).is_err(), "a report without a phase means nothing");
}

#[test]
fn field_and_instruction_of_a_later_version_are_passed_over() {
    let mut bytes = Report::from(&mk_state()).encode_to_vec();
    bytes.extend([0xfa, 0x06, 0x01, 0x2a]); // field 111, one byte
    assert_eq!(State::try_from(Report::decode(&bytes[..]).unwrap()).unwrap(), mk_state());
    assert_eq!(Instruction::decode(&[0xfa, 0x06, 0x00][..]).unwrap().what, None);
}

#[test]
fn port_that_is_none_is_refused() {
    let spec = proto::Spec { health_listener: 65_536, ..proto::Spec::from(&mk_order()) };
    assert_eq!(Order::try_from(spec).unwrap_err().to_string(), "65536 is no port");
}

#[test]
fn order_for_another_kind_of_program_is_refused() {
    let spec = proto::Spec { program: 7, ..proto::Spec::from(&mk_order()) };
    let told = Order::try_from(spec).unwrap_err().to_string();
    assert_eq!(told, "program 7 is of a kind that this keeper can't run");
}

/// Keepers since protocol 7 know it. A keeper of protocol 6 refuses it by its kind of program.
#[test]
fn order_for_l7mp_follows_the_bytes_of_the_first_release() {
    let mut order = mk_order();
    let port = 1235.try_into().unwrap();
    order.spec.program = Program::L7mp(l7mp::Settings { script: "/p.js".into(), port, strict: true });
    let bytes = proto::Spec::from(&order).encode_to_vec();
    let before = proto::Spec::from(&mk_order()).encode_to_vec();
    assert_eq!(hex(&bytes), format!("{}7801{}", hex(&before), "82010c0a052f702e6a7310d3091801"));
    assert_eq!(Order::try_from(proto::Spec::decode(&bytes[..]).unwrap()).unwrap(), order);
    let text = serde_json::to_string(&order).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
    let portless = proto::Spec { l7mp: None, ..proto::Spec::from(&order) };
    assert_eq!(Order::try_from(portless).unwrap_err().to_string(), "0 is no port");
}

#[test]
fn question_about_sockets_and_its_answer_have_the_golden_bytes() {
    let asked = proto::Sockets { question: 7, inodes: vec![4711, 1] };
    let bytes = Instruction { what: Some(What::Sockets(asked.clone())) }.encode_to_vec();
    assert_eq!(hex(&bytes), "2a0708071203e72401");
    assert_eq!(Instruction::decode(&bytes[..]).unwrap().what, Some(What::Sockets(asked)));
    let told = proto::Holding { question: 7, inodes: vec![4711], incomplete: true };
    let bytes = told.encode_to_vec();
    assert_eq!(hex(&bytes), "08071202e7241801");
    assert_eq!(proto::Holding::decode(&bytes[..]).unwrap(), told);
}
