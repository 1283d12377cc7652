//! One YAML document as kubectl reads it: the parser's events become a JSON value. Entry point: [`read`].
//!
//! If a key is repeated, the last value is used. `<<` merges, and later values win. The crate `granit-parser`
//! distinguishes quoted from plain scalars, which YAML 1.1 requires; kube's own YAML library is built on it.

use std::collections::{BTreeSet, HashMap};

use granit_parser::{Event, Parser, ScalarStyle, Tag, options};
use serde_json::{Map, Value};

use super::scalar;

/// Maximum nesting depth of maps and lists.
const MAX_DEPTH: usize = 100;

/// Maximum number of values that the aliases of one document expand to.
const MAX_ALIASED: usize = 100_000;

/// The reason why a document can't be parsed, and its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line, counted from 1.
    pub(super) line: usize,
    /// The problem.
    pub(super) text: String,
}

/// The content of a document.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Content {
    /// The value; `None` for an empty document or one with only comments.
    pub(super) value: Option<Value>,
    /// Repeated keys in one map, with the line of the later one.
    pub(super) doubles: Vec<(usize, String)>,
}

/// Reads the only document of a text.
///
/// # Errors
/// Returns an error if the text is not YAML, has a second document, or exceeds the limits on nesting or aliases.
pub(super) fn read(text: &str) -> Result<Content, Fault> {
    let mut composer = Composer::default();
    // The parser's buffer holds only a few consecutive comments.
    let options = options! { emit_comments: false };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|e| Fault { line: e.marker().line(), text: e.info() })?;
        let line = span.start.line();
        composer.take(event, line).map_err(|text| Fault { line, text })?;
    }
    Ok(Content { value: composer.done, doubles: composer.doubles })
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    done: Option<Value>,
    /// Complete nodes by the number of their anchor.
    anchors: HashMap<usize, Node>,
    aliased: usize,
    documents: usize,
    doubles: Vec<(usize, String)>,
}

/// A map or list whose end has not been read yet.
struct Open {
    anchor: usize,
    size: usize,
    holds: Holds,
}

enum Holds {
    List(Vec<Value>),
    Map(Fields, Option<Key>),
}

#[derive(Default)]
struct Fields {
    all: Map<String, Value>,
    /// Keys of `all` that only came from a merge.
    merged: BTreeSet<String>,
}

enum Key {
    Field(String),
    Merge,
}

/// A complete node.
#[derive(Clone)]
struct Node {
    value: Value,
    /// Number of values in the node, including itself.
    size: usize,
    /// Whether the node is the merge key `<<`.
    merges: bool,
}

// === impl Composer ===

impl Composer {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err("a second document must start with ---".into()),
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let merges = style == ScalarStyle::Plain && text == "<<";
                let value = scalar_value(&text, style, tag.as_deref())?;
                self.put(anchor, Node { value, size: 1, merges }, line)
            }
            Event::SequenceStart(_, anchor, _) => self.open(anchor, Holds::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.open(anchor, Holds::Map(Fields::default(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.close(line),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).ok_or("an anchor is used within its own value")?.clone();
                self.aliased += node.size;
                if self.aliased > MAX_ALIASED {
                    return Err(format!("its aliases stand for more than {MAX_ALIASED} values"));
                }
                self.put(0, node, line)
            }
            // Comments, and ends of documents and streams.
            _ => Ok(()),
        }
    }

    fn open(&mut self, anchor: usize, holds: Holds) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("maps and lists are nested more than {MAX_DEPTH} levels deep"));
        }
        self.open.push(Open { anchor, size: 1, holds });
        Ok(())
    }

    fn close(&mut self, line: usize) -> Result<(), String> {
        let Some(Open { anchor, size, holds }) = self.open.pop() else { return Ok(()) };
        let value = match holds {
            Holds::List(items) => Value::Array(items),
            Holds::Map(fields, _) => Value::Object(fields.all),
        };
        self.put(anchor, Node { value, size, merges: false }, line)
    }

    fn put(&mut self, anchor: usize, node: Node, line: usize) -> Result<(), String> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.done = Some(node.value).filter(|value| !value.is_null());
            return Ok(());
        };
        open.size += node.size;
        match &mut open.holds {
            Holds::List(items) => items.push(node.value),
            Holds::Map(fields, key) => match key.take() {
                None => *key = Some(as_key(node)?),
                Some(Key::Merge) => fields.merge(node.value)?,
                Some(Key::Field(name)) => {
                    self.doubles.extend(fields.set(name, node.value).map(|k| (line, k)))
                }
            },
        }
        Ok(())
    }
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let own = tag.map(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
    match (own, style) {
        (Some(Some(own)), _) => scalar::tagged(&own, text),
        (None, ScalarStyle::Plain) => scalar::plain(text),
        // A quoted scalar, or one with a custom tag.
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn as_key(node: Node) -> Result<Key, String> {
    if node.merges {
        return Ok(Key::Merge);
    }
    match node.value {
        Value::String(text) => Ok(Key::Field(text)),
        Value::Bool(value) => Ok(Key::Field(value.to_string())),
        Value::Number(number) => Ok(Key::Field(number.to_string())),
        Value::Null => Err("null can't be a key".into()),
        Value::Array(_) | Value::Object(_) => Err("a map or a list can't be a key".into()),
    }
}

// === impl Fields ===

impl Fields {
    /// Sets a field. Returns its key if the key was already present.
    fn set(&mut self, key: String, value: Value) -> Option<String> {
        let merged = self.merged.remove(&key);
        let old = self.all.insert(key.clone(), value);
        old.filter(|_| !merged).map(|_| key)
    }

    /// If several maps are merged, the first one wins.
    fn merge(&mut self, value: Value) -> Result<(), String> {
        let maps = match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        for map in maps.into_iter().rev() {
            let Value::Object(map) = map else { return Err("<< needs a map, or a list of maps".into()) };
            self.merged.extend(map.keys().filter(|key| !self.all.contains_key(*key)).cloned());
            self.all.extend(map);
        }
        Ok(())
    }
}
