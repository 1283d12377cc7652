//! The conditions that depend on an object alone: `Accepted` and `ResolvedRefs`. Entry point: [`of`].

use k8s_openapi::jiff::Timestamp;
use portreeve_api::conditions::{self, ConditionType, Reason, Status};
use portreeve_api::kind::Purpose;

use crate::verdict::{Loss, Refs, Verdict};

/// Returns the conditions for a verdict.
pub fn of(verdict: &Verdict) -> Vec<conditions::Verdict> {
    let say = |type_, status, reason, message| conditions::Verdict {
        type_,
        status,
        reason,
        message,
        generation: Some(verdict.generation),
    };
    if let Some(rejection) = &verdict.rejection {
        let kept = if verdict.previous_in_force { "; the previous version stays in force" } else { "" };
        let message = format!("{}{kept}", rejection.message);
        return vec![say(ConditionType::Accepted, Status::False, rejection.reason, message)];
    }
    let reason = verdict.warnings.first().map_or(Reason::Accepted, |(reason, _)| *reason);
    let remarks: Vec<&str> = verdict.warnings.iter().map(|(_, text)| text.as_str()).collect();
    let accepted = say(ConditionType::Accepted, Status::True, reason, remarks.join("; "));
    if !verdict.missing.is_empty() {
        let missing = verdict.missing.join("; ");
        let message = match verdict.key.kind.purpose {
            Purpose::Part => missing,
            Purpose::Listeners | Purpose::Proxy => format!("{missing}: nothing is opened"),
        };
        return vec![accepted, say(ConditionType::ResolvedRefs, Status::False, Reason::RefNotFound, message)];
    }
    let (status, reason, message) = resolved(&verdict.refs, &verdict.losses);
    vec![accepted, say(ConditionType::ResolvedRefs, status, reason, message)]
}

/// Returns status, reason and message of `ResolvedRefs`.
fn resolved(refs: &Refs, losses: &[Loss]) -> (Status, Reason, String) {
    let told = losses.iter().map(told).collect::<Vec<_>>().join("; ");
    let with = |message: String| if told.is_empty() { message } else { format!("{message}; {told}") };
    match refs {
        Refs::Resolved if losses.is_empty() => (Status::True, Reason::ResolvedRefs, String::new()),
        Refs::Resolved => {
            let status = Status::from(!losses.iter().any(|loss| loss.withdrawn));
            (status, Reason::SourceLost, told)
        }
        // Nodes may hold endpoints that this hub doesn't know.
        Refs::Empty(_) | Refs::Nobody(_) if losses.iter().any(is_unknown) => {
            (Status::Unknown, Reason::SourceLost, told)
        }
        Refs::Empty(selection) => {
            let message = with(format!("no pod matches {selection}: its cluster is served empty"));
            (Status::False, Reason::NoEndpoints, message)
        }
        Refs::Nobody(selection) => (
            Status::False,
            Reason::NoEndpoints,
            with(format!("no pod matches {selection}: nobody may connect")),
        ),
        Refs::Elsewhere(selection, pods) => {
            let message = format!(
                "no pod matches {selection}, but {} would: selectors look in their own namespace; \
                 --selector-scope=cluster on the hub makes them look everywhere",
                pods.join(", ")
            );
            (Status::False, Reason::OutsideNamespace, message)
        }
    }
}

/// Whether nodes keep pods of the source that this hub never read.
fn is_unknown(loss: &Loss) -> bool {
    loss.pods.is_none() && !loss.withdrawn
}

/// Describes the loss of a source: which one, since when, why, and what happens to its pods at which time.
fn told(loss: &Loss) -> String {
    let (source, why) = (&loss.source, &loss.why);
    let [since, until] = [loss.since_ms, loss.until_ms].map(time);
    match (loss.pods, loss.withdrawn) {
        (Some(pods), false) => {
            format!("source {source} can't be read since {since} ({why}): {} until {until}", stay(pods))
        }
        (Some(pods), true) => {
            format!("source {source} can't be read since {since} ({why}): {} at {until}", gone(pods))
        }
        (None, false) => format!(
            "source {source} could not be read yet, since {since} ({why}): nodes keep those of its pods that they know until \
             {until}"
        ),
        (None, true) => format!(
            "source {source} could not be read yet, since {since} ({why}): its pods were withdrawn at {until}"
        ),
    }
}

fn stay(pods: usize) -> String {
    if pods == 1 { "its pod stays".to_owned() } else { format!("its {pods} pods stay") }
}

fn gone(pods: usize) -> String {
    if pods == 1 { "its pod was withdrawn".to_owned() } else { format!("its {pods} pods were withdrawn") }
}

/// Formats a time in whole seconds.
fn time(ms: i64) -> String {
    let time = Timestamp::from_second(ms.div_euclid(1000)).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
