//! Walks through the JSON of a message along its descriptor: [`Shaper`].

use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::problem::{FieldError, Problem, Refused};
use super::{denied, extension, types, v2};
use crate::descriptors::Descriptors;

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const CONFIG_SOURCE: &str = "envoy.config.core.v3.ConfigSource";
const ANY: &str = "google.protobuf.Any";
const WELL_KNOWN: &str = "google.protobuf.";
const TYPE_URL: &str = "type.googleapis.com/";

/// The longest value or list that an error repeats, in characters.
const SHOWN: usize = 300;

/// Makes a message of Envoy's API v3 of a parsed template.
#[derive(Clone, Copy, Debug)]
pub struct Shaper<'a> {
    /// The descriptors of Envoy's messages.
    pub descriptors: &'a Descriptors,
    /// Whether the template is for API v2.
    pub v2: bool,
    /// Whether TLS contexts are those of connections to endpoints: the resource is a cluster.
    pub upstream: bool,
}

struct Walk<'a> {
    shaper: Shaper<'a>,
    path: String,
}

// === impl Shaper ===

impl Shaper<'_> {
    /// Changes the JSON of a message until it fits its descriptor: fields are in snake case, fields and types of v2 are
    /// rewritten, extensions have their types, and what would be asked from a server comes from ADS.
    ///
    /// # Errors
    /// Returns an error with the field's path if a field is unknown, can't be rewritten, or isn't allowed.
    pub fn shape(&self, value: &mut Value, message: &MessageDescriptor) -> Result<(), FieldError> {
        let mut walk = Walk { shaper: *self, path: String::new() };
        let shaped = walk.whole(value, message);
        shaped.map_err(|problem| FieldError { path: walk.path, problem })
    }
}

// === impl Walk ===

impl Walk<'_> {
    /// Walks through a resource. It may name its type.
    fn whole(&mut self, value: &mut Value, message: &MessageDescriptor) -> Result<(), Problem> {
        self.path = message.name().to_owned();
        if let Some(named) = value.as_object_mut().and_then(|object| object.remove("@type")) {
            let named = self.name_of(&named)?;
            if named != message.full_name() {
                return Err(Problem::Value(format!(
                    "is a {named}, but this list has {}",
                    message.full_name()
                )));
            }
        }
        self.object(value, message)
    }

    /// Runs a part of the walk at a longer path. The path stays where an error is.
    fn at(&mut self, step: &str, part: impl FnOnce(&mut Self) -> Result<(), Problem>) -> Result<(), Problem> {
        let length = self.path.len();
        if !step.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(&shown(step));
        part(self)?;
        self.path.truncate(length);
        Ok(())
    }

    fn refused<T>(&mut self, result: Result<T, Refused>) -> Result<T, Problem> {
        result.map_err(|Refused { field, problem }| {
            if !field.is_empty() {
                self.path = format!("{}.{field}", self.path);
            }
            problem
        })
    }

    fn object(&mut self, value: &mut Value, message: &MessageDescriptor) -> Result<(), Problem> {
        let name = message.full_name();
        denied::message(name)?;
        let has = kind(value);
        let object = value.as_object_mut().ok_or(Problem::Kind { wants: "an object", has })?;
        self.snake_case(object, message)?;
        if self.shaper.v2 {
            let rewritten = v2::rewrite(name, object);
            self.refused(rewritten)?;
        }
        let completed = extension::complete(name, object, self.shaper.v2, self.shaper.upstream);
        self.refused(completed)?;
        if name == CLUSTER {
            by_eds(object);
        }
        for (key, value) in object.iter_mut() {
            self.at(key, |walk| walk.member(message, key, value))?;
        }
        one_of(object, message)?;
        if name == CONFIG_SOURCE {
            // All resources come by ADS, whatever server the template names (seed C.6 "v2 templates").
            object.retain(|field, _| field == "initial_fetch_timeout");
            object.insert("ads".to_owned(), json!({}));
            object.insert("resource_api_version".to_owned(), json!("V3"));
        }
        Ok(())
    }

    /// Renames fields from camel case, and removes those that are null, which protobuf takes for missing.
    fn snake_case(
        &mut self,
        object: &mut Map<String, Value>,
        message: &MessageDescriptor,
    ) -> Result<(), Problem> {
        for (key, value) in std::mem::take(object) {
            let field = message.get_field_by_name(&key).or_else(|| message.get_field_by_json_name(&key));
            let nullable = field.as_ref().is_some_and(|field| is_message(field, "google.protobuf.Value"));
            if value.is_null() && !nullable {
                continue;
            }
            let name = field.map_or_else(|| snake_case(&key), |field| field.name().to_owned());
            if object.insert(name, value).is_some() {
                return self.at(&key, |_| Err(Problem::Twice));
            }
        }
        Ok(())
    }

    fn member(&mut self, message: &MessageDescriptor, key: &str, value: &mut Value) -> Result<(), Problem> {
        let unknown = || Problem::Unknown { message: message.full_name().to_owned(), v2: self.shaper.v2 };
        let field = message.get_field_by_name(key).ok_or_else(unknown)?;
        denied::field(message.full_name(), key, value)?;
        denied::unserved(key)?;
        let has = kind(value);
        if field.is_map() {
            let entries = value.as_object_mut().ok_or(Problem::Kind { wants: "an object", has })?;
            let Kind::Message(entry) = field.kind() else { return Ok(()) };
            for (key, value) in entries.iter_mut() {
                self.at(&format!("[{key}]"), |walk| walk.single(&entry.map_entry_value_field(), value))?;
            }
        } else if field.is_list() {
            let elements = value.as_array_mut().ok_or(Problem::Kind { wants: "a list", has })?;
            for (index, element) in elements.iter_mut().enumerate() {
                self.at(&format!("[{index}]"), |walk| walk.single(&field, element))?;
            }
        } else {
            self.single(&field, value)?;
        }
        match field.kind() {
            Kind::Message(inner) if !inner.full_name().starts_with(WELL_KNOWN) && !field.is_map() => Ok(()),
            _ => probe(message, key, value),
        }
    }

    /// Walks through one value of a field.
    fn single(&mut self, field: &FieldDescriptor, value: &mut Value) -> Result<(), Problem> {
        match field.kind() {
            Kind::Message(message) if message.full_name() == ANY => self.any(value),
            Kind::Message(message) if !message.full_name().starts_with(WELL_KNOWN) => {
                self.object(value, &message)
            }
            Kind::Message(_) => texts(value),
            Kind::Enum(descriptor) => constant(&descriptor, value),
            Kind::String => match value {
                Value::String(text) => denied::text(text),
                Value::Bool(_) | Value::Number(_) => Err(Problem::Unquoted(kind(value))),
                _ => Err(Problem::Kind { wants: "a text", has: kind(value) }),
            },
            _ => Ok(()),
        }
    }

    /// Walks through an `Any`, which becomes one of API v3.
    fn any(&mut self, value: &mut Value) -> Result<(), Problem> {
        let has = kind(value);
        let object = value.as_object_mut().ok_or(Problem::Kind { wants: "an object", has })?;
        let name = self.name_of(&object.remove("@type").ok_or(Problem::NoType)?)?;
        denied::any(&name)?;
        let message = self.shaper.descriptors.message(&name).map_err(|_| {
            let (beginning, known) = self.shaper.descriptors.near(&name);
            Problem::UnknownType { name: shown(&name), beginning, known: shown(&known.join(", ")) }
        })?;
        if message.full_name().starts_with(WELL_KNOWN) {
            texts(value)?;
        } else {
            self.object(value, &message)?;
        }
        if let Some(object) = value.as_object_mut() {
            object.insert("@type".to_owned(), json!(format!("{TYPE_URL}{name}")));
        }
        Ok(())
    }

    /// Returns the name of an `@type` in API v3.
    fn name_of(&self, url: &Value) -> Result<String, Problem> {
        let text = url.as_str().ok_or(Problem::Kind { wants: "a text", has: kind(url) })?;
        let name = text.strip_prefix(TYPE_URL).ok_or_else(|| Problem::NotAType(shown(text)))?;
        match types::in_v3(name) {
            Some(v3) if self.shaper.v2 => Ok(v3),
            Some(_) => Err(Problem::V2Type(shown(name))),
            None => Ok(name.to_owned()),
        }
    }
}

/// Gives a cluster whose endpoints come by EDS the place to ask for them.
fn by_eds(cluster: &mut Map<String, Value>) {
    let is_eds = cluster.get("type").is_some_and(|ty| {
        *ty == json!(3) || ty.as_str().is_some_and(|name| name.eq_ignore_ascii_case("EDS"))
    });
    if !is_eds {
        return;
    }
    let config = cluster.entry("eds_cluster_config").or_insert_with(|| json!({}));
    if let Some(config) = config.as_object_mut()
        && !config.contains_key("edsConfig")
    {
        config.entry("eds_config").or_insert_with(|| json!({}));
    }
}

/// Returns an error if there are two fields of which a message has only one.
fn one_of(object: &Map<String, Value>, message: &MessageDescriptor) -> Result<(), Problem> {
    for choice in message.oneofs() {
        let fields = choice.fields().map(|field| field.name().to_owned());
        let given: Vec<String> = fields.filter(|field| object.contains_key(field)).collect();
        if given.len() > 1 {
            return Err(Problem::OneOf(given.join(", ")));
        }
    }
    Ok(())
}

/// Returns an error if a field's value can't be read. The fields inside of it were looked at before.
fn probe(message: &MessageDescriptor, key: &str, value: &Value) -> Result<(), Problem> {
    let alone = json!({key: value});
    match DynamicMessage::deserialize(message.clone(), alone) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::Value(shown(&error.to_string()))),
    }
}

/// Looks at all texts inside of a value.
fn texts(value: &Value) -> Result<(), Problem> {
    match value {
        Value::String(text) => denied::text(text),
        Value::Array(values) => values.iter().try_for_each(texts),
        Value::Object(fields) => fields.values().try_for_each(texts),
        _ => Ok(()),
    }
}

/// Changes the name of an enum's value to upper case, because Envoy reads lower case too.
fn constant(descriptor: &EnumDescriptor, value: &mut Value) -> Result<(), Problem> {
    let Value::String(name) = value else { return Ok(()) };
    if descriptor.get_value_by_name(name).is_some() {
        return Ok(());
    }
    let upper = name.to_ascii_uppercase().replace('-', "_");
    if descriptor.get_value_by_name(&upper).is_none() {
        let known: Vec<String> = descriptor.values().map(|value| value.name().to_owned()).collect();
        return Err(Problem::Enum { value: shown(name), known: shown(&known.join(", ")) });
    }
    *name = upper;
    Ok(())
}

fn is_message(field: &FieldDescriptor, name: &str) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() == name)
}

fn snake_case(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
