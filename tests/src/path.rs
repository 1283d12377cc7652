//! Checks whether datagrams pass through a proxy. Entry points: [`opens`] and [`closes`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::netns::Netns;
use crate::udp::{Flow, Report};

/// Number of datagrams in an attempt. Each uses its own socket, and so is a separate session.
const ATTEMPT: u32 = 8;

/// Waits until every datagram of an attempt from `from` to `target` is answered by `by`.
///
/// # Errors
/// Returns an error after `bound`, with the last attempt's report.
pub fn opens(from: &Netns, target: SocketAddr, by: &str, bound: Duration) -> Result<Report> {
    let whole = |report: &Report| {
        report.lost() == 0 && report.answered_by().keys().map(String::as_str).collect::<Vec<_>>() == [by]
    };
    until(&format!("answers of {by} alone"), from, target, bound, whole)
}

/// Waits until every datagram of an attempt is answered, by any echo.
///
/// # Errors
/// See [`opens`].
pub fn answered(from: &Netns, target: SocketAddr, bound: Duration) -> Result<Report> {
    until("answers", from, target, bound, |report| report.lossless().is_ok())
}

/// Waits until no datagram of an attempt is answered any more.
///
/// # Errors
/// Returns an error after `bound`.
pub fn closes(from: &Netns, target: SocketAddr, bound: Duration) -> Result<Report> {
    until("silence", from, target, bound, |report| report.sent() > 0 && report.received() == 0)
}

fn until(
    what: &str,
    from: &Netns,
    target: SocketAddr,
    bound: Duration,
    good: impl Fn(&Report) -> bool,
) -> Result<Report> {
    let deadline = Instant::now() + bound;
    loop {
        let last = Instant::now() >= deadline;
        // With this rate and duration, the flow sends one datagram from each socket.
        let flow = Flow::to(target).sockets(ATTEMPT).rate(ATTEMPT * 10).lasting(Duration::from_millis(95));
        let report = flow.start(from)?.finish()?;
        if good(&report) {
            return Ok(report);
        }
        ensure!(!last, "waited {bound:?} in vain for {what} from {target}: {report}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::Echo;

    const BOUND: Duration = Duration::from_secs(20);

    #[test]
    fn a_way_is_open_while_the_named_echo_answers() {
        let namespace = Netns::new("path").unwrap();
        let mut echo = Echo::start(&namespace, "a", "127.0.0.1:0".parse().unwrap()).unwrap();
        let report = opens(&namespace, echo.address(), "a", BOUND).unwrap();
        assert_eq!(report.lines.len(), ATTEMPT as usize);
        let error = opens(&namespace, echo.address(), "b", Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("answers of b alone"), "{error}");
        assert!(closes(&namespace, echo.address(), Duration::ZERO).is_err());
        echo.stop();
        closes(&namespace, echo.address(), BOUND).unwrap();
    }
}
