//! All listeners of a call reach the same pod, whatever happens to the other pods.

use super::*;

const CALLS: usize = 50;
const PODS: u8 = 8;
const PIPES: [(&str, u32); 4] = [("rtp-a", 2000), ("rtcp-a", 2001), ("rtp-b", 2002), ("rtcp-b", 2003)];

/// The four listeners of a call, each with its own port on both sides.
fn mk_call(call: usize) -> plan::Plan {
    let mut plan = mk_plan();
    for (name, port) in PIPES {
        add_pipe(
            &mut plan,
            name,
            (plan::Protocol::Udp, port),
            key(&format!("call-{call}")),
            vec![(group(), port + 40)],
        );
    }
    plan
}

/// Returns the pods of a call by rank. Fails if its listeners disagree.
fn ranking(call: usize, pods: &[Endpoint]) -> Vec<String> {
    let done = run(&mk_call(call), Families::V4, &mk_fixture(pods.to_vec()));
    let of_pipe = |(name, port): (&str, u32)| -> Vec<String> {
        let all = shown(&done, &format!("{name}-c"));
        assert!(all.iter().all(|one| one.ends_with(&format!(":{}", port + 40))), "{all:?}");
        all.iter().map(|one| address(one).to_owned()).collect()
    };
    let all = PIPES.map(of_pipe);
    assert!(all.iter().all(|one| *one == all[0]), "the pipes of call {call} disagree: {all:?}");
    all[0].clone()
}

#[test]
fn four_pipes_of_a_call_agree_on_the_pod_and_on_its_runner_up() {
    let pods = mk_pods(PODS);
    let mut winners = BTreeSet::new();
    for call in 0..CALLS {
        let ranked = ranking(call, &pods);
        assert_eq!(ranked.len(), usize::from(PODS));
        winners.insert(ranked[0].clone());
    }
    assert!(winners.len() >= 6, "the calls spread: {winners:?}");
}

#[test]
fn calls_with_one_key_agree_across_objects() {
    let pods = mk_pods(PODS);
    for call in 0..CALLS {
        let mut other = mk_plan();
        other.origin.as_mut().unwrap().created_ms = 150;
        add_pipe(
            &mut other,
            "late",
            (plan::Protocol::Udp, 9),
            key(&format!("call-{call}")),
            vec![(group(), 7)],
        );
        let done = run(&other, Families::V4, &mk_fixture(pods.clone()));
        assert_eq!(address(&shown(&done, "late-c")[0]), ranking(call, &pods)[0]);
    }
}

#[test]
fn scale_up_moves_no_older_call() {
    let before = mk_pods(PODS);
    let mut after = mk_pods(PODS + 4);
    // Created after the object, which was created at 200.
    after[usize::from(PODS)..].iter_mut().for_each(|pod| pod.created_ms = Some(201));
    for call in 0..CALLS {
        let old = ranking(call, &before);
        assert_eq!(ranking(call, &after)[..old.len()], old, "call {call}");
    }
}

#[test]
fn pod_of_the_very_second_of_a_call_does_not_take_it() {
    let before = mk_pods(PODS);
    let mut after = mk_pods(PODS + 4);
    after[usize::from(PODS)..].iter_mut().for_each(|pod| pod.created_ms = Some(200));
    for call in 0..CALLS {
        assert_eq!(ranking(call, &after)[0], ranking(call, &before)[0], "call {call}");
    }
}

#[test]
fn younger_call_uses_the_pods_of_a_scale_up() {
    let pods = mk_pods(PODS);
    let newest = pods[7].ips[0].to_string();
    let wins = (0..CALLS).filter(|call| ranking(*call, &pods)[0] == newest).count();
    assert!(wins > 0, "a pod that was there before the call takes its share");
}

#[test]
fn scale_down_moves_only_the_calls_of_the_lost_pod_and_all_four_pipes_to_the_runner_up() {
    let pods = mk_pods(PODS);
    for lost in 0..usize::from(PODS) {
        let mut rest = pods.clone();
        let gone = rest.remove(lost).ips[0].to_string();
        for call in 0..CALLS {
            let old = ranking(call, &pods);
            let expected = if old[0] == gone { &old[1] } else { &old[0] };
            assert_eq!(ranking(call, &rest)[0], *expected, "call {call} without {gone}");
        }
    }
}

#[test]
fn winner_is_alone_in_priority_0_and_the_runner_up_in_1() {
    let done = run(&mk_call(1), Families::V4, &mk_fixture(mk_pods(PODS)));
    let priorities: Vec<_> = shown(&done, "rtp-a-c").iter().map(|one| one[..1].to_owned()).collect();
    assert_eq!(priorities, ["0", "1", "2", "2", "2", "2", "2", "2"]);
}

#[test]
fn older_call_keeps_a_pod_that_is_to_go_and_a_younger_one_never_sees_it() {
    for call in 0..CALLS {
        let mut pods = mk_pods(PODS);
        let before = ranking(call, &pods);
        let winner = pods.iter_mut().find(|pod| pod.ips[0].to_string() == before[0]).unwrap();
        winner.terminating_ms = Some(201);
        assert_eq!(ranking(call, &pods), before, "the object is of 200: it is the older");
        pods.iter_mut().for_each(|pod| pod.terminating_ms = pod.terminating_ms.map(|_| 200));
        assert_eq!(ranking(call, &pods), before[1..], "an object of the moment of the deletion is no older");
    }
}
