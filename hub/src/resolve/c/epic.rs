//! EPIC: the counters of group and tunnel ids, and the gateways' end of tunnels.

use portreeve_api::c::epic::{DEFINITION, Epic, KIND};
use portreeve_api::kind::Kind;
use portreeve_api::violation::Violation;
use serde_json::Value;

use crate::lookup::FoundBy;
use crate::object::{Custom, Object as _, Read, Role};
use crate::row::Row;

/// How the hub treats EPICs.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "ce",
    label: "epic",
    plural: "epics",
    watch: "watch of epics",
    resource: DEFINITION.resource,
    read,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: true,
};

/// Parses an object, which may lack its spec.
fn read(value: Value) -> Read {
    let (object, warnings) = Epic::parse(value)?;
    Ok((object.boxed(), warnings))
}

impl Custom for Epic {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(Vec::new())
    }
}
