//! This node's status of its Plans and proxies. Pure functions of the agent's state. The agent's `local` keeps [`DueStatuses`] up to
//! date, and its `report_writer` writes the node's report.

mod due_statuses;
pub mod leaving;
pub mod node_report;
mod plan;
mod proxies;
pub mod supervised;

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::report::PlanStatus;
use portreeve_xds::Name;

pub use due_statuses::DueStatuses;
pub use plan::of_plan;
pub use proxies::{Available, Present, of_proxies, trouble};

/// The status of each Plan on this node. A Plan without an entry is gone, and all its proxies have confirmed
/// its removal.
pub type Statuses = BTreeMap<Name, Arc<PlanStatus>>;

/// Maximum number of characters of a rejection or a conflict.
const MAX_TEXT: usize = 600;

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
    text
}
