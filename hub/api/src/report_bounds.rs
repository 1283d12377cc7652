//! Limits of a report. The agent cuts its reports to them; the hub rejects reports beyond them ([`check`]).

use crate::c::schema::MAX_PEERS;
use crate::plan::{Check, Unhealthy};
use crate::proxy_names;
use crate::report::{PlanStatus, Report, Unknown, Verdicts};

/// Maximum size of a report, in bytes.
pub const REPORT: usize = 4 << 20;
/// Maximum size of a beat, in bytes.
pub const BEAT: usize = 1 << 10;
/// Maximum number of unhealthy endpoints of one node.
pub const UNHEALTHY: usize = 10_000;
/// Maximum number of checks of one node that are listed as unknown.
pub const UNKNOWN: usize = 10_000;
/// Maximum number of Plans that one report names as changed or as gone. Further reports continue the list.
pub const PLANS: usize = 20_000;
/// Maximum number of Plans that one node reports a status of.
pub const NODE_PLANS: usize = 100_000;
/// Maximum number of a Plan's listeners that are reported to have lost their port.
pub const CONFLICTS: usize = 100;
/// Maximum number of a Plan's tunnels of which a node reports the other end.
pub const TUNNELS: usize = MAX_PEERS;
/// Maximum length of a Plan's or an endpoint's name, in bytes.
pub const NAME: usize = 1_024;
/// Maximum length of a path, in bytes. Every path that a CRD accepts fits, whatever its characters.
pub const PATH: usize = 4 * crate::http_path::MAX_PATH;
/// Maximum length of a text for people (a reason, a rejection, a conflict), in bytes.
pub const WORDS: usize = 1_024;
/// Maximum number of kinds of proxies that an agent can name.
const PROGRAMS: usize = 16;
/// Maximum length of a kind's name, in bytes.
const PROGRAM: usize = 32;
/// Maximum epoch. It leaves room for later epochs.
pub const EPOCH: u64 = 1 << 62;
/// Maximum length of a node's name (a DNS subdomain), in bytes.
const NODE: usize = 253;

/// Checks a report. `first` tells whether it is the first one of its stream.
///
/// # Errors
/// Returns the field that is wrong, what is wrong with it, and what is allowed.
pub fn check(report: &Report, first: bool) -> Result<(), String> {
    match (&report.hello, first) {
        (Some(hello), true) => {
            node(&hello.node)?;
            longest("hello.agent_version", &hello.agent_version, WORDS)?;
            most("hello.programs", hello.programs.len(), PROGRAMS)?;
            hello.programs.iter().try_for_each(|one| longest("hello.programs", one, PROGRAM))?;
        }
        (None, true) => {
            return Err("hello is missing: a stream's first report must name the agent's node".into());
        }
        (Some(_), false) => {
            return Err("hello is sent twice: only a stream's first report may have it".into());
        }
        (None, false) => {}
    }
    most("plans", report.plans.len(), PLANS)?;
    most("plans_gone", report.plans_gone.len(), PLANS)?;
    report.verdicts.as_ref().map_or(Ok(()), verdicts)?;
    report.unknown.as_ref().map_or(Ok(()), unknown)?;
    if let Some(all) = &report.names {
        let names = all.names.iter().map(|one| (one.uid.as_str(), one.name.as_str()));
        proxy_names::check(names).map_err(|error| format!("names: {error}"))?;
    }
    report.plans.iter().try_for_each(status)?;
    report.plans_gone.iter().try_for_each(|plan| name("plans_gone", plan))
}

/// Cuts a text to at most `bytes` bytes, at a character boundary.
pub fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
}

/// Returns whether a text may be the name of a Plan in a report.
pub fn is_name(text: &str) -> bool {
    name("", text).is_ok()
}

/// Returns whether a report may hold this endpoint once its reason is cut to [`WORDS`].
pub fn takes_endpoint(one: &Unhealthy) -> bool {
    checked("", (&one.uid, one.port, &one.http_path)).is_ok()
}

/// Returns whether a report may list this check.
pub fn takes_check(one: &Check) -> bool {
    checked("", (&one.uid, one.port, &one.http_path)).is_ok()
}

fn is_port(port: u32) -> bool {
    (1..=65_535).contains(&port)
}

fn node(node: &str) -> Result<(), String> {
    longest("hello.node", node, NODE)?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    match !node.is_empty() && node.chars().all(fits) {
        true => Ok(()),
        false => Err(format!("hello.node: {node:?} is not a valid node name")),
    }
}

fn verdicts(verdicts: &Verdicts) -> Result<(), String> {
    if !(1..=EPOCH).contains(&verdicts.epoch) {
        return Err(format!("verdicts.epoch: {} is not between 1 and {EPOCH}", verdicts.epoch));
    }
    most("verdicts.unhealthy", verdicts.unhealthy.len(), UNHEALTHY)?;
    for (at, one) in verdicts.unhealthy.iter().enumerate() {
        let field = format!("verdicts.unhealthy[{at}]");
        checked(&field, (&one.uid, one.port, &one.http_path))?;
        longest(&format!("{field}.reason"), &one.reason, WORDS)?;
    }
    Ok(())
}

fn unknown(unknown: &Unknown) -> Result<(), String> {
    most("unknown.checks", unknown.checks.len(), UNKNOWN)?;
    let mut checks = unknown.checks.iter().enumerate();
    checks.try_for_each(|(at, one)| {
        checked(&format!("unknown.checks[{at}]"), (&one.uid, one.port, &one.http_path))
    })
}

fn checked(field: &str, (uid, port, path): (&str, u32, &str)) -> Result<(), String> {
    name(&format!("{field}.uid"), uid)?;
    longest(&format!("{field}.http_path"), path, PATH)?;
    match is_port(port) {
        true => Ok(()),
        false => Err(format!("{field}.port: {port} is not a port number")),
    }
}

fn status(status: &PlanStatus) -> Result<(), String> {
    name("plans.plan", &status.plan)?;
    let plan = &status.plan;
    longest(&format!("plans[{plan}].refusal"), &status.refusal, WORDS)?;
    longest(&format!("plans[{plan}].unsupported_text"), &status.unsupported_text, WORDS)?;
    most(&format!("plans[{plan}].tunnels"), status.tunnels.len(), TUNNELS)?;
    most(&format!("plans[{plan}].conflicts"), status.conflicts.len(), CONFLICTS)?;
    status.conflicts.iter().try_for_each(|text| longest(&format!("plans[{plan}].conflicts"), text, WORDS))
}

fn name(field: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{field}: must not be empty"));
    }
    longest(field, text, NAME)
}

fn longest(field: &str, text: &str, bytes: usize) -> Result<(), String> {
    match text.len() <= bytes {
        true => Ok(()),
        false => Err(format!("{field}: {} bytes, {bytes} are allowed", text.len())),
    }
}

fn most(field: &str, count: usize, allowed: usize) -> Result<(), String> {
    match count <= allowed {
        true => Ok(()),
        false => Err(format!("{field}: {count} entries, {allowed} are allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Hello;

    fn first() -> Report {
        let hello =
            Hello { node: "n-1.example".into(), agent_version: "0.1".into(), programs: vec!["l7mp".into()] };
        Report { hello: Some(hello), ..Default::default() }
    }

    fn unhealthy(uid: &str, port: u32) -> Report {
        let one = Unhealthy { uid: uid.into(), port, ..Default::default() };
        let verdicts = Verdicts { epoch: 1, sequence: 0, unhealthy: vec![one] };
        Report { verdicts: Some(verdicts), ..first() }
    }

    fn refused(report: &Report) -> String {
        check(report, true).unwrap_err()
    }

    #[test]
    fn whole_report_passes() {
        let plan = PlanStatus { plan: "A/ns/call".into(), ..Default::default() };
        let report = Report { plans: vec![plan], plans_gone: vec!["A/ns/old".into()], ..unhealthy("u", 7) };
        assert_eq!(check(&report, true), Ok(()));
        assert_eq!(check(&Report { hello: None, ..report }, false), Ok(()));
    }

    #[test]
    fn hello_is_said_once_and_first() {
        assert!(check(&first(), false).unwrap_err().starts_with("hello is sent twice"));
        assert!(refused(&Report::default()).starts_with("hello is missing"));
    }

    #[test]
    fn broken_report_is_refused_by_its_field() {
        let named = |node: &str| Report {
            hello: Some(Hello { node: node.into(), ..Default::default() }),
            ..Default::default()
        };
        let of_epoch = |epoch| Report { verdicts: Some(Verdicts { epoch, ..Default::default() }), ..first() };
        let of_plan = |plan: PlanStatus| Report { plans: vec![plan], ..first() };
        let of_unknown = |uid: &str, port, http_path: &str| {
            let check = Check { uid: uid.into(), port, http_path: http_path.into() };
            Report { unknown: Some(Unknown { checks: vec![check], more: false }), ..first() }
        };
        let many = Unknown { checks: vec![Check::default(); UNKNOWN + 1], more: false };
        let long = "x".repeat(NAME + 1);
        let status = PlanStatus { plan: "p".into(), ..Default::default() };
        let cases = [
            (named(""), "hello.node"),
            (named("No Node"), "hello.node"),
            (named(&"n".repeat(254)), "hello.node"),
            (of_epoch(0), "verdicts.epoch"),
            (of_epoch(u64::MAX), "verdicts.epoch"),
            (unhealthy("", 7), "verdicts.unhealthy[0].uid"),
            (unhealthy("u", 0), "verdicts.unhealthy[0].port"),
            (unhealthy("u", 65_536), "verdicts.unhealthy[0].port"),
            (of_unknown("", 7, ""), "unknown.checks[0].uid"),
            (of_unknown("u", 0, ""), "unknown.checks[0].port"),
            (of_unknown("u", 7, &"p".repeat(PATH + 1)), "unknown.checks[0].http_path"),
            (Report { unknown: Some(many), ..first() }, "unknown.checks"),
            (of_plan(PlanStatus::default()), "plans.plan"),
            (of_plan(PlanStatus { refusal: long.clone(), ..status.clone() }), "plans[p].refusal"),
            (of_plan(PlanStatus { conflicts: vec![long.clone()], ..status.clone() }), "plans[p].conflicts"),
            (of_plan(PlanStatus { conflicts: vec![String::new(); 101], ..status }), "plans[p].conflicts"),
            (Report { plans_gone: vec![long], ..first() }, "plans_gone"),
            (Report { plans_gone: vec!["p".into(); PLANS + 1], ..first() }, "plans_gone"),
        ];
        for (report, field) in cases {
            let words = refused(&report);
            assert!(words.starts_with(field), "{words:?}, wanted {field}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        let mut text = "aä".to_owned();
        cut(&mut text, 2);
        assert_eq!(text, "a");
    }
}
