//! Problems that last, each logged once: [`Problems`]. Pure: the caller writes the log.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Maximum number of problems at a time. Further ones are not logged.
const MOST: usize = 1000;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Reading the file of addresses.
    File,
    /// Finding out whether another machine has the address: it has, or it couldn't be asked.
    Probe,
    /// Claiming the address.
    Claim,
    /// Giving up the claim of the address.
    Give,
    /// Putting the address on an interface.
    Add,
    /// Taking the address off its interface.
    Remove,
    /// Announcing the address.
    Announce,
}

/// The problem's address, if it has one, and what failed.
pub type Subject = (Option<IpAddr>, What);

/// The problems that exist now.
#[derive(Debug, Default)]
pub struct Problems(BTreeMap<Subject, String>);

// === impl Problems ===

impl Problems {
    /// Records a problem. Returns whether to log it: it didn't exist before, or its text changed.
    #[must_use]
    pub fn begins(&mut self, subject: Subject, text: &str) -> bool {
        if self.0.len() >= MOST && !self.0.contains_key(&subject) {
            return false;
        }
        self.0.insert(subject, text.to_owned()).is_none_or(|before| before != text)
    }

    /// Records that a problem no longer exists.
    pub fn ends(&mut self, subject: Subject) {
        self.0.remove(&subject);
    }

    /// Forgets all problems but these. A problem without an address stays.
    pub fn retain(&mut self, keep: impl Fn(IpAddr, What) -> bool) {
        self.0.retain(|(address, what), _| address.is_none_or(|address| keep(address, *what)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const B: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn problem_is_logged_when_it_begins_and_when_its_text_changes() {
        let mut problems = Problems::default();
        let table = [
            ((A, What::Claim), "no answer", true),
            ((A, What::Claim), "no answer", false),
            ((A, What::Claim), "forbidden", true),
            ((A, What::Claim), "forbidden", false),
            ((A, What::Claim), "no answer", true),
            ((A, What::Give), "no answer", true),
            ((B, What::Claim), "no answer", true),
            ((None, What::File), "no answer", true),
            ((None, What::File), "no answer", false),
        ];
        for (at, (subject, text, logged)) in table.into_iter().enumerate() {
            assert_eq!(problems.begins(subject, text), logged, "{at}: {subject:?}: {text}");
        }
    }

    #[test]
    fn problem_that_was_absent_is_logged_again() {
        let mut problems = Problems::default();
        let gone: [fn(&mut Problems); 2] = [
            |problems| problems.ends((A, What::Probe)),
            |problems| problems.retain(|address, what| Some(address) != A || what != What::Probe),
        ];
        for gone in gone {
            assert!(problems.begins((A, What::Probe), "in use"));
            assert!(!problems.begins((A, What::Probe), "in use"));
            gone(&mut problems);
        }
    }

    #[test]
    fn problems_that_stay_are_not_logged_again() {
        let mut problems = Problems::default();
        for subject in [(A, What::Probe), (A, What::Claim), (B, What::Probe), (None, What::File)] {
            assert!(problems.begins(subject, "text"));
        }
        problems.ends((A, What::Claim));
        problems.retain(|address, _| Some(address) != B);
        for (subject, logged) in
            [((A, What::Probe), false), ((None, What::File), false), ((B, What::Probe), true)]
        {
            assert_eq!(problems.begins(subject, "text"), logged, "{subject:?}");
        }
    }

    #[test]
    fn number_of_problems_is_bounded() {
        let mut problems = Problems::default();
        let subject = |number: u32| (Some(IpAddr::V4(number.into())), What::Probe);
        let logged = (0..5000).filter(|number| problems.begins(subject(*number), "in use")).count();
        assert_eq!((logged, problems.0.len()), (MOST, MOST));
        assert!(problems.begins(subject(0), "changed"), "known ones are followed");
        problems.ends(subject(0));
        assert!(problems.begins(subject(4999), "in use"), "there is room again");
    }
}
