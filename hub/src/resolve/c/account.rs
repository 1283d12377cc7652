//! Account: a customer. Its namespace has the customer's groups, load balancers and endpoints.

use portreeve_api::c::account::{Account, DEFINITION, KIND};
use portreeve_api::c::names::{EPIC, account_of_namespace};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;
use portreeve_xds::Name;
use serde_json::Value;

use crate::lookup::{FoundBy, Lookup};
use crate::object::{Custom, Object as _, Read, Role};
use crate::row::Row;

/// The field that all Accounts have, with an empty value: by it, all of them are found.
pub const EVERY: &str = "every";

/// How the hub treats Accounts.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "ca",
    label: "epic-account",
    plural: "accounts",
    watch: "watch of accounts",
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
    let (object, warnings) = Account::parse(value)?;
    Ok((object.boxed(), warnings))
}

impl Custom for Account {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(vec![(EVERY, Name::default())])
    }
}

/// Returns the Account that a namespace belongs to: the one in the namespace, or else the one in `epic` (seed C.6).
pub fn of_namespace<'a>(lookup: &mut Lookup<'a>, namespace: &str) -> Option<(ObjectRef, &'a Account)> {
    let name = account_of_namespace(namespace)?;
    [namespace, EPIC].into_iter().find_map(|at| {
        let key = ObjectRef::namespaced(&KIND, at, name);
        let found = lookup.object(&key)?;
        Some((key, found))
    })
}
