//! What this node has to say about its Plans and proxies. Pure: state in, words out. [`crate::local`] keeps [`Book`] up
//! to date, and `report_writer` writes the node's report.

mod book;
pub mod leaving;
pub mod node_report;
mod plan;
mod proxies;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::report::PlanStatus;
use portreeve_xds::Name;

pub use book::Book;
pub use plan::of_plan;
pub use proxies::{Present, of_proxies, trouble};

/// How far each Plan is on this node. A Plan that is missing has nothing more to be said about: all its proxies
/// confirmed that they are rid of it.
pub type Statuses = BTreeMap<Name, Arc<PlanStatus>>;

/// Characters of a refusal, or of one conflict, at most.
const MAX_TEXT: usize = 600;

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
    text
}
