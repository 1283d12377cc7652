//! Objects of two kinds that open listeners: they share nothing but the proxies.

use std::any::Any;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::kind::{Api, Kind, Purpose};
use portreeve_api::violation::Violation;

use super::*;
use crate::lookup::{FoundBy, Lookup};
use crate::object::{Object, Rejection, Resolved, Role, Root};
use crate::services::{Names, Services};

/// A kind of another API.
static OTHER: Kind =
    Kind { api: Api::B, name: "Other", namespaced: true, prefix: "B/Other", purpose: Purpose::Listeners };

/// An object of that kind.
#[derive(Clone, Debug)]
struct Other(VirtualService);

impl Object for Other {
    fn kind(&self) -> &'static Kind {
        &OTHER
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }

    fn violations(&self) -> Vec<Violation> {
        self.0.violations()
    }

    fn role(&self) -> Role<'_> {
        Role::Root(self)
    }

    fn found_by(&self) -> Option<Vec<FoundBy>> {
        None
    }

    fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self.clone())
    }

    fn route(&mut self, _services: &Services<'_>, _names: &mut Names) -> Vec<String> {
        Vec::new()
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        self.0.to_value()
    }

    fn boxed(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}

impl Root for Other {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let mut resolved = self.0.resolve(lookup)?;
        let origin = &mut resolved.plan.origin;
        (origin.api, origin.kind) = ("B".into(), "Other".into());
        Ok(resolved)
    }
}

fn other_key(name: &str) -> ObjectRef {
    ObjectRef::namespaced(&OTHER, "ns", name)
}

/// A gateway's pod, and two objects of one name.
fn mk_twins() -> (Index, Fleet) {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_pod("gw", "app=gw", "a"), 0);
    index.apply(&mk_vs("call", "app=gw", &["app=w"]));
    index.apply(&Other(mk_vs("call", "app=gw", &["app=v"])));
    fleet.follow(&mut index);
    (index, fleet)
}

#[test]
fn objects_of_one_name_are_served_side_by_side() {
    let (mut index, mut fleet) = mk_twins();
    assert_eq!(fleet.plans("a"), ["A/ns/call", "B/Other/ns/call"]);
    assert!(index.subject(&key("call")).is_some() && index.subject(&other_key("call")).is_some());
    index.delete(&other_key("call"));
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), ["A/ns/call"]);
    assert!(index.subject(&other_key("call")).is_none());
}

#[test]
fn complete_list_of_a_kind_leaves_the_objects_of_every_other_kind() {
    let (mut index, mut fleet) = mk_twins();
    index.apply_proxy(&mk_proxy("call", "zone=x", "app=gw", json!({"from": "All"})), 0);
    index.keep_objects(&KIND, None, &BTreeSet::new(), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), ["B/Other/ns/call"]);
    index.keep_objects(&portreeve_api::own::node_proxy::KIND, None, &BTreeSet::new(), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), ["B/Other/ns/call"]);
    index.keep_objects(&OTHER, None, &BTreeSet::new(), 0);
    fleet.follow(&mut index);
    assert!(fleet.plans("a").is_empty());
}

#[test]
fn rejected_object_says_nothing_of_its_namesake() {
    let (mut index, mut fleet) = mk_twins();
    index.apply(&Other(mk_bad_vs("call")));
    fleet.follow(&mut index);
    let rejected = |key: &ObjectRef, index: &Index| index.subject(key).unwrap().verdict.rejection.is_some();
    assert!(!rejected(&key("call"), &index) && rejected(&other_key("call"), &index));
    assert_eq!(fleet.plans("a"), ["A/ns/call", "B/Other/ns/call"], "the last accepted version stays");
}
