//! Parses a rendered text: [`parse`].

use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_api::c::envoy_config::Serialization;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{Reason, VALUES};

/// Returns the values in a rendered text. `b64json` is base64 of the text that is rendered, as in marin3r, so actions
/// inside of it are not seen (seed C.2).
///
/// # Errors
/// Returns an error with the line of the rendered text if it isn't in the given form, has a key twice, or too many values.
pub fn parse(text: &str, serialization: Serialization) -> Result<Value, Reason> {
    let syntax = |serialization, error: String| Reason::Syntax { serialization, error };
    match serialization {
        Serialization::Json => json(text.as_bytes()).map_err(|error| syntax("json", error.to_string())),
        Serialization::B64json => {
            let joined: String = text.split_ascii_whitespace().collect();
            let bytes = STANDARD.decode(joined).map_err(Reason::Base64)?;
            json(&bytes).map_err(|error| syntax("b64json", error.to_string()))
        }
        Serialization::Yaml => Unique(&Cell::new(VALUES))
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(|error| syntax("yaml", error.to_string())),
    }
}

fn json(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Unique(&Cell::new(VALUES)).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads a [`Value`] whose maps have each key once. It counts the values that are left: a few lines of YAML with aliases
/// can make billions.
#[derive(Clone, Copy)]
struct Unique<'a>(&'a Cell<usize>);

// === impl Unique ===

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| D::Error::custom(format_args!("it has more than {VALUES} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            map.insert(key, access.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}
