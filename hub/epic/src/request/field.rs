//! A field of a body and its path, so that errors name it: [`Field`].

use serde_json::Value;

use super::bad_request::BadRequest;

/// A field that may be absent.
pub(super) struct Field<'a> {
    /// The path from the body's root, in the spelling of the API.
    path: String,
    /// The value; `None` if it is absent or `null`.
    value: Option<&'a Value>,
}

// === impl Field ===

impl<'a> Field<'a> {
    /// Returns the root of a body whose keys are in lower case.
    pub(super) fn root(body: &'a Value) -> Self {
        Self { path: String::new(), value: Some(body) }
    }

    /// Returns a field of this object. An absent object has absent fields.
    ///
    /// # Errors
    /// Returns an error if this isn't an object.
    pub(super) fn child(&self, name: &str) -> Result<Self, BadRequest> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let value = match self.value {
            None => None,
            Some(Value::Object(fields)) => fields.get(&name.to_ascii_lowercase()),
            Some(_) => return Err(self.bad("must be an object")),
        };
        Ok(Self { path, value: value.and_then(given) })
    }

    /// Returns the items of a list, none if it is absent.
    ///
    /// # Errors
    /// Returns an error if this isn't a list, or has more than `most` items.
    pub(super) fn items(&self, most: usize) -> Result<Vec<Self>, BadRequest> {
        let items = match self.value {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.bad("must be a list")),
        };
        if items.len() > most {
            return Err(self.bad(format!("has {} entries: send at most {most}", items.len())));
        }
        let item = |(at, value)| Self { path: format!("{}[{at}]", self.path), value: given(value) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// Returns a text; `None` if it is absent.
    ///
    /// # Errors
    /// Returns an error if this isn't a text, or has more than `most` characters.
    pub(super) fn text(&self, most: usize) -> Result<Option<String>, BadRequest> {
        let text = match self.value {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(_) => return Err(self.bad("must be a text")),
        };
        match text.chars().count() {
            count if count > most => Err(self.bad(format!("has {count} characters: send at most {most}"))),
            _ => Ok(Some(text.clone())),
        }
    }

    /// Returns a text that must be there and not be empty.
    ///
    /// # Errors
    /// As [`Self::text`], and if it is absent or empty.
    pub(super) fn required_text(&self, most: usize) -> Result<String, BadRequest> {
        let text = self.text(most)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.bad("is required and must not be empty"))
    }

    /// Returns a whole number; `None` if it is absent.
    ///
    /// # Errors
    /// Returns an error if this isn't a whole number of 32 bits.
    pub(super) fn integer(&self) -> Result<Option<i32>, BadRequest> {
        let Some(value) = self.value else { return Ok(None) };
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.bad("must be a whole number of 32 bits"))
    }

    /// Returns whether the field is there, with a value other than `null`.
    pub(super) fn is_given(&self) -> bool {
        self.value.is_some()
    }

    /// Returns whether the field is a text.
    pub(super) fn is_text(&self) -> bool {
        self.value.is_some_and(Value::is_string)
    }

    /// Returns an error about this field.
    pub(super) fn bad(&self, message: impl Into<String>) -> BadRequest {
        BadRequest::new(self.path.clone(), message)
    }
}

/// Returns a value other than `null`.
fn given(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null())
}
