//! Which node has which address: [`Judge`]. Pure: leases and the time are passed in.
//!
//! Each node renews a lease of its own, and each address has a claim that names its node. A claim is never renewed: it counts
//! as long as its node's lease does. So a quiet cluster costs one small write per node and interval, however many addresses
//! there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

/// How often a node renews its lease.
pub const RENEW: Duration = Duration::from_millis(400);

/// A node whose lease was seen unchanged for this long has lost its addresses. Longer than four renewals, and short enough
/// that its addresses answer elsewhere within three seconds.
pub const LAPSE: Duration = Duration::from_millis(1800);

/// How much longer other nodes wait for the node that should take a free address first.
pub const COURTESY: Duration = Duration::from_millis(300);

/// This node's news are fresh while its own lease was seen to change within this time. (News come by a watch, and a watch that
/// hangs shows no lease of other nodes either.)
pub const FRESH: Duration = Duration::from_millis(1000);

/// What is known of the leases, and since when.
#[derive(Debug)]
pub struct Judge {
    /// This node.
    me: String,
    /// Each node's lease: its last version, and since when that is known.
    nodes: BTreeMap<String, (String, Instant)>,
    /// The node that has each address. `None`: nobody.
    claims: BTreeMap<IpAddr, Option<String>>,
    /// Since when the news are fresh, if they are.
    in_touch: Option<Instant>,
    /// Since when an address is free.
    free: BTreeMap<IpAddr, Instant>,
}

/// What a node is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Addresses that are this node's: they are on its interfaces.
    pub hold: BTreeSet<IpAddr>,
    /// Addresses to claim.
    pub take: BTreeSet<IpAddr>,
    /// Claims of this node to give up.
    pub give: BTreeSet<IpAddr>,
    /// Whether the claims are known: an address that isn't among `hold` isn't this node's.
    pub is_known: bool,
}

// === impl Judge ===

impl Judge {
    /// Creates a judge for node `me` that knows nothing.
    pub fn new(me: &str) -> Self {
        Self {
            me: me.to_owned(),
            nodes: BTreeMap::new(),
            claims: BTreeMap::new(),
            in_touch: None,
            free: BTreeMap::new(),
        }
    }

    /// Records a node's lease. A version that is known already is no news.
    pub fn see_node(&mut self, node: &str, version: &str, now: Instant) {
        let known = self.nodes.get(node);
        if known.is_some_and(|(known, _)| known == version) {
            return;
        }
        if node == self.me {
            let before =
                known.map(|(_, seen)| *seen).filter(|seen| now.saturating_duration_since(*seen) < FRESH);
            self.in_touch = before.and(self.in_touch).or(Some(now));
        }
        self.nodes.insert(node.to_owned(), (version.to_owned(), now));
    }

    /// Records that a node has no lease any more: it gave up its addresses.
    pub fn lose_node(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    /// Records which node an address's claim names.
    pub fn see_claim(&mut self, address: IpAddr, node: Option<&str>) {
        self.claims.insert(address, node.filter(|node| !node.is_empty()).map(str::to_owned));
    }

    /// Records that an address has no claim any more.
    pub fn lose_claim(&mut self, address: IpAddr) {
        self.claims.remove(&address);
    }

    /// Returns what this node is to do, of which these are the addresses that it could serve.
    ///
    /// While its news aren't fresh, as when the API server can't be reached, nothing is taken, and what it holds stays: most
    /// likely nobody else could take it. Other nodes' leases grow old only while this node's news are fresh, since all stand
    /// still while the API server is away.
    pub fn judge(&mut self, wanted: &BTreeSet<IpAddr>, now: Instant) -> Verdict {
        let mut verdict = Verdict::default();
        let own = self.nodes.get(&self.me).map(|(_, seen)| *seen);
        if own.is_none_or(|seen| now.saturating_duration_since(seen) >= FRESH) {
            self.in_touch = None;
        }
        verdict.is_known = self.in_touch.is_some();
        self.free.retain(|address, _| wanted.contains(address));
        for (address, holder) in &self.claims {
            if holder.as_ref() == Some(&self.me) {
                let of = if wanted.contains(address) { &mut verdict.hold } else { &mut verdict.give };
                of.insert(*address);
            }
        }
        for address in wanted.iter().filter(|address| !verdict.hold.contains(*address)) {
            let holder = self.claims.get(address).and_then(Option::as_deref);
            if holder.is_some_and(|holder| self.is_alive(holder, now)) || self.in_touch.is_none() {
                self.free.remove(address);
                continue;
            }
            let since = *self.free.entry(*address).or_insert(now);
            let courtesy = if self.is_first(*address, now) { Duration::ZERO } else { COURTESY };
            if now.saturating_duration_since(since) >= courtesy {
                verdict.take.insert(*address);
            }
        }
        verdict
    }

    fn is_alive(&self, node: &str, now: Instant) -> bool {
        let Some(((_, seen), in_touch)) = self.nodes.get(node).zip(self.in_touch) else { return false };
        now.saturating_duration_since((*seen).max(in_touch)) < LAPSE
    }

    /// Returns whether this node should take an address first: of all live nodes, each address has another first one, so that
    /// addresses are spread over the nodes.
    fn is_first(&self, address: IpAddr, now: Instant) -> bool {
        let weight = |node: &str| xxh3_64(format!("{node} {address}").as_bytes());
        let others = self.nodes.keys().filter(|node| **node != self.me && self.is_alive(node, now));
        others.map(|node| weight(node)).max().is_none_or(|most| weight(&self.me) >= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    const MS: Duration = Duration::from_millis(1);

    /// A judge of node `me` beside node `other`, which were both seen at the beginning.
    fn mk_judge(me: &str, begun: Instant) -> Judge {
        let mut judge = Judge::new(me);
        judge.see_node("me", "0", begun);
        judge.see_node("other", "0", begun);
        judge
    }

    /// Renews the node's own lease until some time before `until`.
    fn renew(judge: &mut Judge, (begun, until): (Instant, Instant)) {
        let (me, mut now) = (judge.me.clone(), begun);
        while now + RENEW < until {
            now += RENEW;
            judge.see_node(&me, &format!("{:?}", now - begun), now);
        }
    }

    fn set(addresses: &[IpAddr]) -> BTreeSet<IpAddr> {
        addresses.iter().copied().collect()
    }

    #[test]
    fn own_addresses_are_held_while_they_are_wanted_and_given_up_after_that() {
        let begun = Instant::now();
        let mut judge = mk_judge("me", begun);
        judge.see_claim(A, Some("me"));
        judge.see_claim(B, Some("other"));
        let verdict = judge.judge(&set(&[A, B]), begun);
        assert_eq!(verdict, Verdict { hold: set(&[A]), is_known: true, ..Verdict::default() });
        let verdict = judge.judge(&set(&[B]), begun);
        assert_eq!(verdict, Verdict { give: set(&[A]), is_known: true, ..Verdict::default() });
    }

    #[test]
    fn address_of_a_node_is_taken_once_its_lease_was_seen_unchanged_for_too_long() {
        let begun = Instant::now();
        let mut judge = mk_judge("me", begun);
        judge.see_claim(A, Some("other"));
        let early = begun + LAPSE - MS;
        renew(&mut judge, (begun, early));
        assert_eq!(judge.judge(&set(&[A]), early).take, set(&[]));
        judge.see_node("other", "1", early);
        judge.see_node("other", "1", early + MS);
        renew(&mut judge, (early, early + LAPSE));
        assert_eq!(judge.judge(&set(&[A]), early + LAPSE - MS).take, set(&[]), "it was renewed");
        assert_eq!(judge.judge(&set(&[A]), early + LAPSE).take, set(&[A]));
        assert!(LAPSE + COURTESY + 2 * RENEW < Duration::from_secs(3), "the budget of a takeover");
        assert!(LAPSE > 4 * RENEW && FRESH > 2 * RENEW);
    }

    #[test]
    fn after_the_api_server_was_away_every_node_has_time_to_renew() {
        let begun = Instant::now();
        let mut judge = mk_judge("me", begun);
        judge.see_claim(A, Some("other"));
        judge.see_claim(B, Some("me"));
        let (away, back) = (begun + 59_000 * MS, begun + 60_000 * MS);
        let verdict = judge.judge(&set(&[A, B]), away);
        assert_eq!(
            verdict,
            Verdict { hold: set(&[B]), ..Verdict::default() },
            "nothing is taken or given up"
        );
        judge.see_node("me", "back", back);
        renew(&mut judge, (back, back + LAPSE));
        assert_eq!(judge.judge(&set(&[A]), back + LAPSE - MS).take, set(&[]), "`other` may renew now");
        assert_eq!(judge.judge(&set(&[A]), back + LAPSE).take, set(&[A]), "and didn't");
    }

    #[test]
    fn watch_that_hangs_takes_no_address_of_a_node_that_renews() {
        let begun = Instant::now();
        let mut judge = mk_judge("me", begun);
        judge.see_claim(A, Some("other"));
        for ms in (0..20_000).step_by(100) {
            assert_eq!(judge.judge(&set(&[A]), begun + ms * MS).take, set(&[]), "{ms}");
        }
    }

    #[test]
    fn free_addresses_are_spread_and_the_second_node_waits_for_the_first_a_moment() {
        let begun = Instant::now();
        let addresses: Vec<IpAddr> = (1..=200).map(|last| IpAddr::from([198, 51, 100, last])).collect();
        let wanted = set(&addresses);
        let (mut mine, mut others) = (mk_judge("me", begun), mk_judge("other", begun));
        let (first, second) = (mine.judge(&wanted, begun).take, others.judge(&wanted, begun).take);
        assert!(first.is_disjoint(&second) && first.len() + second.len() == addresses.len());
        assert!((60..140).contains(&first.len()), "{}", first.len());
        assert_eq!(mine.judge(&wanted, begun + COURTESY).take, wanted, "the first one didn't");
    }

    #[test]
    fn claim_without_a_node_and_one_of_a_node_without_a_lease_are_free() {
        let begun = Instant::now();
        for holder in [None, Some(""), Some("gone"), Some("other")] {
            let mut judge = mk_judge("me", begun);
            judge.lose_node("other");
            judge.see_claim(A, holder);
            assert_eq!(judge.judge(&set(&[A]), begun).take, set(&[A]), "{holder:?}");
            judge.lose_claim(A);
            assert_eq!(judge.judge(&set(&[A]), begun).take, set(&[A]), "{holder:?}");
        }
    }
}
