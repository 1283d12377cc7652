//! Whether an object is applied, which its writer may wait for, and the annotation that says so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::{self, ConditionType, Reason, Status};
use portreeve_api::names::APPLIED_ANNOTATION;

use crate::verdict::Verdict;

/// Returns the generation of an object that every wanted proxy has confirmed. An accepted object that no proxy wants
/// counts as applied, because nobody would ever confirm it. `None` if the newest version is refused, leads to something
/// that doesn't exist, or isn't confirmed yet.
pub(super) fn generation(verdict: &Verdict, conditions: &[conditions::Verdict]) -> Option<i64> {
    if verdict.rejection.is_some() || !verdict.missing.is_empty() {
        return None;
    }
    let Some(programmed) = conditions.iter().find(|one| one.type_ == ConditionType::Programmed) else {
        return Some(verdict.generation);
    };
    let settled = programmed.status == Status::True || programmed.reason == Reason::NoProxy;
    Some(verdict.generation).filter(|newest| settled && programmed.generation == Some(*newest))
}

/// Returns the generation in an object's annotation. `None` if there is none, or another text.
pub fn annotated(meta: &ObjectMeta) -> Option<i64> {
    meta.annotations.as_ref()?.get(APPLIED_ANNOTATION)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use portreeve_api::b::rule::KIND;
    use portreeve_api::refs::ObjectRef;

    use super::*;
    use crate::object::Rejection;

    const NEWEST: i64 = 3;

    fn mk_verdict() -> Verdict {
        let meta = ObjectMeta { generation: Some(NEWEST), ..ObjectMeta::default() };
        Verdict::new(&ObjectRef::namespaced(&KIND, "ns", "call"), &meta)
    }

    fn mk_programmed(reason: Reason, generation: i64) -> Vec<conditions::Verdict> {
        vec![conditions::Verdict {
            type_: ConditionType::Programmed,
            status: Status::from(reason == Reason::Programmed),
            reason,
            message: String::new(),
            generation: Some(generation),
        }]
    }

    #[test]
    fn object_is_applied_when_every_wanted_proxy_confirmed_its_newest_version_or_none_is_wanted() {
        for (reason, generation, applied) in [
            (Reason::Programmed, NEWEST, true),
            (Reason::NoProxy, NEWEST, true),
            (Reason::Programmed, NEWEST - 1, false),
            (Reason::NoProxy, NEWEST - 1, false),
            (Reason::Pending, NEWEST, false),
            (Reason::Unreachable, NEWEST, false),
            (Reason::Nacked, NEWEST, false),
            (Reason::PortConflict, NEWEST, false),
        ] {
            let found = super::generation(&mk_verdict(), &mk_programmed(reason, generation));
            assert_eq!(found, applied.then_some(NEWEST), "{reason:?} of {generation}");
        }
        assert_eq!(super::generation(&mk_verdict(), &[]), Some(NEWEST), "a part of other objects");
    }

    #[test]
    fn refused_object_and_one_that_leads_nowhere_are_not_applied() {
        let rejection = Some(Rejection::invalid("no".into()));
        let refused = Verdict { rejection, ..mk_verdict() };
        let lost = Verdict { missing: vec!["route gone".into()], ..mk_verdict() };
        for verdict in [refused, lost] {
            assert_eq!(super::generation(&verdict, &[]), None);
            assert_eq!(super::generation(&verdict, &mk_programmed(Reason::Programmed, NEWEST)), None);
        }
    }

    #[test]
    fn annotation_is_a_generation_or_counts_as_missing() {
        for (text, expected) in [(Some("7"), Some(7)), (Some("yes"), None), (None, None)] {
            let annotations = text.map(|text| [(APPLIED_ANNOTATION.to_owned(), text.to_owned())].into());
            assert_eq!(annotated(&ObjectMeta { annotations, ..ObjectMeta::default() }), expected, "{text:?}");
        }
    }
}
