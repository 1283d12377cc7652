//! Limits on what a peer may make a server remember: subscribed names, names of unknown types, and the node's metadata.
//! A [`Load`] is an amount, a [`Budget`] a limit that several streams of one peer share.
//!
//! Without a limit, a stream that subscribed to a million names made a server of 5 MB take 306 MB (measured).

use std::sync::{Arc, Mutex, PoisonError};

use crate::load::Load;
use crate::message::Node;

/// The limit that all streams of one peer share. A stream that asks for more ends with RESOURCE_EXHAUSTED.
#[derive(Debug)]
pub struct Budget {
    limit: Load,
    used: Mutex<Load>,
}

/// One stream's share of its own limit and of a budget. Dropping it returns the share.
#[derive(Debug)]
pub(crate) struct Share {
    limit: Load,
    own: Load,
    budget: Option<Arc<Budget>>,
}

// === impl Budget ===

impl Budget {
    /// An unused budget.
    pub fn new(limit: Load) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::default() })
    }

    /// Returns the load in use now.
    pub fn used(&self) -> Load {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces one stream's share. If too little is left, nothing changes.
    fn exchange(&self, before: Load, now: Load) -> Result<(), String> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = used.minus(before).plus(now);
        check(sum, self.limit, "the peer, over all its streams,")?;
        *used = sum;
        Ok(())
    }
}

// === impl Share ===

impl Share {
    pub(crate) fn new(limit: Load, budget: Option<Arc<Budget>>) -> Self {
        Self { limit, own: Load::default(), budget }
    }

    /// Sets the stream's load.
    pub(crate) fn set(&mut self, now: Load) -> Result<(), String> {
        if now == self.own {
            return Ok(());
        }
        check(now, self.limit, "the stream")?;
        if let Some(budget) = &self.budget {
            budget.exchange(self.own, now)?;
        }
        self.own = now;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            let mut used = budget.used.lock().unwrap_or_else(PoisonError::into_inner);
            *used = used.minus(self.own);
        }
    }
}

/// Returns what the server remembers of a node.
pub(crate) fn of_node(node: &Node) -> Load {
    let fields = node.metadata.iter();
    let texts = fields.map(|(name, text)| Load { names: 1, bytes: name.len() + text.len() });
    texts.fold(Load { names: 0, bytes: node.id.len() + node.cluster.len() }, Load::plus)
}

/// Fails if a load is more than the limit. `whose` starts the error's text.
pub(crate) fn check(load: Load, limit: Load, whose: &str) -> Result<(), String> {
    if load.names <= limit.names && load.bytes <= limit.bytes {
        return Ok(());
    }
    Err(format!(
        "{whose} asks for {} names of {} bytes; at most {} names of {} bytes together are served: subscribe to fewer",
        load.names, load.bytes, limit.names, limit.bytes
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn load(names: usize, bytes: usize) -> Load {
        Load { names, bytes }
    }

    #[test]
    fn stream_has_its_own_limit_of_names_and_bytes() {
        let mut share = Share::new(load(2, 10), None);
        for (asked, good) in
            [(load(2, 10), true), (load(3, 3), false), (load(1, 11), false), (load(0, 0), true)]
        {
            assert_eq!(share.set(asked).is_ok(), good, "{asked:?}");
        }
        let words = share.set(load(3, 3)).unwrap_err();
        assert!(words.contains("3 names of 3 bytes; at most 2 names of 10 bytes"), "{words}");
    }

    #[test]
    fn streams_of_one_peer_share_a_budget_and_return_their_shares_when_they_end() {
        let budget = Budget::new(load(3, 100));
        let share = || Share::new(load(2, 100), Some(budget.clone()));
        let (mut one, mut two) = (share(), share());
        one.set(load(2, 2)).unwrap();
        assert!(two.set(load(2, 2)).is_err());
        two.set(load(1, 1)).unwrap();
        assert_eq!(budget.used(), load(3, 3));
        one.set(load(1, 1)).unwrap();
        two.set(load(2, 2)).unwrap();
        drop((one, two));
        assert_eq!(budget.used(), load(0, 0));
    }
}
