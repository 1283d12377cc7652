//! Which forms of a name are queried, in which order, and how the answers are combined. Pure.

use std::net::IpAddr;
use std::time::Instant;

use super::hosts_file::Table;
use crate::world::Host;

/// The answer for a name in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Addresses, valid until this time.
    Found(Vec<IpAddr>, Instant),
    /// The name exists, but has no addresses.
    Empty,
    /// The name doesn't exist in any family.
    Absent,
    /// No server could answer.
    Failed(String),
}

/// The answers for a name: for IPv4 addresses, and for IPv6 addresses.
pub type Answer = [Part; 2];

// === impl Part ===

impl Part {
    /// Returns why no server could answer.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Found(..) | Self::Empty | Self::Absent => None,
        }
    }
}

/// Returns the forms of a name, in the order in which they are tried. A name with a final dot is fully qualified.
pub fn forms(host: &Host, domain: &str) -> Vec<String> {
    let (namespace, name) = host;
    if name.ends_with('.') {
        return vec![name.clone()];
    }
    let suffixes = [format!("{namespace}.svc.{domain}."), format!("svc.{domain}."), format!("{domain}.")];
    let mut all: Vec<String> = suffixes.iter().map(|suffix| format!("{name}.{suffix}")).collect();
    // Names with many dots are nearly always fully qualified, so they are tried unchanged first.
    let at = if name.split('.').count() > 4 { 0 } else { all.len() };
    all.insert(at, format!("{name}."));
    all
}

/// Returns a table's answer for the first form that it contains. The answer is complete: no server is queried for the
/// other family. It is valid until `now`, so that the table is asked again.
pub fn in_table(table: &Table, forms: &[String], now: Instant) -> Option<Answer> {
    let named = |form: &String| table.get(&form.trim_end_matches('.').to_lowercase());
    let addresses = forms.iter().find_map(named)?;
    let family = |v4: bool| {
        let found: Vec<IpAddr> = addresses.iter().copied().filter(|ip| ip.is_ipv4() == v4).collect();
        if found.is_empty() { Part::Absent } else { Part::Found(found, now) }
    };
    Some([family(true), family(false)])
}

/// Returns whether the answer for one form has addresses, so that further forms aren't needed.
pub fn settles(answer: &Answer) -> bool {
    expiry(answer).is_some()
}

/// Combines the answers for all queried forms. A form with addresses is the result. Otherwise the name doesn't exist
/// only if every form certainly doesn't; else the families in which a server failed are unknown.
pub fn together(answers: &[Answer]) -> Answer {
    if let Some(found) = answers.iter().find(|answer| settles(answer)) {
        return found.clone();
    }
    // A name that doesn't exist has no addresses in any family, even if the other family's query failed.
    let possible = || answers.iter().filter(|answer| !answer.contains(&Part::Absent));
    let family = |i: usize| {
        let failed = possible().map(|answer| &answer[i]).find(|part| part.error().is_some());
        failed.cloned().unwrap_or(Part::Absent)
    };
    [family(0), family(1)]
}

/// Returns the addresses to use after an answer. A family without an answer keeps its last addresses.
pub fn merged(answer: &Answer, last: &[IpAddr]) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for (part, is_v4) in answer.iter().zip([true, false]) {
        match part {
            Part::Found(addresses, _) => all.extend(addresses),
            Part::Empty | Part::Absent => {}
            Part::Failed(_) => all.extend(last.iter().filter(|ip| ip.is_ipv4() == is_v4)),
        }
    }
    all
}

/// Returns when the first of the addresses expires; `None` if there are none.
pub fn expiry(answer: &Answer) -> Option<Instant> {
    let until = |part: &Part| match part {
        Part::Found(_, until) => Some(*until),
        Part::Empty | Part::Absent | Part::Failed(_) => None,
    };
    answer.iter().filter_map(until).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn found() -> Part {
        Part::Found(vec![ip("10.0.0.1")], Instant::now())
    }

    fn failed() -> Part {
        Part::Failed("SERVFAIL".into())
    }

    fn mk_forms(name: &str) -> Vec<String> {
        forms(&("calls".into(), name.into()), "cluster.local")
    }

    #[test]
    fn the_forms_are_those_of_the_resources_namespace() {
        assert_eq!(
            mk_forms("worker"),
            [
                "worker.calls.svc.cluster.local.",
                "worker.svc.cluster.local.",
                "worker.cluster.local.",
                "worker."
            ]
        );
        assert_eq!(mk_forms("worker.example."), ["worker.example."]);
        assert_eq!(mk_forms("a.b.svc.cluster.local")[0], "a.b.svc.cluster.local.");
    }

    #[test]
    fn table_is_asked_for_every_form_and_speaks_for_both_families() {
        let table =
            super::super::hosts_file::parse(b"10.0.0.1 worker.svc.cluster.local\nfd00::1 voice 10.0.0.9");
        let of = |name| {
            in_table(&table, &mk_forms(name), Instant::now()).map(|answer| merged(&answer, &[ip("10.9.9.9")]))
        };
        assert_eq!(of("worker"), Some(vec![ip("10.0.0.1")]));
        assert_eq!(of("Voice"), Some(vec![ip("fd00::1")]));
        assert_eq!(of("voice."), Some(vec![ip("fd00::1")]));
        assert_eq!(of("worker."), None);
    }

    #[test]
    fn family_that_nobody_speaks_for_keeps_its_addresses() {
        let last = [ip("10.0.0.1"), ip("fd00::1")];
        let found = Part::Found(vec![ip("10.0.0.2")], Instant::now());
        assert_eq!(merged(&[found.clone(), failed()], &last), [ip("10.0.0.2"), ip("fd00::1")]);
        assert_eq!(merged(&[failed(), Part::Absent], &last), [ip("10.0.0.1")]);
        assert_eq!(merged(&[failed(), failed()], &last), last);
        assert_eq!(merged(&[found, Part::Absent], &last), [ip("10.0.0.2")]);
        assert!(merged(&[Part::Absent, Part::Absent], &last).is_empty());
    }

    #[test]
    fn name_does_not_exist_only_if_that_is_certain_of_every_form() {
        use Part::{Absent, Empty};
        let absent = [Absent, Absent];
        let table = [
            (vec![], absent.clone()),
            (vec![absent.clone(), absent.clone()], absent.clone()),
            (vec![absent.clone(), [Empty, Empty]], absent.clone()),
            (vec![[failed(), failed()], absent.clone()], [failed(), failed()]),
            (vec![absent.clone(), [failed(), failed()]], [failed(), failed()]),
            (vec![[failed(), Empty], absent.clone()], [failed(), Absent]),
            (vec![[failed(), Empty], [Empty, failed()]], [failed(), failed()]),
            // The form exists in no family.
            (vec![[Absent, failed()], [failed(), Absent]], absent.clone()),
            (vec![[Absent, failed()], [Empty, failed()]], [Absent, failed()]),
        ];
        for (answers, expected) in table {
            assert_eq!(together(&answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn form_with_addresses_is_the_answer_whatever_failed_before() {
        let answers = [[failed(), failed()], [Part::Absent, Part::Absent], [found(), failed()]];
        assert!(!settles(&answers[0]) && !settles(&answers[1]) && settles(&answers[2]));
        assert_eq!(together(&answers), answers[2]);
    }

    #[test]
    fn answer_is_good_until_the_first_of_its_parts_expires() {
        let now = Instant::now();
        let found = |seconds| Part::Found(vec![ip("10.0.0.1")], now + Duration::from_secs(seconds));
        assert_eq!(expiry(&[found(9), found(3)]), Some(now + Duration::from_secs(3)));
        assert_eq!(expiry(&[found(9), Part::Absent]), Some(now + Duration::from_secs(9)));
        assert_eq!(expiry(&[Part::Absent, failed()]), None);
    }
}
