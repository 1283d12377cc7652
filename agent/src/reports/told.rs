//! What one stream has already sent of the [`Outbox`], and the content of its next report ([`Told`]).
//!
//! Pure. Only the content of a report counts as sent. Content that exceeds the hub's limits follows in the next report.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use portreeve_api::model::ProxyKind;
use portreeve_api::report::{Hello, PlanStatus, ProxyNames, Report, Unknown, Verdicts};
use portreeve_api::report_bounds as bounds;
use portreeve_xds::Name;
use prost::Message;

use super::outbox::Outbox;

/// Length to which texts are cut if a report would be too long, in bytes.
const FEW_WORDS: usize = 64;

/// Maximum size of a report. The hub allows 64 KiB more, for fields that aren't counted here.
const LONGEST: usize = bounds::REPORT - (64 << 10);

/// Maximum size of verdicts. The rest of a report always has room for a status.
const VERDICTS: usize = LONGEST / 4 * 3;

/// Maximum size of the list of unknown checks.
const UNKNOWN: usize = LONGEST / 8;

/// Overhead of a list entry in bytes: the field's tag and the length.
const FRAME: usize = 6;

/// The state that one stream has sent.
#[derive(Debug)]
pub struct Told {
    hello: Option<Hello>,
    beat: u64,
    verdicts: Option<(u64, u64)>,
    /// The names that proxies announced; `None` before the first report.
    names: Option<Arc<ProxyNames>>,
    plans: BTreeMap<Name, Sent>,
    /// The name of the last status that was sent. The next report begins after it, so that every Plan is sent in turn.
    last: Name,
    behind: bool,
}

/// A status that was sent.
#[derive(Debug)]
struct Sent {
    status: Arc<PlanStatus>,
    /// False if its texts were cut for lack of room.
    whole: bool,
}

/// The remaining room of a report.
struct Room {
    bytes: usize,
    entries: usize,
}

// === impl Told ===

impl Told {
    /// Creates the state of a stream that has sent nothing.
    pub fn new(node: &str) -> Self {
        let programs = ProxyKind::ALL.map(|kind| kind.word().to_owned()).into();
        let hello = Hello { node: node.into(), agent_version: env!("CARGO_PKG_VERSION").into(), programs };
        Self {
            hello: Some(hello),
            beat: 0,
            verdicts: None,
            names: None,
            plans: BTreeMap::new(),
            last: "".into(),
            behind: false,
        }
    }

    /// Returns the next report: everything that differs from the sent state, within the hub's limits. Its content
    /// counts as sent.
    pub fn next(&mut self, outbox: &Outbox) -> Report {
        self.beat += 1;
        self.behind = false;
        let mut report = Report { hello: self.hello.take(), beat: self.beat, ..Report::default() };
        if self.names.as_ref() != Some(outbox.names()) {
            report.names = Some(ProxyNames::clone(outbox.names()));
            self.names = Some(outbox.names().clone());
        }
        let said = outbox.said();
        if said != self.verdicts {
            let (verdicts, unknown) = outbox.verdicts().map(|all| fitting(all, outbox.unknown())).unzip();
            report.verdicts = verdicts;
            report.unknown = unknown.filter(|unknown| *unknown != Unknown::default());
            self.verdicts = said;
        }
        let mut room = Room { bytes: LONGEST - report.encoded_len(), entries: bounds::PLANS };
        report.plans_gone = self.gone(outbox, &mut room);
        room.entries = bounds::PLANS;
        report.plans = self.news(outbox, &mut room);
        report.more = self.behind;
        report
    }

    /// Returns whether the last report had no room for everything. Then the next one is due as soon as it is answered.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Returns the Plans that are gone, as many as fit.
    fn gone(&mut self, outbox: &Outbox, room: &mut Room) -> Vec<String> {
        let all = self.plans.keys().filter(|name| !outbox.plans().contains_key(*name));
        let gone: Vec<Name> = all.take(room.entries + 1).cloned().collect();
        let fit = gone.iter().take_while(|name| room.take(name.len())).count();
        self.behind |= fit < gone.len();
        gone[..fit].iter().for_each(|name| drop(self.plans.remove(name)));
        gone[..fit].iter().map(ToString::to_string).collect()
    }

    /// Returns the changed statuses, as many as fit. If their texts don't fit, those of new statuses are cut, and a
    /// later report has them in full.
    fn news(&mut self, outbox: &Outbox, room: &mut Room) -> Vec<PlanStatus> {
        let last = &self.last;
        let behind_last = outbox.plans().range::<Name, _>((Excluded(last), Unbounded));
        let order = behind_last.chain(outbox.plans().range::<Name, _>(..=last));
        let due: Vec<_> = order.filter(|(name, status)| !self.knows(name, status, true)).collect();
        let full = due.iter().take(bounds::PLANS).map(|(_, status)| bounded(status).encoded_len() + FRAME);
        let shorten = full.sum::<usize>() > room.bytes;
        let mut news = Vec::new();
        for (name, status) in due {
            if self.plans.len() >= bounds::NODE_PLANS && !self.plans.contains_key(name) {
                continue;
            }
            let (mut one, mut whole) = (bounded(status), true);
            if shorten && !self.knows(name, status, false) {
                whole = !cut_words(&mut one);
            }
            if !room.take(one.encoded_len()) {
                self.behind = true;
                break;
            }
            self.behind |= !whole;
            self.plans.insert(name.clone(), Sent { status: status.clone(), whole });
            self.last = name.clone();
            news.push(one);
        }
        news
    }

    /// Returns whether this status was sent. `whole`: with all its texts.
    fn knows(&self, name: &Name, status: &Arc<PlanStatus>, whole: bool) -> bool {
        let same = |sent: &&Sent| Arc::ptr_eq(&sent.status, status) || sent.status == *status;
        self.plans.get(name).filter(same).is_some_and(|sent| sent.whole || !whole)
    }
}

// === impl Room ===

impl Room {
    /// Reserves room for another entry of this size. Returns false if there isn't enough.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.entries > 0 && self.bytes >= bytes + FRAME;
        if fits {
            self.entries -= 1;
            self.bytes -= bytes + FRAME;
        }
        fits
    }
}

/// Returns a status within the limits of its fields.
fn bounded(status: &PlanStatus) -> PlanStatus {
    let mut status = status.clone();
    bounds::cut(&mut status.refusal, bounds::WORDS);
    bounds::cut(&mut status.unsupported_text, bounds::WORDS);
    status.conflicts.truncate(bounds::CONFLICTS);
    status.conflicts.iter_mut().for_each(|text| bounds::cut(text, bounds::WORDS));
    status
}

/// Cuts a status's texts. Returns whether that changed anything.
fn cut_words(status: &mut PlanStatus) -> bool {
    let texts = [&status.refusal, &status.unsupported_text];
    let long = texts.into_iter().chain(&status.conflicts).any(|text| text.len() > FEW_WORDS);
    let cuts = long || status.conflicts.len() > 1;
    bounds::cut(&mut status.refusal, FEW_WORDS);
    bounds::cut(&mut status.unsupported_text, FEW_WORDS);
    status.conflicts.truncate(1);
    status.conflicts.iter_mut().for_each(|text| bounds::cut(text, FEW_WORDS));
    cuts
}

/// Returns verdicts that fit into a report, and the checks that they don't cover. Verdicts can't be continued in
/// another report, so reasons are dropped first, then endpoints. Dropped endpoints are not vouched for.
fn fitting(verdicts: Verdicts, mut unknown: Unknown) -> (Verdicts, Unknown) {
    let all = verdicts.unhealthy.len();
    let verdicts = shortened(verdicts);
    let mut room = Room { bytes: UNKNOWN, entries: bounds::UNKNOWN };
    let fit = unknown.checks.iter().take_while(|one| room.take(one.encoded_len())).count();
    unknown.more |= fit < unknown.checks.len() || verdicts.unhealthy.len() < all;
    unknown.checks.truncate(fit);
    (verdicts, unknown)
}

fn shortened(mut verdicts: Verdicts) -> Verdicts {
    for most in [FEW_WORDS, 0] {
        if verdicts.encoded_len() <= VERDICTS {
            return verdicts;
        }
        verdicts.unhealthy.iter_mut().for_each(|one| bounds::cut(&mut one.reason, most));
    }
    let mut room = Room { bytes: VERDICTS - FRAME * FRAME, entries: bounds::UNHEALTHY };
    let all = verdicts.unhealthy.len();
    let fit = verdicts.unhealthy.iter().take_while(|one| room.take(one.encoded_len())).count();
    if fit < all {
        tracing::warn!(
            endpoints = all,
            sent = fit,
            "more unhealthy endpoints than a report has room for: other nodes probe this node's endpoints themselves; \
             use shorter health check paths or fewer checks on this node"
        );
        verdicts.unhealthy.truncate(fit);
    }
    verdicts
}
