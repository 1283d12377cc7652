//! The fate of a flow's datagrams.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

/// A delay of the sender that counts as a stall: the machine had no processor time, and whole buffers may have
/// overflowed.
pub const STALL: Duration = Duration::from_millis(100);

/// The fate of a flow's datagrams.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// One line per socket.
    pub lines: Vec<Line>,
    /// Number of answers that the kernel dropped at the flow's own sockets. They were lost by the test, not by the
    /// product.
    pub drops: u64,
    /// The longest delay of the sending thread, for lack of processor time.
    pub late: Duration,
}

/// The fate of one socket's datagrams.
#[derive(Debug, Clone)]
pub struct Line {
    /// The socket's own address.
    pub source: SocketAddr,
    /// All datagrams, in the order of sending.
    pub datagrams: Vec<Datagram>,
    /// Number of "port unreachable" errors.
    pub refused: u64,
    /// Number of answers to datagrams that weren't sent or were already answered.
    pub stray: u64,
}

/// One datagram. Times are relative to the flow's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Time of sending.
    pub sent: Duration,
    /// The answer; `None` if the datagram was lost.
    pub answer: Option<Answer>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Time of arrival.
    pub at: Duration,
    /// The echo's name.
    pub by: String,
    /// The source address that the echo saw: behind a proxy, the proxy's upstream socket.
    pub upstream: SocketAddr,
}

// === impl Report ===

impl Report {
    /// Returns the number of datagrams sent.
    pub fn sent(&self) -> usize {
        self.lines.iter().map(|line| line.datagrams.len()).sum()
    }

    /// Returns the number of datagrams answered.
    pub fn received(&self) -> usize {
        self.lines.iter().map(Line::received).sum()
    }

    /// Returns the number of datagrams without an answer. [`Report::drops`] of them were lost by the test.
    pub fn lost(&self) -> usize {
        self.sent() - self.received()
    }

    /// Returns the number of answers by echo.
    pub fn answered_by(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for answer in self.lines.iter().flat_map(Line::answers) {
            *counts.entry(answer.by.clone()).or_default() += 1;
        }
        counts
    }

    /// Returns the longest time that any socket went without an answer; see [`Line::longest_gap`].
    pub fn longest_gap(&self) -> Duration {
        self.lines.iter().map(Line::longest_gap).max().unwrap_or_default()
    }

    /// Checks that nothing was lost.
    ///
    /// # Errors
    /// Returns an error if datagrams were lost or nothing was sent.
    pub fn lossless(&self) -> Result<()> {
        ensure!(self.sent() > 0, "nothing was sent");
        ensure!(self.lost() == 0, "{self}");
        Ok(())
    }

    /// Checks that nothing was lost and that every session stayed the same.
    ///
    /// `dropped` is the number of datagrams that the kernel dropped at the proxies' sockets (see
    /// [`crate::netns::Netns::udp_drops`]). These drops and those at the flow's own sockets are excused only if the
    /// machine stalled ([`STALL`]) during the flow: a proxy's buffer holds a quarter of a second of such a flow, so
    /// without a stall a full buffer is the product's fault.
    ///
    /// # Errors
    /// Returns an error if more was lost, a session was renewed, or nothing was sent.
    pub fn undisturbed(&self, dropped: u64) -> Result<()> {
        ensure!(self.sent() > 0, "nothing was sent");
        let excused = if self.late >= STALL { dropped + self.drops } else { 0 };
        ensure!(
            self.lost() as u64 <= excused,
            "{dropped} dropped by the kernel, sender late by {:?} at most, {self}",
            self.late
        );
        for line in &self.lines {
            let upstreams = line.upstreams();
            ensure!(upstreams.len() == 1, "the session of {} came from {upstreams:?}", line.source);
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: u64 = self.lines.iter().map(|line| line.refused).sum();
        let (sent, lost, by) = (self.sent(), self.lost(), self.answered_by());
        write!(f, "{lost} of {sent} lost ({} at the test's own sockets), {refused} refused, ", self.drops)?;
        write!(f, "answered by {by:?}, longest gap {:.1?}", self.longest_gap())?;
        let unanswered = |line: &Line| line.lost().map(|datagram| datagram.sent).collect::<Vec<_>>();
        let mut times: Vec<_> = self.lines.iter().flat_map(unanswered).collect();
        times.sort_unstable();
        match (times.first(), times.last()) {
            (Some(first), Some(last)) => write!(f, ", lost from {first:.3?} to {last:.3?}"),
            _ => Ok(()),
        }
    }
}

// === impl Line ===

impl Line {
    /// Returns the answers, in the order of sending.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.datagrams.iter().filter_map(|datagram| datagram.answer.as_ref())
    }

    /// Returns the datagrams without an answer.
    pub fn lost(&self) -> impl Iterator<Item = &Datagram> {
        self.datagrams.iter().filter(|datagram| datagram.answer.is_none())
    }

    /// Returns the number of datagrams answered.
    pub fn received(&self) -> usize {
        self.answers().count()
    }

    /// Returns the echoes that answered, in the order of their first answer, without duplicates: `[a, b, a]` is `[a,
    /// b]`.
    pub fn echoes(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for answer in self.answers() {
            if !found.contains(&answer.by.as_str()) {
                found.push(answer.by.as_str());
            }
        }
        found
    }

    /// Returns the upstream sockets in the order of their first answer, without duplicates. Several mean that the proxy
    /// renewed the session.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for answer in self.answers() {
            if !found.contains(&answer.upstream) {
                found.push(answer.upstream);
            }
        }
        found
    }

    /// Returns the longest time between two answers, or between the first datagram and the first answer, or between the
    /// last answer and the last datagram.
    pub fn longest_gap(&self) -> Duration {
        let sent = |datagram: Option<&Datagram>| datagram.map(|datagram| datagram.sent).unwrap_or_default();
        let (first, last) = (sent(self.datagrams.first()), sent(self.datagrams.last()));
        let mut times: Vec<_> = self.answers().map(|answer| answer.at).chain([first, last]).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Records an answer.
    pub(super) fn note(&mut self, bytes: &[u8], at: Duration) {
        let parsed = parse_answer(bytes);
        let open = parsed.as_ref().and_then(|(number, ..)| self.datagrams.get_mut(*number));
        match (parsed, open) {
            (Some((_, by, upstream)), Some(datagram @ Datagram { answer: None, .. })) => {
                datagram.answer = Some(Answer { at, by, upstream });
            }
            _ => self.stray += 1,
        }
    }
}

/// Returns a datagram's number, the echo's name and the source that it saw.
fn parse_answer(bytes: &[u8]) -> Option<(usize, String, SocketAddr)> {
    let mut parts = std::str::from_utf8(bytes).ok()?.split('|');
    let number = parts.next()?.split(':').nth(1)?.parse().ok()?;
    let by = parts.next()?.to_owned();
    Some((number, by, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When a datagram was sent, and when, by which echo and from which upstream port it was answered.
    type Mk<'a> = (u64, Option<(u64, &'a str, u16)>);

    fn mk_line(answers: &[Mk<'_>]) -> Line {
        let mk = |(by, upstream): (&str, u16), at| Answer {
            at: ms(at),
            by: by.to_owned(),
            upstream: SocketAddr::from(([10, 0, 0, 1], upstream)),
        };
        let datagrams = answers.iter().map(|(sent, answer)| Datagram {
            sent: ms(*sent),
            answer: answer.map(|(at, by, upstream)| mk((by, upstream), at)),
        });
        let source = SocketAddr::from(([10, 0, 0, 2], 1));
        Line { source, datagrams: datagrams.collect(), refused: 0, stray: 0 }
    }

    #[test]
    fn a_flow_is_undisturbed_without_losses_of_its_own_and_in_one_session() {
        let answered = |upstream| Some((1, "a", upstream));
        let mk = |lost: u64, upstream: u16, late: u64| {
            let datagrams = (0..30).map(|i| (i, answered(7).filter(|_| i >= lost)));
            let mut datagrams: Vec<Mk<'_>> = datagrams.collect();
            datagrams.push((30, answered(upstream)));
            Report { lines: vec![mk_line(&datagrams)], drops: 0, late: ms(late) }
        };
        for (lost, upstream, dropped, late, good) in [
            (0, 7, 0, 0, true),
            (1, 7, 0, 0, false),
            (1, 7, 0, 200, false),
            (3, 7, 3, 200, true),
            (3, 7, 3, 20, false),
            (3, 7, 2, 200, false),
            (0, 8, 0, 200, false),
        ] {
            let said = mk(lost, upstream, late).undisturbed(dropped);
            assert_eq!(said.is_ok(), good, "{lost} {upstream} {dropped} {late}: {said:?}");
        }
        assert!(Report::default().undisturbed(0).is_err(), "nothing was sent");
    }

    #[test]
    fn a_lost_datagram_is_counted_and_makes_a_gap() {
        let line = mk_line(&[
            (0, Some((1, "a", 7))),
            (10, None),
            (20, Some((21, "b", 8))),
            (30, Some((31, "a", 7))),
        ]);
        let report = Report { lines: vec![line], drops: 0, late: Duration::ZERO };
        assert_eq!((report.sent(), report.received(), report.lost()), (4, 3, 1));
        assert_eq!(report.longest_gap(), ms(20));
        assert_eq!(report.answered_by(), BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
        assert_eq!(report.lines[0].echoes(), ["a", "b"]);
        assert_eq!(report.lines[0].upstreams().len(), 2);
        assert!(report.lossless().unwrap_err().to_string().contains("lost from 10.000ms to 10.000ms"));
    }

    #[test]
    fn an_end_without_answers_is_a_gap() {
        assert_eq!(mk_line(&[(0, Some((1, "a", 7))), (10, None), (90, None)]).longest_gap(), ms(89));
        assert_eq!(mk_line(&[(5, None), (50, None)]).longest_gap(), ms(45));
    }

    #[test]
    fn a_second_answer_is_stray() {
        let mut line = mk_line(&[(0, None)]);
        line.note(b"0:0:xx|a|10.0.0.1:7", ms(1));
        line.note(b"0:0:xx|b|10.0.0.1:8", ms(2));
        line.note(b"0:9:xx|b|10.0.0.1:8", ms(2));
        line.note(b"garbage", ms(2));
        assert_eq!((line.received(), line.stray, line.echoes()), (1, 3, vec!["a"]));
    }

    #[test]
    fn no_datagram_is_no_success() {
        assert!(Report::default().lossless().is_err());
    }
}
