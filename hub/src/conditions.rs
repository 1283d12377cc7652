//! The conditions that depend on an object alone: `Accepted` and `ResolvedRefs`. Entry point: [`of`].

use portreeve_api::conditions::{self, ConditionType, Reason, Status};

use crate::verdict::{Refs, Verdict};

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
        let message = format!("{}: nothing is opened", verdict.missing.join("; "));
        return vec![accepted, say(ConditionType::ResolvedRefs, Status::False, Reason::RefNotFound, message)];
    }
    let resolved = match &verdict.refs {
        Refs::Resolved => say(ConditionType::ResolvedRefs, Status::True, Reason::ResolvedRefs, String::new()),
        Refs::Empty(selection) => {
            let message = format!("no pod matches {selection}: its cluster is served empty");
            say(ConditionType::ResolvedRefs, Status::False, Reason::NoEndpoints, message)
        }
        Refs::Nobody(selection) => {
            let message = format!("no pod matches {selection}: nobody may connect");
            say(ConditionType::ResolvedRefs, Status::False, Reason::NoEndpoints, message)
        }
        Refs::Elsewhere(selection, pods) => {
            let message = format!(
                "no pod matches {selection}, but {} would: selectors look in their own namespace; \
                 --selector-scope=cluster on the hub makes them look everywhere",
                pods.join(", ")
            );
            say(ConditionType::ResolvedRefs, Status::False, Reason::OutsideNamespace, message)
        }
    };
    vec![accepted, resolved]
}
