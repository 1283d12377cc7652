//! Protocols in the spelling of the document's later edition: `{protocol: UDP, port: 8001}`.

use serde_json::{Map, Value};

use super::Work;
use crate::b::socket;

/// A protocol: its deployed name, the name of its block in the document, and its settings.
pub(super) type Found = (&'static str, &'static str, Value);

// === impl Work ===

impl Work {
    /// Takes a protocol and its settings out of an object. `beside` are the fields that are no settings; they stay.
    pub(super) fn take_protocol(
        &mut self,
        fields: &mut Map<String, Value>,
        path: &str,
        beside: &[&str],
    ) -> Option<Found> {
        let named = fields.remove("protocol")?;
        let name = named.as_str().and_then(socket::named);
        let Some((deployed, block)) = name else {
            let message = format!("must be one of {}, is {named}", socket::names().join(", "));
            self.problem(format!("{path}.protocol"), message);
            return None;
        };
        let (kept, settings) =
            std::mem::take(fields).into_iter().partition(|(key, _)| beside.contains(&key.as_str()));
        *fields = kept;
        let mut settings = Value::Object(settings);
        self.transport(&mut settings, path);
        Some((deployed, block, settings))
    }

    /// Converts `{protocol: UDP, port: 8001}` into `{UDP: {port: 8001}}`. Every other value stays.
    pub(super) fn union(&mut self, value: &mut Value, path: &str) {
        let Some(fields) = value.as_object_mut() else { return };
        match self.take_protocol(fields, path, &[]) {
            Some((deployed, _, settings)) => {
                fields.insert(deployed.into(), settings);
                self.changed(path, format!("protocol: {deployed} is the field {deployed} now"));
            }
            None => fields.values_mut().for_each(|settings| self.transport(settings, path)),
        }
    }

    /// Converts the transport in the settings of a JSONSocket.
    pub(super) fn transport(&mut self, settings: &mut Value, path: &str) {
        if let Some(transport) = settings.get_mut("transport") {
            self.union(transport, &format!("{path}.transport"));
        }
    }
}
