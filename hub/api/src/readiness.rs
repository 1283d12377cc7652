//! Whether a pod counts as ready, computed from the pod object alone, so that every hub gets the same result, even one
//! that has just started. Entry point: [`ready`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod_document::{Condition, ConditionStatus, ConditionType, ContainerStatus, Status};

/// Returns whether a pod is ready; for a terminating pod, whether it was ready when its deletion began.
///
/// `terminating_ms` is the time of the deletion in milliseconds since the Unix epoch, 0 for a pod that isn't being
/// deleted. It is compared with the `lastTransitionTime` of the Ready condition. Both times have whole seconds. If they
/// are equal, the pod counts as ready, because containers often end in the second in which they are told to. The API
/// server's clock and the node's clock may differ; the result is wrong by that difference.
///
/// The kubelet sets `lastTransitionTime`. A condition without it doesn't tell the state at the deletion; such a pod
/// counts as ready unless its containers were never started.
pub(crate) fn ready(status: &Status, terminating_ms: i64) -> bool {
    let Some(condition) =
        status.conditions.iter().flatten().find(|one| one.kind == Some(ConditionType::Ready))
    else {
        return false;
    };
    let is_ready = condition.status == Some(ConditionStatus::True);
    if terminating_ms == 0 {
        return is_ready;
    }
    let deleted = terminating_ms.div_euclid(1000);
    match (is_ready, since(condition)) {
        (true, since) => since.is_none_or(|since| since <= deleted),
        (false, since) => since.is_none_or(|since| since >= deleted) && had_started(status, since),
    }
}

/// Returns whether every container had started by this time. A kubelet that first sees a pod when the pod is already
/// terminating sets the first Ready condition after the deletion. The container states then show that the pod was never
/// ready.
fn had_started(status: &Status, by: Option<i64>) -> bool {
    let started = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let running = state.and_then(|state| state.running.as_ref()).map(|one| one.started_at.as_ref());
        let ended = state.and_then(|state| state.terminated.as_ref()).map(|one| one.started_at.as_ref());
        let start = running.or(ended).or(last.map(|one| one.started_at.as_ref()));
        start.is_some_and(|at| by.zip(at.map(seconds)).is_none_or(|(by, at)| at <= by))
    };
    status.container_statuses.iter().flatten().all(started)
}

/// Returns the time since which the condition has its status, in seconds since the Unix epoch.
fn since(condition: &Condition) -> Option<i64> {
    condition.last_transition_time.as_ref().map(seconds)
}

fn seconds(time: &Time) -> i64 {
    time.0.as_second()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// 2026-01-01T01:00:00Z, the time of the deletion request.
    const DELETED: i64 = 1_767_229_200_000;

    /// A time relative to the deletion, in seconds; negative: before it.
    fn at(seconds: i64) -> String {
        let time = k8s_openapi::jiff::Timestamp::from_millisecond(DELETED + seconds * 1000).unwrap();
        time.to_string()
    }

    fn mk_status(ready: &str, since: Option<i64>, states: &[Value]) -> Status {
        let containers: Vec<Value> = states
            .iter()
            .map(|state| {
                json!({"name": "c", "ready": false, "image": "i", "imageID": "", "restartCount": 0, "state": state})
            })
            .collect();
        let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": since.map(at)});
        serde_json::from_value(json!({"conditions": [condition], "containerStatuses": containers})).unwrap()
    }

    fn running(since: i64) -> Value {
        json!({"running": {"startedAt": at(since)}})
    }

    #[test]
    fn pod_that_stays_is_what_its_condition_says() {
        for (status, ready_now) in [("True", true), ("False", false), ("Unknown", false)] {
            for since in [None, Some(-10), Some(10)] {
                assert_eq!(ready(&mk_status(status, since, &[]), 0), ready_now, "{status} since {since:?}");
            }
        }
        assert!(!ready(&Status::default(), 0), "no kubelet has spoken of it");
    }

    #[test]
    fn terminating_pod_is_what_it_was_when_its_deletion_began() {
        let cases = [
            ("True", Some(-10), true),
            ("True", Some(0), true),
            ("True", Some(1), false),
            ("False", Some(-10), false),
            ("False", Some(-1), false),
            ("False", Some(0), true),
            ("False", Some(25), true),
            ("Unknown", Some(-1), false),
            ("Unknown", Some(1), true),
        ];
        for (status, since, was_ready) in cases {
            // Both ends of the same second.
            for ms in [0, 999] {
                let status_of = mk_status(status, since, &[running(-60)]);
                assert_eq!(ready(&status_of, DELETED + ms), was_ready, "{status} since {since:?}, {ms} ms");
            }
        }
        assert!(!ready(&Status::default(), DELETED), "it was never ready");
    }

    #[test]
    fn pod_whose_containers_were_not_started_was_never_ready() {
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        let ended = json!({"terminated": {"exitCode": 0, "startedAt": at(-60), "finishedAt": at(2)}});
        let cases = [
            (vec![waiting.clone()], false),
            (vec![running(-60), waiting], false),
            (vec![running(-60), ended], true),
            (vec![running(3)], false),
            (vec![json!({})], false),
            (vec![], true),
        ];
        for (states, was_ready) in cases {
            assert_eq!(ready(&mk_status("False", Some(2), &states), DELETED), was_ready, "{states:?}");
        }
    }

    #[test]
    fn undated_condition_counts_as_ready_unless_no_container_was_started() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff"}});
        assert!(
            ready(&mk_status("False", None, &[]), DELETED) && ready(&mk_status("True", None, &[]), DELETED)
        );
        assert!(!ready(&mk_status("False", None, &[waiting]), DELETED));
    }

    #[test]
    fn container_that_waits_for_its_next_start_had_started() {
        let mut status = mk_status("False", Some(1), &[json!({"waiting": {"reason": "CrashLoopBackOff"}})]);
        let last = json!({"terminated": {"exitCode": 1, "startedAt": at(-9), "finishedAt": at(-3)}});
        let containers = status.container_statuses.as_mut().unwrap();
        containers[0].last_state = Some(serde_json::from_value(last).unwrap());
        assert!(ready(&status, DELETED));
    }
}
