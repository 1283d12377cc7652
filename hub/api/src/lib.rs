//! Custom resource types, the protobuf messages of Plans and reports, label selectors and conditions. The crate
//! contains no Kubernetes client and no async runtime. Objects are parsed by [`door`] and checked by their kind's
//! `validate`; other crates turn them into Plans.

pub mod a;
pub mod b;
pub mod c;
pub mod conditions;
pub mod crds;
pub mod d;
pub mod door;
pub mod http_path;
pub mod identifiers;
pub mod keeper_state;
pub mod kind;
pub mod kinds;
pub mod model;
pub mod names;
mod object_field;
pub mod own;
mod percent;
pub mod plan;
pub mod plan_type;
pub mod pod;
pub mod pod_document;
pub mod proxy_names;
pub mod quantity;
mod readiness;
pub mod refs;
pub mod report;
pub mod report_bounds;
mod schema;
pub mod selector;
pub mod slim_meta;
pub mod tunnel_peer;
pub mod violation;

pub use plan_type::PlanType;
pub use violation::Violation;
