//! A whole body as JSON with keys in lower case: [`read`].

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::bad_request::BadRequest;

/// Maximum length of a body in bytes. A service with as many ports as are allowed, all with long names, fits.
pub const MAX_BODY: usize = 1024 * 1024;

const WHOLE: &str = "request body";

/// Reads a body. The keys of the returned object are in lower case (ASCII) at every depth.
///
/// serde_json refuses more than 128 levels of depth.
///
/// # Errors
/// Returns an error if the body is longer than [`MAX_BODY`] or isn't a JSON object.
pub(super) fn read(body: &[u8]) -> Result<Value, BadRequest> {
    if body.len() > MAX_BODY {
        let message = format!("has {} bytes: send at most {MAX_BODY}", body.len());
        return Err(BadRequest::new(WHOLE, message));
    }
    let Folded(value) = serde_json::from_slice(body)
        .map_err(|error| BadRequest::new(WHOLE, format!("is not JSON: {error}: send a JSON object")))?;
    if !value.is_object() {
        return Err(BadRequest::new(WHOLE, "must be a JSON object"));
    }
    Ok(value)
}

/// A value whose keys are in lower case.
struct Folded(Value);

/// Builds [`Folded`] in the order of the text, so that the last of several keys wins.
struct Fold;

impl<'de> Deserialize<'de> for Folded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Fold).map(Self)
    }
}

impl<'de> Visitor<'de> for Fold {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Folded(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((key, Folded(value))) = entries.next_entry::<String, Folded>()? {
            all.insert(key.to_ascii_lowercase(), value);
        }
        Ok(Value::Object(all))
    }
}
