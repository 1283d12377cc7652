//! Conditions of rules: [`read`] translates a JSON predicate over a session's metadata into a predicate over the client's
//! address and port, which is all that an Envoy's listeners can match.

use std::net::IpAddr;

use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::{
    SourceIpInput, SourcePortInput,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, PredicateList, SinglePredicate, single_predicate,
};
use envoy_types::pb::xds::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::xds::r#type::matcher::v3::{RegexMatcher, StringMatcher, regex_matcher};
use portreeve_api::model::{Address, Protocol};
use serde_json::Value;

use super::wire::any;

/// The path of the client's address in a session's metadata.
pub const SOURCE_ADDRESS: &str = "/IP/src_addr";

const ADDRESS_INPUT: &str = "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput";
const PORT_INPUT: &str = "envoy.extensions.matching.common_inputs.network.v3.SourcePortInput";

/// A text that no port has.
const NO_PORT: &str = "none";

/// Translates the JSON predicate of a rule of a listener with this protocol.
///
/// # Errors
/// Returns the part of the predicate that an Envoy can't match.
pub fn read(text: &str, protocol: Protocol) -> Result<Predicate, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("that is not JSON: {error}"))?;
    one(&value, port_path(protocol))
}

/// Returns the predicate that the client has this address and port.
pub fn peer(address: Address) -> Option<Predicate> {
    let ip = address.ip.map(|ip| of_address(MatchPattern::Exact(ip.to_canonical().to_string())));
    let port = address.port.map(|port| of_port(MatchPattern::Exact(port.to_string())));
    let both: Vec<Predicate> = ip.into_iter().chain(port).collect();
    (!both.is_empty()).then(|| all(both))
}

/// Returns the predicate that all of these hold.
pub fn all(predicates: Vec<Predicate>) -> Predicate {
    several(predicates, MatchType::AndMatcher)
}

/// Returns the path of the client's port in the metadata of a session of this protocol.
fn port_path(protocol: Protocol) -> &'static str {
    if protocol == Protocol::Udp { "/UDP/src_port" } else { "/TCP/src_port" }
}

fn one(value: &Value, port: &str) -> Result<Predicate, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let op = text("op").unwrap_or_default();
    if matches!(op, "and" | "or" | "not") {
        if let Some(prefix) = text("path") {
            return Err(format!("with path {prefix} of op {op}"));
        }
        let parts = value.get("apply").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if parts.is_empty() {
            return Err(format!("with op {op} of nothing"));
        }
        let parts = parts.iter().map(|part| one(part, port)).collect::<Result<Vec<_>, _>>()?;
        return Ok(match op {
            "and" => all(parts),
            "or" => any_of(parts),
            _ => not(any_of(parts)),
        });
    }
    let operand = value.get("value").unwrap_or(&Value::Null);
    match text("path").unwrap_or_default() {
        SOURCE_ADDRESS => address(op, operand),
        path if path == port => of_number(op, operand),
        path => Err(format!("at path {path}")),
    }
}

fn address(op: &str, operand: &Value) -> Result<Predicate, String> {
    let text = |value: &Value| match value.as_str() {
        Some(text) if !text.is_empty() => Ok(plain(text)),
        _ => Err(format!("with the address {value}")),
    };
    Ok(of_address(match op {
        "test" => MatchPattern::Exact(text(operand)?),
        "starts" => MatchPattern::Prefix(text(operand)?),
        "ends" => MatchPattern::Suffix(text(operand)?),
        "contains" => MatchPattern::Contains(text(operand)?),
        "in" => {
            let exact = |value| Ok(of_address(MatchPattern::Exact(text(value)?)));
            return Ok(any_of(list(operand)?.iter().map(exact).collect::<Result<_, String>>()?));
        }
        _ => return Err(format!("with op {op} of {SOURCE_ADDRESS}")),
    }))
}

/// Returns an address as Envoy writes it. l7mp shows IPv4 clients of streams as IPv4-mapped IPv6 addresses.
fn plain(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => text.strip_prefix("::ffff:").filter(|rest| !rest.is_empty()).unwrap_or(text).to_owned(),
    }
}

fn of_number(op: &str, operand: &Value) -> Result<Predicate, String> {
    let number = |value: &Value| value.as_i64().ok_or_else(|| format!("with the port {value}"));
    let exact = |number: i64| of_port(MatchPattern::Exact(number.to_string()));
    Ok(match op {
        "test" => exact(number(operand)?),
        "in" => any_of(list(operand)?.iter().map(|one| number(one).map(exact)).collect::<Result<_, _>>()?),
        "less" => between(0, number(operand)?.saturating_sub(1)),
        "more" => between(number(operand)?.saturating_add(1), u16::MAX.into()),
        _ => return Err(format!("with op {op} of a port")),
    })
}

fn list(operand: &Value) -> Result<&Vec<Value>, String> {
    operand.as_array().filter(|all| !all.is_empty()).ok_or_else(|| format!("with op in of {operand}"))
}

/// Returns the predicate that the client's port is one of these.
fn between(low: i64, high: i64) -> Predicate {
    let (low, high) = (low.clamp(0, 1 << 16), high.clamp(-1, u16::MAX.into()));
    let Some((low, high)) =
        u32::try_from(low).ok().zip(u32::try_from(high).ok()).filter(|(low, high)| low <= high)
    else {
        return of_port(MatchPattern::Exact(NO_PORT.into()));
    };
    let engine_type = Some(regex_matcher::EngineType::GoogleRe2(regex_matcher::GoogleRe2 {}));
    of_port(MatchPattern::SafeRegex(RegexMatcher { regex: numbers(low, high), engine_type }))
}

/// Returns a regular expression for the decimal numbers from `low` to `high`: one alternative for each block of numbers
/// that differ from the next block in one digit.
fn numbers(low: u32, high: u32) -> String {
    let mut blocks = Vec::new();
    let mut next = low;
    while next <= high {
        let (mut size, mut free) = (1, 0);
        while next != 0 && next.is_multiple_of(size * 10) && next + size * 10 - 1 <= high {
            (size, free) = (size * 10, free + 1);
        }
        let digit = next / size % 10;
        let more = (9 - digit).min((high - next + 1) / size - 1);
        let before = match next / size / 10 {
            0 => String::new(),
            before => before.to_string(),
        };
        blocks.push(format!("{before}[{digit}-{}]{}", digit + more, "[0-9]".repeat(free)));
        next += (more + 1) * size;
    }
    blocks.join("|")
}

fn of_address(pattern: MatchPattern) -> Predicate {
    single("source address", any(ADDRESS_INPUT, &SourceIpInput {}), pattern)
}

fn of_port(pattern: MatchPattern) -> Predicate {
    single("source port", any(PORT_INPUT, &SourcePortInput {}), pattern)
}

fn single(name: &str, input: Any, pattern: MatchPattern) -> Predicate {
    let text = StringMatcher { ignore_case: false, match_pattern: Some(pattern) };
    let one = SinglePredicate {
        input: Some(TypedExtensionConfig { name: name.into(), typed_config: Some(input) }),
        matcher: Some(single_predicate::Matcher::ValueMatch(text)),
    };
    Predicate { match_type: Some(MatchType::SinglePredicate(one)) }
}

fn not(predicate: Predicate) -> Predicate {
    Predicate { match_type: Some(MatchType::NotMatcher(Box::new(predicate))) }
}

fn any_of(predicates: Vec<Predicate>) -> Predicate {
    several(predicates, MatchType::OrMatcher)
}

/// Combines predicates. Envoy's lists have two entries at least.
fn several(mut predicates: Vec<Predicate>, combine: impl Fn(PredicateList) -> MatchType) -> Predicate {
    match predicates.len() {
        1 => predicates.remove(0),
        _ => Predicate { match_type: Some(combine(PredicateList { predicate: predicates })) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether a regular expression of [`numbers`] matches all of a text.
    fn matches(regex: &str, text: &str) -> bool {
        let fits = |block: &str| {
            let (mut rest, mut block) = (text, block);
            while let Some(first) = rest.chars().next() {
                let (class, length) = match block.strip_prefix('[') {
                    Some(class) => (class.get(0..3).unwrap_or_default(), 5),
                    None => (block.get(0..1).unwrap_or_default(), 1),
                };
                let bounds = (class.chars().next(), class.chars().last());
                let (Some(low), Some(high)) = bounds else { return false };
                if !(low..=high).contains(&first) {
                    return false;
                }
                (rest, block) = (&rest[1..], &block[length..]);
            }
            block.is_empty()
        };
        regex.split('|').any(fits)
    }

    #[test]
    fn ranges_of_numbers_match_exactly_those() {
        for (low, high) in [(0, 0), (0, 65_535), (9000, 9099), (7, 123), (99, 101), (1024, 65_535), (10, 10)]
        {
            let regex = numbers(low, high);
            for number in 0..=66_000 {
                let wanted = (low..=high).contains(&number);
                assert_eq!(
                    matches(&regex, &number.to_string()),
                    wanted,
                    "{number} in {low} to {high}: {regex}"
                );
            }
        }
    }

    #[test]
    fn what_an_envoy_can_not_match_is_named() {
        for (text, told) in [
            (r#"{"op": "test", "path": "/labels/a", "value": "b"}"#, "at path /labels/a"),
            (r#"{"op": "test", "path": "/TCP/src_port", "value": 9}"#, "at path /TCP/src_port"),
            (
                r#"{"op": "matches", "path": "/IP/src_addr", "value": "10.*"}"#,
                "with op matches of /IP/src_addr",
            ),
            (r#"{"op": "defined", "path": "/IP/src_addr"}"#, "with op defined of /IP/src_addr"),
            (r#"{"op": "test", "path": "/IP/src_addr", "value": 7}"#, "with the address 7"),
            (r#"{"op": "test", "path": "/UDP/src_port", "value": "9"}"#, "with the port \"9\""),
            (r#"{"op": "in", "path": "/UDP/src_port", "value": []}"#, "with op in of []"),
            (r#"{"op": "starts", "path": "/UDP/src_port", "value": "9"}"#, "with op starts of a port"),
            (
                r#"{"op": "and", "path": "/IP", "apply": [{"op": "test", "path": "/src_addr", "value": "10.0.0.1"}]}"#,
                "with path /IP of op and",
            ),
            (r#"{"op": "not", "apply": []}"#, "with op not of nothing"),
            ("{", "that is not JSON: EOF while parsing an object at line 1 column 1"),
        ] {
            assert_eq!(read(text, Protocol::Udp).unwrap_err(), told, "{text}");
        }
    }

    #[test]
    fn mapped_addresses_of_streams_are_plain_ones() {
        for (given, wanted) in [
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:10.", "10."),
            ("10.0.0.1", "10.0.0.1"),
            ("FD00:0::1", "fd00::1"),
            ("::ffff:", "::ffff:"),
        ] {
            assert_eq!(plain(given), wanted);
        }
    }
}
