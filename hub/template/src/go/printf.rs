//! Go's `Sprintf` without flags, widths and indices: [`printf`].

use super::value::Value;

/// Returns the text that the first argument, a format, makes of the others.
///
/// # Errors
/// Returns an error if a verb isn't supported or doesn't fit its value, or if there are more or fewer values than verbs.
pub fn printf(arguments: &[Value]) -> Result<String, String> {
    let [Value::Text(format), values @ ..] = arguments else {
        return Err("needs a format first".to_owned());
    };
    let mut values = values.iter();
    let mut output = String::new();
    let mut rest: &str = format;
    while let Some((text, after)) = rest.split_once('%') {
        output.push_str(text);
        let verb = after.chars().next().ok_or("the format ends with %")?;
        match verb {
            '%' => output.push('%'),
            's' | 'd' | 'v' | 'q' | 't' => {
                let value = values.next().ok_or("the format has more verbs than there are values")?;
                output.push_str(&verbatim(verb, value)?);
            }
            _ => {
                return Err(format!(
                    "%{} is not supported: only %s, %d, %v, %q, %t and %% are",
                    verb.escape_debug()
                ));
            }
        }
        rest = &after[verb.len_utf8()..];
    }
    output.push_str(rest);
    match values.next() {
        Some(_) => Err("there are more values than verbs in the format".to_owned()),
        None => Ok(output),
    }
}

fn verbatim(verb: char, value: &Value) -> Result<String, String> {
    let text = match (verb, value) {
        ('v', _) | ('s' | 'q', Value::Text(_)) | ('d', Value::Int(_)) | ('t', Value::Bool(_)) => {
            value.printed()
        }
        _ => None,
    };
    match text {
        Some(text) if verb == 'q' => Ok(serde_json::Value::from(&*text).to_string()),
        Some(text) => Ok(text.to_string()),
        None => Err(format!("%{verb} doesn't fit {}", value.kind())),
    }
}
