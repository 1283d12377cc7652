//! What the hub asks of a custom resource, whatever its kind ([`Object`]), and what becomes of one that opens listeners
//! ([`Root`], [`Resolved`]). The kinds are listed in [`crate::kinds`].

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use portreeve_api::conditions::Reason;
use portreeve_api::door::{self, ParseError};
use portreeve_api::kind::Kind;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;
use portreeve_api::{plan, selector};
use portreeve_xds::Name;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::services::{Names, Services};

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
}

/// An object that opens listeners: it becomes a Plan.
pub trait Root: Object {
    /// Makes its Plan; the answer depends on nothing else.
    ///
    /// # Errors
    /// A [`Rejection`] that names the field at fault.
    fn resolve(&self, scope: SelectorScope) -> Result<Resolved, Rejection>;
}

/// An object that was read, with a warning for each unknown field.
pub type Read = Result<(Box<dyn Object>, Vec<String>), ParseError>;

/// Where the selectors of namespaced objects look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SelectorScope {
    /// In the object's own namespace.
    #[default]
    Namespace,
    /// In every namespace, as the replaced control planes did.
    Cluster,
}

/// A set of pods by selector, shared by all who ask for the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Canonical and unique: `<namespace or *>/<selector>`; also the name of the Group.
    pub name: Name,
    /// The namespace that is looked in; `None`: all.
    pub namespace: Option<Name>,
    /// The requirements.
    pub selector: plan::Selector,
}

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

// === impl Selection ===

impl Selection {
    /// The pods with all of these labels, in `namespace` or everywhere.
    pub fn of_labels(labels: &BTreeMap<String, String>, namespace: &str, scope: SelectorScope) -> Self {
        let namespace = match scope {
            SelectorScope::Namespace => Some(Name::from(namespace)),
            SelectorScope::Cluster => None,
        };
        let selector = selector::from_map(labels);
        let name = format!("{}/{}", namespace.as_deref().unwrap_or("*"), selector.canonical()).into();
        Self { name, namespace, selector }
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
