//! A span for an OpenTelemetry collector ([`Span`]). Its ids are hashes of its object, its step and its place, so that two
//! processes give the same span the same id without exchanging it.

use std::time::SystemTime;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The name of a trace's root span: one whole change.
pub const CHANGE: &str = "change";

/// The trace of one change, 16 bytes as in OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// One span of a trace, 8 bytes as in OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// One timed step of a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that the span belongs to.
    pub trace: TraceId,
    /// The span's own id.
    pub id: SpanId,
    /// The span that this one is a part of; `None` for the root span.
    pub parent: Option<SpanId>,
    /// The step, such as `apply`.
    pub name: &'static str,
    /// Start of the step.
    pub begun: SystemTime,
    /// End of the step.
    pub ended: SystemTime,
    /// Further attributes, key and value.
    pub attributes: Vec<(&'static str, String)>,
    /// Why the step failed; `None` if it succeeded.
    pub failure: Option<String>,
}

/// A step of a change: what is done, where and when.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The step's name, such as `apply`.
    pub name: &'static str,
    /// A hub, a node or a proxy; empty for a step that happens once per trace, see [`SpanId::of`].
    pub place: &'a str,
    /// Start of the step.
    pub begun: SystemTime,
    /// End of the step.
    pub ended: SystemTime,
}

// === impl TraceId ===

impl TraceId {
    /// The trace of the change that gave the object with this uid the Plan with this content hash.
    ///
    /// An edit that does not change the Plan starts no trace. An edit that restores an earlier Plan continues the trace of
    /// that Plan.
    pub fn of(uid: &str, plan: u64) -> Self {
        Self(xxh3_128(format!("{uid} {plan:016x}").as_bytes()).to_be_bytes())
    }

    /// The id of the root span. The leading hub sends that span.
    pub fn whole(self) -> SpanId {
        SpanId::of(self, CHANGE, "")
    }
}

// === impl SpanId ===

impl SpanId {
    /// The id of the step `name` at `place`: a hub, a node or a proxy. `place` is empty for a step that happens once per
    /// trace.
    pub fn of(trace: TraceId, name: &str, place: &str) -> Self {
        let text = format!("{:032x} {name} {place}", u128::from_be_bytes(trace.0));
        Self(xxh3_64(text.as_bytes()).to_be_bytes())
    }
}

// === impl Span ===

impl Span {
    /// Builds the span of a successful step in `trace` and below `parent` (`None` for the root span).
    pub fn new(trace: TraceId, parent: Option<SpanId>, step: Step<'_>) -> Self {
        let Step { name, place, begun, ended } = step;
        let id = SpanId::of(trace, name, place);
        Self { trace, id, parent, name, begun, ended, attributes: Vec::new(), failure: None }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_object_plan_step_and_place() {
        let one = TraceId::of("a", 1);
        assert_eq!(one, TraceId::of("a", 1));
        assert!(one != TraceId::of("a", 2) && one != TraceId::of("b", 1) && one.0 != [0; 16]);
        let step = SpanId::of(one, "apply", "n1");
        assert_eq!(step, SpanId::of(one, "apply", "n1"));
        let others = [(TraceId::of("a", 2), "apply", "n1"), (one, "send", "n1"), (one, "apply", "n2")];
        assert!(others.into_iter().all(|(trace, name, place)| SpanId::of(trace, name, place) != step));
    }
}
