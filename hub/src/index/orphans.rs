//! Objects of which this hub knows no servable version ([`Orphans`]), because it was started after an invalid version was
//! stored. Nodes that run an earlier version keep it.

use std::collections::BTreeSet;

use portreeve_api::PlanType;
use portreeve_xds::Withheld;

use super::matches::Name;

/// The names of the resources that can't be served.
#[derive(Default)]
pub struct Orphans {
    names: BTreeSet<(PlanType, Name)>,
    changed: bool,
}

// === impl Orphans ===

impl Orphans {
    /// Records whether a resource is an orphan: present, but without a servable version.
    pub fn set(&mut self, ty: PlanType, name: Name, orphaned: bool) {
        self.changed |= match orphaned {
            true => self.names.insert((ty, name)),
            false => self.names.remove(&(ty, name)),
        };
    }

    /// The resources that nodes keep if they have them: the orphans' names, and the types that orphans may refer to.
    pub fn withheld(&self) -> Withheld<PlanType> {
        let mut withheld = Withheld { names: self.names.clone(), ..Withheld::default() };
        if !self.names.is_empty() {
            withheld.types.extend([PlanType::Secret, PlanType::Slice, PlanType::Group, PlanType::Probe]);
        }
        // The Plans of the NodeProxy's nodes are not known either.
        if self.names.iter().any(|(ty, _)| *ty == PlanType::NodeProxy) {
            withheld.types.insert(PlanType::Plan);
        }
        withheld
    }

    /// The withheld resources, if they changed since the last call.
    pub fn take(&mut self) -> Option<Withheld<PlanType>> {
        std::mem::take(&mut self.changed).then(|| self.withheld())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_withheld_with_what_they_may_refer_to_and_told_once() {
        let mut orphans = Orphans::default();
        orphans.set(PlanType::Plan, "A/ns/o".into(), false);
        assert_eq!((orphans.take(), orphans.withheld()), (None, Withheld::default()));
        orphans.set(PlanType::Plan, "A/ns/o".into(), true);
        orphans.set(PlanType::Plan, "A/ns/o".into(), true);
        let withheld = orphans.take().unwrap();
        assert!(withheld.names.contains(&(PlanType::Plan, "A/ns/o".into())));
        assert!(withheld.types.contains(&PlanType::Group) && !withheld.types.contains(&PlanType::Plan));
        assert_eq!(orphans.take(), None);
        orphans.set(PlanType::NodeProxy, "gw".into(), true);
        assert!(orphans.take().unwrap().types.contains(&PlanType::Plan));
        orphans.set(PlanType::NodeProxy, "gw".into(), false);
        orphans.set(PlanType::Plan, "A/ns/o".into(), false);
        assert_eq!(orphans.take(), Some(Withheld::default()));
    }
}
