//! The kinds of objects that users write ([`Kind`]), and the APIs that define them ([`Api`]).

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::ApiResource;

/// An API whose objects are accepted. The letters are those of the specifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// `servicemesh.l7mp.io/v1`, the API of the l7mp operator.
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
    /// The API that defines the kind.
    pub api: Api,
    /// The kind's name in manifests, for example `NodeProxy`.
    pub name: &'static str,
    /// Whether its objects have a namespace.
    pub namespaced: bool,
    /// The text that stands for API and kind at the beginning of a reference, with slashes between its parts: `A`,
    /// `B/Target`, `nodeproxy`. No prefix followed by a namespace can be read as another prefix: if an API has several
    /// kinds, each prefix includes the kind's name, which begins with a capital letter, and namespaces have none.
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

/// A kind with its definition in the API server.
#[derive(Debug)]
pub struct Definition {
    /// The kind.
    pub kind: &'static Kind,
    /// The kind's group, version and plural.
    pub resource: fn() -> ApiResource,
    /// The kind's CRD, generated from its Rust type.
    pub crd: fn() -> CustomResourceDefinition,
}

// === impl Api ===

impl Api {
    /// Every API, ordered by letter.
    pub const ALL: [Api; 6] = [Api::A, Api::B, Api::C, Api::D, Api::E, Api::Own];

    /// The API's letter in qualified names; `own` for the product's own kinds.
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
