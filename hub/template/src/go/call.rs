//! The functions of templates: [`call`]. They are those of Go's text/template that a configuration can need, and EPIC's
//! `ToUpper`.

use std::cmp::Ordering;

use super::error::Problem;
use super::limits::OUTPUT_BYTES;
use super::printf::printf;
use super::value::Value;

/// The functions' names.
pub const NAMES: [&str; 15] = [
    "ToUpper", "and", "eq", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println",
];

/// Returns the function of a name.
pub fn function(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|known| *known == name)
}

/// Calls a function.
///
/// # Errors
/// Returns an error if the arguments are not those of the function, or if the result is too long.
pub fn call(function: &'static str, arguments: &[Value]) -> Result<Value, Problem> {
    let result = match function {
        "and" | "or" | "not" => logic(function, arguments),
        "len" | "index" => list(function, arguments),
        "print" => print(arguments, false),
        "println" => print(arguments, true),
        "printf" => printf(arguments).map(|text| Value::text(&text)),
        "ToUpper" => match arguments {
            [Value::Text(text)] => Ok(Value::text(&text.to_uppercase())),
            _ => Err(wants("one text", arguments)),
        },
        _ => compare(function, arguments).map(Value::Bool),
    };
    match result {
        Ok(Value::Text(text)) if text.len() > OUTPUT_BYTES => Err(Problem::OutputBytes),
        result => result.map_err(|reason| Problem::Call { function, reason }),
    }
}

/// Returns that a function wants other arguments.
fn wants(what: &str, arguments: &[Value]) -> String {
    let kinds: Vec<&str> = arguments.iter().take(4).map(Value::kind).collect();
    match kinds.is_empty() {
        true => format!("needs {what}, not nothing"),
        false => format!("needs {what}, not {}", kinds.join(" and ")),
    }
}

fn logic(function: &str, arguments: &[Value]) -> Result<Value, String> {
    match (function, arguments) {
        ("not", [value]) => Ok(Value::Bool(!value.truth())),
        ("not", _) => Err(wants("one value", arguments)),
        (_, []) => Err(wants("a value", arguments)),
        (_, [.., last]) => {
            let found = arguments.iter().find(|value| value.truth() == (function == "or"));
            Ok(found.unwrap_or(last).clone())
        }
    }
}

fn list(function: &str, arguments: &[Value]) -> Result<Value, String> {
    match (function, arguments) {
        ("len", [Value::Text(text)]) => Ok(int(text.len())),
        ("len", [Value::List(values)]) => Ok(int(values.len())),
        ("len", _) => Err(wants("one text or list", arguments)),
        (_, [Value::List(values), Value::Int(index)]) => {
            let found = usize::try_from(*index).ok().and_then(|index| values.get(index));
            found.cloned().ok_or_else(|| format!("there is no element {index} among {}", values.len()))
        }
        _ => Err(wants("a list and a number", arguments)),
    }
}

fn int(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

fn compare(function: &str, arguments: &[Value]) -> Result<bool, String> {
    match (function, arguments) {
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let found: Vec<bool> =
                others.iter().map(|other| equal(first, other)).collect::<Result<_, _>>()?;
            Ok(found.contains(&true))
        }
        ("ne", [a, b]) => equal(a, b).map(|equal| !equal),
        ("lt", [a, b]) => order(a, b).map(Ordering::is_lt),
        ("le", [a, b]) => order(a, b).map(Ordering::is_le),
        ("gt", [a, b]) => order(a, b).map(Ordering::is_gt),
        ("ge", [a, b]) => order(a, b).map(Ordering::is_ge),
        _ => Err(wants("two values", arguments)),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        _ => order(a, b).map(Ordering::is_eq),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        _ => Err(format!("can't compare {} and {}", a.kind(), b.kind())),
    }
}

/// Go's `Sprint`, which puts spaces between operands that are both no texts, or its `Sprintln`, which puts them everywhere.
fn print(arguments: &[Value], line: bool) -> Result<Value, String> {
    let mut output = String::new();
    let mut texts = true;
    for (at, value) in arguments.iter().enumerate() {
        let text = value.printed().ok_or_else(|| format!("{} can't be printed", value.kind()))?;
        let is_text = matches!(value, Value::Text(_));
        if at > 0 && (line || !(is_text || texts)) {
            output.push(' ');
        }
        output.push_str(&text);
        texts = is_text;
    }
    if line {
        output.push('\n');
    }
    Ok(Value::text(&output))
}
