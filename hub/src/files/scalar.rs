//! Plain scalars as kubectl reads them: YAML 1.1 in go-yaml's variant, where `yes`, `off` and `n` are booleans, `010`
//! and `0o10` are 8, and `1_000` is a thousand. Entry points: [`plain`] and [`tagged`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

/// Largest float that represents its integer exactly and is written as an integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Returns the value of a scalar without quotes and tag.
///
/// # Errors
/// Returns an error for numbers that JSON doesn't have: infinities and NaN.
pub(super) fn plain(text: &str) -> Result<Value, String> {
    if let Some(value) = word(text) {
        return Ok(value);
    }
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan"
        | ".NaN" | ".NAN" => return Err(format!("{text}: infinities and NaN are not supported")),
        _ => {}
    }
    let value = match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits))
        }
        Some(b'.') => float(text),
        _ => None,
    };
    Ok(value.unwrap_or_else(|| Value::String(text.to_owned())))
}

/// Returns the value of a scalar with one of YAML's own tags (`str`, `int` …), quoted or not.
///
/// # Errors
/// Returns an error if the text doesn't have that type.
pub(super) fn tagged(tag: &str, text: &str) -> Result<Value, String> {
    let wrong = || format!("{text:?} is not a valid !!{tag}");
    let value = match tag {
        "binary" => {
            let joined: String = text.split_ascii_whitespace().collect();
            let bytes = STANDARD.decode(joined).map_err(|_| wrong())?;
            return Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        }
        "int" | "float" | "bool" | "null" => plain(text)?,
        _ => return Ok(Value::String(text.to_owned())),
    };
    let fits = match tag {
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        "bool" => value.is_boolean(),
        _ => value.is_null(),
    };
    if fits { Ok(value) } else { Err(wrong()) }
}

/// Converts floats without a fraction to integers, as Go's JSON encoder does: `2.0` and `2e3` are accepted for integer
/// fields.
pub(super) fn normalise(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64() {
                *number = exact(float).unwrap_or_else(|| number.clone());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Object(fields) => fields.values_mut().for_each(normalise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn word(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(Value::Bool(true))
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Value::Bool(false))
        }
        _ => None,
    }
}

fn integer(text: &str) -> Option<Value> {
    let (negative, magnitude) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &magnitude[2..]),
        [b'0', b'o' | b'O', ..] => (8, &magnitude[2..]),
        [b'0', b'b' | b'B', ..] => (2, &magnitude[2..]),
        [b'0', _, ..] => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    // `from_str_radix` would accept a second sign.
    let found =
        digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok())??;
    match negative {
        true => i64::try_from(-i128::from(found)).ok().map(Value::from),
        false => Some(Value::from(found)),
    }
}

fn float(text: &str) -> Option<Value> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = body.split_once(['e', 'E']).map_or((body, None), |(m, e)| (m, Some(e)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = !whole.is_empty() || !fraction.is_empty();
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    if !(some && digits(whole) && digits(fraction) && exponent_fits) {
        return None;
    }
    // A number that is too large for a float is a text.
    let found: f64 = text.parse().ok().filter(|f: &f64| f.is_finite())?;
    exact(found).or_else(|| Number::from_f64(found)).map(Value::Number)
}

fn exact(float: f64) -> Option<Number> {
    let whole = float.fract() == 0.0 && float.abs() <= EXACT;
    // Within these limits, a whole float has the text of an integer.
    whole.then(|| format!("{float:.0}").parse::<i64>().ok()).flatten().map(Number::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_are_those_of_kubectl() {
        // The results of kubectl 1.34.
        for (text, value) in [
            ("yes", json!(true)),
            ("On", json!(true)),
            ("y", json!(true)),
            ("N", json!(false)),
            ("Off", json!(false)),
            ("tRue", json!("tRue")),
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("010", json!(8)),
            ("-010", json!(-8)),
            ("0o17", json!(15)),
            ("0O17", json!(15)),
            ("0o8", json!("0o8")),
            ("0_7", json!(7)),
            ("08", json!(8)),
            ("0x1F", json!(31)),
            ("0x_1F", json!(31)),
            ("-0x10", json!(-16)),
            ("0b11", json!(3)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1000)),
            ("_1", json!("_1")),
            ("+5", json!(5)),
            ("-0", json!(0)),
            ("--1", json!("--1")),
            ("1e3", json!(1000)),
            ("1.", json!(1)),
            (".5", json!(0.5)),
            ("+.5", json!(0.5)),
            ("1_0.5", json!(10.5)),
            ("1e400", json!("1e400")),
            ("1e-7", json!(1e-7)),
            ("1:30", json!("1:30")),
            ("2001-01-01", json!("2001-01-01")),
            ("1.2.3.4", json!("1.2.3.4")),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            ("12345678901234567890123", json!(1.234_567_890_123_456_8e22)),
            ("0x", json!("0x")),
            ("-", json!("-")),
            (".", json!(".")),
            ("=", json!("=")),
            ("größe", json!("größe")),
        ] {
            assert_eq!(plain(text).unwrap(), value, "{text:?}");
        }
        assert!(plain(".inf").is_err() && plain("-.Inf").is_err() && plain(".NaN").is_err());
    }

    #[test]
    fn a_tag_decides_or_refuses() {
        assert_eq!(tagged("str", "010").unwrap(), json!("010"));
        assert_eq!(tagged("int", "5").unwrap(), json!(5));
        assert_eq!(tagged("float", "1").unwrap(), json!(1));
        assert_eq!(tagged("bool", "yes").unwrap(), json!(true));
        assert_eq!(tagged("binary", "aGVs\n bG8=").unwrap(), json!("hello"));
        assert!(
            tagged("int", "x").is_err() && tagged("null", "x").is_err() && tagged("binary", "*").is_err()
        );
    }

    #[test]
    fn whole_floats_of_json_are_integers() {
        let mut value = json!({"a": [1.0, 2e3, 0.5, 1e300]});
        normalise(&mut value);
        assert_eq!(value, json!({"a": [1, 2000, 0.5, 1e300]}));
    }
}
