//! The interface that leads to the pod of a load balancer's proxy (C12).

use serde_json::Value;

use super::Fields;
use super::plan_report::PlanReport;
use crate::subject::Served;

/// Returns `proxy-ifindex` and `proxy-ifname` as the nodes report them; without values if no proxy has such an interface. Empty
/// while it isn't known: then the fields stay.
pub fn interface(served: &Served, reports: &[PlanReport]) -> Fields {
    let fields = |index: Value, name: Value| Fields::from([("proxy-ifindex", index), ("proxy-ifname", name)]);
    let current = |report: &&PlanReport| report.status.version == served.version;
    let mut known = reports.iter().filter(current).filter_map(|report| report.status.interface.as_ref());
    if let Some(interface) = known.next() {
        return fields(interface.index.into(), interface.name.clone().into());
    }
    let has_none = |report: &PlanReport| report.status.wanted == 0 || report.status.acked > 0;
    match reports.iter().all(|report| current(&report) && has_none(report)) {
        true => fields(Value::Null, Value::Null),
        false => Fields::new(),
    }
}
