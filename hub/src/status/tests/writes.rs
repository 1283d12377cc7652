//! When a status is written in the lives of objects, and which of many is written first.

use super::super::board::{AT_ONCE, PENDING_AT_ONCE};
use super::*;
use crate::object::Rejection;

/// A change in an object's life. Generations are also the versions of its Plan.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The object has this generation. The node's last report stays.
    Edit(i64),
    /// The object is rejected in this generation. The previous one stays in force.
    Reject(i64),
    /// The node's agent reports on the present generation: wanted, acked, refused, unreachable.
    Report([u32; 4]),
    /// The node's agent is lost.
    Lost,
    /// Time has passed.
    Look,
    Gone,
}

use Step::{Edit, Gone, Look, Lost, Reject, Report};

/// A board with one object, and what was written.
struct Life {
    desk: Desk,
    subject: Subject,
    reports: Vec<PlanReport>,
    writes: Vec<(u64, Reason)>,
}

// === impl Life ===

impl Life {
    fn of(steps: &[(u64, Step)]) -> Vec<(u64, Reason)> {
        let mut life =
            Self { desk: Desk::new(), subject: mk_subject(&["a"]), reports: Vec::new(), writes: Vec::new() };
        for (at, step) in steps {
            life.write_until(*at);
            life.step(*step, *at);
        }
        life.write_until(60_000);
        life.writes
    }

    /// Writes whatever is due before this time. A write takes no time.
    fn write_until(&mut self, end: u64) {
        while let Some(due) = self.desk.board.deadline().filter(|due| *due < self.desk.at(end)) {
            let ms = due.duration_since(self.desk.start).as_millis() as u64;
            self.writes.extend(self.desk.write(ms).map(|reason| (ms, reason)));
        }
    }

    fn step(&mut self, step: Step, ms: u64) {
        let served = self.subject.served.get_or_insert_with(|| mk_served(&["a"]));
        match step {
            Edit(generation) => {
                (served.generation, served.version) = (generation, generation as u64);
                (self.subject.verdict.generation, self.subject.verdict.rejection) = (generation, None);
            }
            Reject(generation) => {
                self.subject.verdict.generation = generation;
                self.subject.verdict.rejection = Some(Rejection::invalid("bad".into()));
            }
            Report(counts) => {
                self.reports = vec![with(word("a", counts), |status| status.version = served.version)]
            }
            Lost => self.reports.iter_mut().for_each(|report| report.reachable = false),
            Look => {}
            Gone => {
                self.reports.clear();
                return self.desk.board.forget(&self.desk.key);
            }
        }
        let version = (self.subject.verdict.generation, Some(served.version));
        let now = self.desk.at(ms);
        let waited = self.desk.board.waited(&self.desk.key, version, now);
        self.desk.board.set(&self.desk.key, self.subject.status(&self.reports, waited), now);
        self.write_until(ms + 1);
    }
}

#[test]
fn pending_is_written_only_where_no_answer_came_within_a_second() {
    const WANTED: Step = Report([1, 0, 0, 0]);
    const ACKED: Step = Report([1, 1, 0, 0]);
    use Reason::{Nacked, Pending, Programmed, Unreachable};
    // (what happens, steps, writes)
    type Row = (&'static str, &'static [(u64, Step)], &'static [(u64, Reason)]);
    let table: [Row; 13] = [
        ("answered in time", &[(0, Edit(1)), (500, WANTED), (999, ACKED)], &[(999, Programmed)]),
        ("refused in time", &[(0, Edit(1)), (500, Report([1, 0, 1, 0]))], &[(500, Nacked)]),
        ("answered late", &[(0, Edit(1)), (2500, ACKED)], &[(1000, Pending), (2500, Programmed)]),
        (
            "rejected at first",
            &[(0, Edit(1)), (9, ACKED), (20, Reject(2))],
            &[(9, Programmed), (20, Programmed)],
        ),
        (
            "edited",
            &[(0, Edit(1)), (9, ACKED), (20, Edit(2)), (900, ACKED)],
            &[(9, Programmed), (900, Programmed)],
        ),
        ("edited before its answer", &[(0, Edit(1)), (800, Edit(2)), (1500, ACKED)], &[(1500, Programmed)]),
        (
            "edited after Pending",
            &[(0, Edit(1)), (1500, Edit(2)), (2400, ACKED)],
            &[(1000, Pending), (2400, Programmed)],
        ),
        ("deleted before its answer", &[(0, Edit(1)), (500, Gone)], &[]),
        ("replaced", &[(0, Edit(1)), (500, Gone), (600, Edit(1)), (1500, ACKED)], &[(1500, Programmed)]),
        (
            "agent lost after its answer",
            &[(0, Edit(1)), (9, ACKED), (2000, Lost), (9000, Look)],
            &[(9, Programmed)],
        ),
        (
            "agent lost before an edit",
            &[(0, Edit(1)), (9, ACKED), (500, Lost), (2000, Edit(2)), (5000, Look)],
            &[(9, Programmed), (3000, Pending), (5000, Unreachable)],
        ),
        (
            "agent lost for a moment",
            &[(0, Edit(1)), (9, ACKED), (500, Lost), (2000, Edit(2)), (2900, ACKED)],
            &[(9, Programmed), (2900, Programmed)],
        ),
        ("proxy reconnects", &[(0, Edit(1)), (9, ACKED), (5000, WANTED), (6000, ACKED)], &[(9, Programmed)]),
    ];
    for (name, steps, writes) in table {
        assert_eq!(Life::of(steps), writes, "{name}");
    }
}

/// A board with many objects: the first ones' proxies have answered at 0, those of `pending` haven't.
fn mk_board(answered: usize, pending: usize) -> (Board, Instant) {
    let (mut board, start) = (Board::default(), Instant::now());
    for number in 0..answered + pending {
        let key = ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", number.to_string());
        let waited = board.waited(&key, (3, Some(VERSION)), start);
        let reports = if number < answered { vec![word("a", [1, 1, 0, 0])] } else { Vec::new() };
        board.set(&key, mk_subject(&["a"]).status(&reports, waited), start);
    }
    (board, start)
}

#[test]
fn answered_objects_are_written_before_pending_ones_which_are_not_deferred_for_long() {
    for (after, first) in [(FIRST, [false; 3]), (FIRST + Duration::from_secs(3), [true, true, false])] {
        let (mut board, start) = mk_board(3, 5);
        let taken: Vec<bool> =
            std::iter::from_fn(|| board.take(start + after)).map(|(_, status)| status.pending).collect();
        assert_eq!(taken[..3], first, "after {after:?}");
        assert_eq!(taken.len(), 3 + PENDING_AT_ONCE, "after {after:?}");
    }
}

#[test]
fn number_of_writes_in_flight_is_limited_and_each_end_makes_room() {
    let (mut board, start) = mk_board(3 * AT_ONCE, 3);
    let late = start + FIRST;
    let mut flying: Vec<_> = std::iter::from_fn(|| board.take(late)).collect();
    assert_eq!((flying.len(), board.deadline()), (AT_ONCE, None));
    let mut seen = AT_ONCE;
    while let Some((key, status)) = flying.pop() {
        match seen % 5 {
            0 => board.failed(&key, late),
            1 => board.passed(&key, late),
            2 => board.forbidden(&key, late),
            3 => board.forget(&key),
            _ => board.written(&key, status, late),
        }
        let next: Vec<_> = std::iter::from_fn(|| board.take(late)).collect();
        assert!(next.len() <= 1, "{}", next.len());
        seen += next.len();
        flying.extend(next);
    }
    assert_eq!(seen, 3 * AT_ONCE + 3);
}

#[test]
fn status_that_changes_during_its_write_is_written_again_after_it() {
    let acked = [word("a", [1, 1, 0, 0])];
    for (outcome, again) in [("written", true), ("passed", true), ("failed", true)] {
        let mut desk = Desk::new();
        desk.say(0, &[]);
        let (key, status) = desk.board.take(desk.at(1000)).unwrap();
        desk.say(1001, &acked);
        assert!(desk.board.deadline().is_none() && desk.board.take(desk.at(9000)).is_none(), "one at a time");
        match outcome {
            "written" => desk.board.written(&key, status, desk.at(1002)),
            "passed" => desk.board.passed(&key, desk.at(1002)),
            _ => desk.board.failed(&key, desk.at(1002)),
        }
        assert_eq!(desk.write(3002) == Some(Reason::Programmed), again, "{outcome}");
    }
    let mut desk = Desk::new();
    desk.say(0, &acked);
    let (key, _) = desk.board.take(desk.at(0)).unwrap();
    desk.board.passed(&key, desk.at(1));
    assert_eq!(desk.board.deadline(), None, "the event that follows is waited for");
}

#[test]
fn count_that_changes_all_the_time_is_written_every_three_seconds_and_a_new_reason_at_once() {
    let counts = |i: u32| [50, i % 50, 0, 50 - i % 50];
    let mut steps: Vec<(u64, Step)> = (0..=150).map(|i| (200 * u64::from(i), Report(counts(i)))).collect();
    steps.insert(0, (0, Edit(4)));
    steps.push((30_100, Report([50, 50, 0, 0])));
    let writes = Life::of(&steps);
    let (last, counted) = writes.split_last().unwrap();
    assert!((8..=13).contains(&counted.len()), "{writes:?}");
    assert_eq!(last.1, Reason::Programmed);
    assert!(last.0 <= 30_100 + JITTER.as_millis() as u64, "{writes:?}");
}
