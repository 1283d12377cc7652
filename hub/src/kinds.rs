//! The registry of kinds. The hub handles each kind of custom resource only by its row here.

use portreeve_api::kind::Kind;
use portreeve_api::pod::Interest;

use crate::resolve;
use crate::row::Row;
use crate::settings::Settings;

/// Every kind, in the order of watermarks.
pub const ALL: [&Row; 16] = [
    &resolve::a::ROW,
    &resolve::own::ROW,
    &resolve::d::ingress::ROW,
    &resolve::d::egress::ROW,
    &resolve::b::virtual_service::ROW,
    &resolve::b::target::ROW,
    &resolve::b::route::ROW,
    &resolve::b::rule::ROW,
    &resolve::c::epic::ROW,
    &resolve::c::account::ROW,
    &resolve::c::group::ROW,
    &resolve::c::group::LB_ROW,
    &resolve::c::load_balancer::ROW,
    &resolve::c::endpoint::DOCUMENT_ROW,
    &resolve::c::endpoint::ROW,
    &resolve::c::prefix::ROW,
];

/// Returns a kind's row. `None` would be a bug: every kind has one.
pub fn row(kind: &Kind) -> Option<&'static Row> {
    ALL.into_iter().find(|row| row.kind == kind)
}

/// Returns the annotations and fields by which objects of all kinds select pods, in addition to labels.
pub fn interest(settings: &Settings) -> Interest {
    let fields = ALL.into_iter().flat_map(|row| row.fields).map(|field| (*field).to_owned());
    let annotations = ALL.into_iter().flat_map(|row| (row.annotations)(settings));
    Interest { annotations: annotations.collect(), fields: fields.collect() }
}

/// Returns whether objects of some kind use Services, so that the hub must watch these and their EndpointSlices.
pub fn use_services() -> bool {
    ALL.into_iter().any(|row| row.services)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_of_the_api_has_one_row_and_no_two_rows_a_name() {
        let kinds: Vec<&Kind> = portreeve_api::kinds::ALL.iter().map(|row| row.kind).collect();
        assert_eq!(ALL.map(|row| row.kind).to_vec(), kinds);
        for name in [|row: &Row| row.letters, |row: &Row| row.label, |row: &Row| row.kind.prefix] {
            assert_eq!(ALL.map(name).into_iter().collect::<BTreeSet<_>>().len(), ALL.len());
        }
        for row in ALL {
            let definition = portreeve_api::kinds::ALL.iter().find(|of| of.kind == row.kind).unwrap();
            let (definition, resource) = ((definition.crd)().spec, (row.resource)());
            assert_eq!((definition.group, definition.names.kind), (resource.group, resource.kind));
            assert_eq!(definition.names.plural, resource.plural);
            assert_eq!(definition.scope == "Namespaced", row.kind.namespaced);
        }
    }
}
