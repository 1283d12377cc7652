//! Custom resource types, the plan's protobuf, selectors and conditions. No client and no runtime: objects come in
//! through [`door`], are judged by their kind's `validate`, and become plans elsewhere.

pub mod conditions;
pub mod crds;
pub mod door;
pub mod http_path;
pub mod identifiers;
pub mod names;
pub mod node_proxy;
pub mod node_report;
mod percent;
pub mod plan;
pub mod plan_type;
pub mod pod;
pub mod quantity;
mod readiness;
pub mod report;
pub mod report_bounds;
pub mod selector;
pub mod violation;
pub mod virtual_service;

pub use plan_type::PlanType;
pub use violation::Violation;
