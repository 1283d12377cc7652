//! The kinds of objects that people write ([`Kind`]), and the APIs that they belong to ([`Api`]).

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::ApiResource;

/// An API whose objects are accepted. Letters as in the specifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// `servicemesh.l7mp.io/v1`, the operator's VirtualServices.
    A,
    /// `l7mp.io/v1`, the mesh of l7mp proxies.
    B,
    /// EPIC's gateways and load balancers.
    C,
    /// Listeners by node name.
    D,
    /// The Gateway API.
    E,
    /// `portreeve.dev`, the product's own kinds.
    Own,
}

/// A kind of object. Each API's module declares its kinds as constants, and [`crate::kinds::ALL`] lists them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Its API.
    pub api: Api,
    /// Its name in manifests, as `VirtualService`.
    pub name: &'static str,
    /// Its objects are in namespaces.
    pub namespaced: bool,
    /// What stands for API and kind in the text form of a reference, with slashes between: `A`, `B/Target`, `nodeproxy`. No
    /// prefix is the beginning of another one's parts with a namespace after it: where an API has several kinds, each
    /// prefix has the kind's name, whose first letter is a capital as no namespace's is.
    pub prefix: &'static str,
    /// What its objects are for.
    pub purpose: Purpose,
}

/// What the objects of a kind are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// They open listeners: each becomes a Plan.
    Listeners,
    /// They are proxies.
    Proxy,
    /// Objects that open listeners refer to them.
    Part,
}

/// A kind and how an API server knows it.
#[derive(Debug)]
pub struct Definition {
    /// The kind.
    pub kind: &'static Kind,
    /// Its group, version and plural.
    pub resource: fn() -> ApiResource,
    /// Its definition as generated from its type.
    pub crd: fn() -> CustomResourceDefinition,
}

// === impl Api ===

impl Api {
    /// Every API, in the order of its letter.
    pub const ALL: [Api; 6] = [Api::A, Api::B, Api::C, Api::D, Api::E, Api::Own];

    /// Its letter in qualified names; `own` for the product's own kinds.
    pub fn letter(self) -> &'static str {
        match self {
            Api::A => "A",
            Api::B => "B",
            Api::C => "C",
            Api::D => "D",
            Api::E => "E",
            Api::Own => "own",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}
