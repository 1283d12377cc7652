//! What the hub asks of a custom resource, whatever its kind ([`Object`]), and what becomes of one that opens listeners
//! ([`Root`], [`Resolved`]). The kinds are listed in [`crate::kinds`].

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use portreeve_api::conditions::Reason;
use portreeve_api::door::{self, ParseError};
use portreeve_api::kind::Kind;
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

/// Metadata that changes when nothing did that concerns others.
const NOT_ESSENTIAL: [&str; 3] = ["resourceVersion", "managedFields", "generation"];

/// A custom resource that was read.
pub trait Object: Debug + Send + Sync {
    /// Its kind.
    fn kind(&self) -> &'static Kind;

    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;

    /// Its metadata, for the source that completes what a manifest leaves out.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// The rules that it breaks, of those that hold for new objects. Stored objects may be older than a rule.
    fn violations(&self) -> Vec<Violation>;

    /// What it is for.
    fn role(&self) -> Role<'_>;

    /// The fields and their values by which others find it. `None`: nobody asks for objects of its kind.
    fn found_by(&self) -> Option<Vec<FoundBy>>;

    /// A copy of its kind's type, for those who ask for it.
    fn shared(&self) -> Arc<dyn Any + Send + Sync>;

    /// Leads endpoints that name a Service to the ports of its pods, where no kube-proxy does. Names that this makes up are
    /// added to `names`. Returns what leads nowhere, each with its field.
    fn route(&mut self, services: &Services<'_>, names: &mut Names) -> Vec<String>;

    /// The object as JSON.
    ///
    /// # Errors
    /// It can't be written as JSON, which would be a defect of its type.
    fn to_value(&self) -> serde_json::Result<Value>;

    /// A copy.
    fn boxed(&self) -> Box<dyn Object>;

    /// Which object it is.
    fn reference(&self) -> ObjectRef {
        ObjectRef::of(self.kind(), self.meta())
    }

    /// A hash of all but its status and what an API server keeps for itself: what others may make of it follows from that.
    /// `None`: it can't be written as JSON, and counts as changed.
    fn essence(&self) -> Option<Version> {
        let mut value = self.to_value().ok()?;
        let object = value.as_object_mut()?;
        object.remove("status");
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            NOT_ESSENTIAL.iter().for_each(|field| drop(meta.remove(*field)));
        }
        Some(Version::of(value.to_string().as_bytes()))
    }
}

/// What the type of a kind's objects says of them; the rest of [`Object`] is the same for all types.
pub trait Custom:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// The kind.
    const KIND: &'static Kind;

    /// See [`Object::violations`].
    fn rules(&self) -> Vec<Violation>;

    /// See [`Object::role`].
    fn what_for(&self) -> Role<'_>;

    /// See [`Object::found_by`].
    fn fields(&self) -> Option<Vec<FoundBy>> {
        None
    }

    /// See [`Object::route`].
    fn lead(&mut self, _services: &Services<'_>, _names: &mut Names) -> Vec<String> {
        Vec::new()
    }
}

/// What an object is for.
pub enum Role<'a> {
    /// It opens listeners.
    Root(&'a dyn Root),
    /// It is a proxy of the product's own.
    Proxy(&'a NodeProxy),
    /// Objects that open listeners look it up.
    Part,
    /// It is an endpoint of the groups of these objects.
    Endpoint(Vec<ObjectRef>, plan::Endpoint),
}

/// An object that opens listeners: it becomes a Plan.
pub trait Root: Object {
    /// Makes its Plan, which depends on the object and on the answers to what it asks, and on nothing else.
    ///
    /// # Errors
    /// A [`Rejection`] that names the field at fault.
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection>;
}

/// An object that was read, with a warning for each unknown field.
pub type Read = Result<(Box<dyn Object>, Vec<String>), ParseError>;

/// What became of an acceptable object.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The Plan.
    pub plan: plan::Plan,
    /// The proxies that it is for.
    pub workload: Selection,
    /// The groups that its clusters name.
    pub groups: Vec<Selection>,
    /// What a person should know though it works, with the reason's name.
    pub warnings: Vec<(Reason, String)>,
}

/// Why an object was not accepted, in words a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", reason.as_str())]
pub struct Rejection {
    /// Machine-readable.
    pub reason: Reason,
    /// Which field, what is wrong, what to do.
    pub message: String,
}

/// Reads an object.
///
/// # Errors
/// The field at fault; see [`door::parse`].
pub fn read<K: Custom>(value: Value) -> Read {
    door::parse::<K>(value).map(|(object, warnings)| (object.boxed(), warnings))
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

    fn role(&self) -> Role<'_> {
        self.what_for()
    }

    fn found_by(&self) -> Option<Vec<FoundBy>> {
        self.fields()
    }

    fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self.clone())
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
    /// An object that breaks rules.
    pub fn of_violations(violations: &[Violation]) -> Self {
        let lines: Vec<_> = violations.iter().map(|v| format!("{}: {}", v.path, v.message)).collect();
        Self { reason: Reason::Invalid, message: lines.join("; ") }
    }
}
