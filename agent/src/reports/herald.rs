//! Decides when this node's health is reported. Pure. Entry point: [`Herald::take`].

use std::collections::HashSet;
use std::time::{Duration, Instant};

use portreeve_api::plan::Check;

use crate::own_health::OwnHealth;

/// How long the first report waits for the first results. Targets have results within 2 s and a timeout.
const HOLD: Duration = Duration::from_millis(2500);

/// Checks that become known in succession are reported together. Meanwhile, the nodes that use them probe them.
const TOGETHER: Duration = Duration::from_millis(250);

/// The last reported health, and the time since when it differs.
#[derive(Debug, Default)]
pub struct Herald {
    said: Option<OwnHealth>,
    since: Option<Instant>,
}

// === impl Herald ===

impl Herald {
    /// Returns the health to report now, if any. Failures, recoveries and checks that become unknown are reported
    /// immediately.
    pub fn take(&mut self, health: &OwnHealth, now: Instant) -> Option<OwnHealth> {
        if self.is_said(health) {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if !self.urgent(health) && now < since + self.patience() {
            return None;
        }
        self.since = None;
        self.said = Some(health.clone());
        self.said.clone()
    }

    /// Returns the latest time of the next report.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.patience())
    }

    fn is_said(&self, health: &OwnHealth) -> bool {
        self.said
            .as_ref()
            .is_some_and(|said| said.unhealthy == health.unhealthy && said.unknown == health.unknown)
    }

    fn urgent(&self, health: &OwnHealth) -> bool {
        let Some(said) = &self.said else { return health.unknown.is_empty() };
        let known: HashSet<_> = said.unknown.iter().map(key).collect();
        said.unhealthy != health.unhealthy || health.unknown.iter().any(|check| !known.contains(&key(check)))
    }

    fn patience(&self) -> Duration {
        if self.said.is_none() { HOLD } else { TOGETHER }
    }
}

fn key(check: &Check) -> (&str, u32, &str) {
    (&check.uid, check.port, &check.http_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_api::plan::Unhealthy;

    fn mk_health(unhealthy: &[&str], unknown: &[&str]) -> OwnHealth {
        let down = |uid: &&str| Unhealthy { uid: (*uid).into(), port: 7, ..Default::default() };
        let check = |uid: &&str| Check { uid: (*uid).into(), port: 7, ..Default::default() };
        OwnHealth {
            unhealthy: unhealthy.iter().map(down).collect(),
            unknown: unknown.iter().map(check).collect(),
            ..OwnHealth::default()
        }
    }

    #[test]
    fn first_word_waits_for_the_first_results_and_not_longer_than_they_take() {
        let (mut herald, now) = (Herald::default(), Instant::now());
        assert!(herald.take(&mk_health(&[], &["a", "b"]), now).is_none());
        assert_eq!(herald.deadline(), Some(now + HOLD));
        assert!(herald.take(&mk_health(&["a"], &["b"]), now + HOLD / 2).is_none());
        assert!(herald.take(&mk_health(&["a"], &["b"]), now + HOLD).is_some());
        assert_eq!(herald.deadline(), None);
        assert!(Herald::default().take(&mk_health(&[], &[]), now).is_some(), "nothing to wait for");
    }

    #[test]
    fn what_is_urgent_is_told_at_once_and_what_becomes_known_together() {
        // From the reported to the current health: urgent or not.
        let table = [
            (mk_health(&[], &[]), mk_health(&["a"], &[]), true),
            (mk_health(&["a"], &[]), mk_health(&[], &[]), true),
            (mk_health(&[], &[]), mk_health(&[], &["a"]), true),
            (mk_health(&[], &["a"]), mk_health(&[], &["b"]), true),
            (mk_health(&[], &["a"]), mk_health(&["a"], &[]), true),
            (mk_health(&[], &["a", "b"]), mk_health(&[], &["b"]), false),
            (mk_health(&[], &["a"]), mk_health(&[], &[]), false),
        ];
        for (said, is, urgent) in table {
            let (mut herald, now) = (Herald { said: Some(said.clone()), since: None }, Instant::now());
            assert_eq!(herald.take(&is, now).is_some(), urgent, "{said:?} {is:?}");
            let later = herald.take(&is, now + TOGETHER).is_some();
            assert_eq!(later, !urgent, "{said:?} {is:?}");
            assert!(herald.take(&is, now + TOGETHER).is_none() && herald.deadline().is_none());
        }
    }
}
