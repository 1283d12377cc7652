//! Rule → Plan: a rule for a rule list in the proxies' own configuration.

use portreeve_api::b::rule::{DEFINITION, KIND, Rule};
use portreeve_api::kind::Kind;
use portreeve_api::model::RuleList;
use portreeve_api::pod;
use portreeve_api::violation::Violation;

use super::Resolving;
use crate::lookup::Lookup;
use crate::object::{self, Custom, Rejection, Resolved, Role, Root};
use crate::row::Row;

/// How the hub treats Rules.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "bu",
    label: "rule",
    plural: "rules",
    watch: "watch of rules",
    resource: DEFINITION.resource,
    read: object::read::<Rule>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &pod::FIELDS,
    services: true,
    announces: true,
    interface: false,
    allocates: false,
};

impl Custom for Rule {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn strange(&self) -> Vec<String> {
        Self::unknown_fields(self)
    }

    fn what_for(&self) -> Role<'_> {
        Role::Root(self)
    }

    fn update_owners(&self) -> bool {
        self.spec.update_owners.unwrap_or_default()
    }
}

impl Root for Rule {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let form = self.form().map_err(|broken| Rejection::of_violations(&broken))?;
        let mut resolving = Resolving::new(&KIND, &self.metadata, lookup)?;
        resolving.warn_of_unknown(Self::unknown_fields(self));
        let namespace = resolving.origin.namespace.clone();
        let workload = resolving.pods(&form.filter, &namespace, "spec.selector");
        let rule = resolving.rule(&form.rule, None, (0, "spec.rule"))?;
        let list = RuleList { list: form.list, position: form.position, rule: Some(rule) };
        Ok(resolving.finish(workload, Vec::new(), vec![list]))
    }
}
