//! The interface of custom resources of every kind ([`Object`]), and the results for those that open listeners
//! ([`Root`], [`Resolved`]). The kinds are listed in [`crate::kinds`].

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use portreeve_api::conditions::{self, Reason};
use portreeve_api::door::{self, ParseError};
use portreeve_api::kind::Kind;
use portreeve_api::model::Plan;
use portreeve_api::names::APPLIED_ANNOTATION;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_api::plan;
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;
use portreeve_xds::Version;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::lookup::{FoundBy, Lookup};
use crate::selection::Selection;
use crate::services::{Names, Services};

/// Metadata fields whose changes don't affect other objects.
const NOT_ESSENTIAL: [&str; 3] = ["resourceVersion", "managedFields", "generation"];

/// A parsed custom resource.
pub trait Object: Debug + Send + Sync {
    /// Returns the object's kind.
    fn kind(&self) -> &'static Kind;

    /// Returns the object's metadata.
    fn meta(&self) -> &ObjectMeta;

    /// Returns the metadata for a source that completes fields which a manifest omits.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// Returns the broken rules for new objects. A stored object may be older than a rule.
    fn violations(&self) -> Vec<Violation>;

    /// Returns a warning for each unknown field that the kind's schema leaves open, so that neither the API server nor the
    /// parser sees it.
    fn unknown_fields(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the object's role.
    fn role(&self) -> Role<'_>;

    /// Returns the fields and values by which other objects look this one up. `None` if no kind looks up objects of
    /// this kind.
    fn found_by(&self) -> Option<Vec<FoundBy>>;

    /// Returns a copy with its concrete type, for objects that look it up.
    fn shared(&self) -> Arc<dyn Any + Send + Sync>;

    /// Returns whether the object's owners are told when it is applied.
    fn tells_owners(&self) -> bool {
        false
    }

    /// Returns the part of the status that the object's Plan depends on. Most depend on none.
    fn essential_status(&self) -> Value {
        Value::Null
    }

    /// Replaces endpoints that name a Service with the ports of its pods, where no kube-proxy does. New host names are
    /// added to `names`. Returns the endpoints that lead to no pod, each with its field.
    fn route(&mut self, services: &Services<'_>, names: &mut Names) -> Vec<String>;

    /// Returns the object as JSON.
    ///
    /// # Errors
    /// Returns an error if it can't be written as JSON, which would be a bug of its type.
    fn to_value(&self) -> serde_json::Result<Value>;

    /// Returns a copy.
    fn boxed(&self) -> Box<dyn Object>;

    /// Returns the reference to the object.
    fn reference(&self) -> ObjectRef {
        ObjectRef::of(self.kind(), self.meta())
    }

    /// Returns a hash of everything that other objects may depend on: all fields except the status, the API server's own
    /// and the hub's annotation. `None` if the object can't be written as JSON; then it counts as changed.
    fn essence(&self) -> Option<Version> {
        let mut value = self.to_value().ok()?;
        let object = value.as_object_mut()?;
        object.remove("status");
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            NOT_ESSENTIAL.iter().for_each(|field| drop(meta.remove(*field)));
            let annotations = meta.get_mut("annotations").and_then(Value::as_object_mut);
            if annotations.is_some_and(|all| all.remove(APPLIED_ANNOTATION).is_some() && all.is_empty()) {
                meta.remove("annotations");
            }
        }
        Some(Version::of(value.to_string().as_bytes()))
    }
}

/// The part of [`Object`] that each kind's type implements; the rest is the same for all types.
pub trait Custom:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// The kind.
    const KIND: &'static Kind;

    /// See [`Object::violations`].
    fn rules(&self) -> Vec<Violation>;

    /// See [`Object::role`].
    fn what_for(&self) -> Role<'_>;

    /// See [`Object::unknown_fields`].
    fn strange(&self) -> Vec<String> {
        Vec::new()
    }

    /// See [`Object::found_by`].
    fn fields(&self) -> Option<Vec<FoundBy>> {
        None
    }

    /// See [`Object::tells_owners`].
    fn update_owners(&self) -> bool {
        false
    }

    /// See [`Object::essential_status`].
    fn status_of_plan(&self) -> Value {
        Value::Null
    }

    /// See [`Object::route`].
    fn lead(&mut self, _services: &Services<'_>, _names: &mut Names) -> Vec<String> {
        Vec::new()
    }
}

/// The role of an object.
pub enum Role<'a> {
    /// It opens listeners.
    Root(&'a dyn Root),
    /// It is a NodeProxy.
    Proxy(&'a NodeProxy),
    /// Objects that open listeners look it up.
    Part,
    /// It is an endpoint of the groups of these objects.
    Endpoint(Vec<ObjectRef>, plan::Endpoint),
}

/// An object that opens listeners: it becomes a Plan.
pub trait Root: Object {
    /// Creates its Plan, which depends only on the object and on the answers to its questions.
    ///
    /// # Errors
    /// Returns a [`Rejection`] that names the field at fault.
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection>;
}

/// A parsed object, with a warning for each unknown field.
pub type Read = Result<(Box<dyn Object>, Vec<String>), ParseError>;

/// The result for an accepted object.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The Plan.
    pub plan: Plan,
    /// The proxies that the Plan is for.
    pub workload: Selection,
    /// The groups that its clusters use.
    pub groups: Vec<Selection>,
    /// Warnings, each with its reason.
    pub warnings: Vec<(Reason, String)>,
    /// References that lead to nothing, each with the problem. If there are any, the Plan is not served, nor is an earlier
    /// version: what it would open stays closed.
    pub missing: Vec<String>,
    /// Contributions to the statuses of the objects that were used.
    pub told: Vec<Told>,
}

/// What one object contributes to the status of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The object whose status receives the contribution.
    pub about: ObjectRef,
    /// The conditions to set in that status.
    pub part: Vec<conditions::Verdict>,
}

/// The reason why an object was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", reason.as_str())]
pub struct Rejection {
    /// The reason, for programs.
    pub reason: Reason,
    /// The field, the problem and the remedy.
    pub message: String,
}

/// Parses an object.
///
/// # Errors
/// Returns an error that names the field at fault, see [`door::parse`].
pub fn read<K: Custom>(value: Value) -> Read {
    let (object, mut warnings) = door::parse::<K>(value)?;
    warnings.extend(object.strange());
    Ok((object.boxed(), warnings))
}

impl<K: Custom> Object for K {
    fn kind(&self) -> &'static Kind {
        K::KIND
    }

    fn meta(&self) -> &ObjectMeta {
        Resource::meta(self)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        Resource::meta_mut(self)
    }

    fn violations(&self) -> Vec<Violation> {
        self.rules()
    }

    fn unknown_fields(&self) -> Vec<String> {
        self.strange()
    }

    fn role(&self) -> Role<'_> {
        self.what_for()
    }

    fn found_by(&self) -> Option<Vec<FoundBy>> {
        self.fields()
    }

    fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self.clone())
    }

    fn tells_owners(&self) -> bool {
        self.update_owners()
    }

    fn essential_status(&self) -> Value {
        self.status_of_plan()
    }

    fn route(&mut self, services: &Services<'_>, names: &mut Names) -> Vec<String> {
        self.lead(services, names)
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    fn boxed(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}

// === impl Rejection ===

impl Rejection {
    /// Creates the rejection of an invalid object.
    pub fn invalid(message: String) -> Self {
        Self { reason: Reason::Invalid, message }
    }

    /// Creates the rejection of an object that breaks rules.
    pub fn of_violations(violations: &[Violation]) -> Self {
        let lines: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.path, v.message)).collect();
        Self { reason: Reason::Invalid, message: lines.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::b::rule::Rule;
    use serde_json::json;

    use super::*;

    fn mk_rule(annotations: Value) -> Rule {
        Rule::parse(json!({
            "apiVersion": "l7mp.io/v1", "kind": "Rule", "metadata": {"name": "r", "annotations": annotations}, "spec": {},
        }))
        .unwrap()
        .0
    }

    #[test]
    fn annotation_of_the_hub_is_nothing_that_other_objects_depend_on() {
        let plain = mk_rule(Value::Null).essence();
        assert!(plain.is_some());
        for (annotations, same) in [
            (json!({APPLIED_ANNOTATION: "1"}), true),
            (json!({"other": "1"}), false),
            (json!({APPLIED_ANNOTATION: "1", "other": "1"}), false),
        ] {
            assert_eq!(mk_rule(annotations.clone()).essence() == plain, same, "{annotations}");
        }
        let other = mk_rule(json!({"other": "1"})).essence();
        assert_eq!(mk_rule(json!({APPLIED_ANNOTATION: "1", "other": "1"})).essence(), other);
    }
}
