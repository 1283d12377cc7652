//! Custom resource types, the plan's protobuf, selectors and conditions. No client and no runtime: objects come in
//! through [`door`], are judged by their kind's `validate`, and become plans elsewhere.

pub mod a;
pub mod conditions;
pub mod crds;
pub mod door;
pub mod http_path;
pub mod identifiers;
pub mod kind;
pub mod kinds;
pub mod model;
pub mod names;
pub mod own;
mod percent;
pub mod plan;
pub mod plan_type;
pub mod pod;
pub mod quantity;
mod readiness;
pub mod refs;
pub mod report;
pub mod report_bounds;
mod schema;
pub mod selector;
pub mod violation;

pub use plan_type::PlanType;
pub use violation::Violation;
