//! Custom resources and the plan.
