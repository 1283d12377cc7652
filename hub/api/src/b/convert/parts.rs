//! The parts that objects have in common: numbers, lists, rules, routes and clusters.

use serde_json::{Map, Value, json};

use super::Work;

/// Fields that hold whole numbers.
const NUMBERS: [&str; 6] = ["port", "num_retries", "timeout", "weight", "track", "position"];
/// Fields that hold what users or their sessions define.
const FREE: [&str; 4] = ["match", "value", "matchLabels", "header"];
/// The fields of a cluster that don't belong to its protocol.
const CLUSTER: [&str; 5] = ["name", "endpoints", "loadbalancer", "serviceName", "options"];

// === impl Work ===

impl Work {
    /// Converts numbers that YAML reads as texts, such as `8001,`.
    pub(super) fn numbers(&mut self, value: &mut Value, path: &str) {
        match value {
            Value::Object(fields) => {
                for (key, field) in fields.iter_mut().filter(|(key, _)| !FREE.contains(&key.as_str())) {
                    let path = format!("{path}.{key}");
                    match field.as_str().filter(|_| NUMBERS.contains(&key.as_str())).map(str::to_owned) {
                        Some(text) => self.number(field, &text, &path),
                        None => self.numbers(field, &path),
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.numbers(item, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn number(&mut self, field: &mut Value, text: &str, path: &str) {
        match text.trim().trim_end_matches(',').parse::<u32>() {
            Ok(number) => {
                *field = number.into();
                self.changed(path, format!("the text {text:?} is the number {number} now"));
            }
            Err(_) => self.problem(path, format!("must be a whole number, for example 8001, is {text:?}")),
        }
    }

    /// Puts a field that is to be a list, but holds one item, into a list.
    pub(super) fn list(&mut self, fields: &mut Map<String, Value>, key: &str, path: &str) {
        let Some(field) = fields.get_mut(key) else { return };
        // The text of `rules` is the name of a list.
        if field.is_object() || field.is_string() && key != "rules" {
            *field = json!([field.take()]);
            self.changed(&format!("{path}.{key}"), "is a list with one item now");
        }
    }

    /// Converts the rules in an object, and in their routes.
    pub(super) fn rules(&mut self, fields: &mut Map<String, Value>, path: &str) {
        self.list(fields, "rules", path);
        let rules = fields.get_mut("rules").and_then(Value::as_array_mut);
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            self.rule(rule, &format!("{path}.rules[{index}]"));
        }
    }

    /// Converts a rule.
    pub(super) fn rule(&mut self, rule: &mut Value, path: &str) {
        let path = format!("{path}.action");
        let Some(action) = rule.get_mut("action").and_then(Value::as_object_mut) else { return };
        self.list(action, "rewrite", &path);
        for key in ["route", "routeRef"] {
            if let Some(route) = action.get_mut(key) {
                self.route(route, &format!("{path}.{key}"));
            }
        }
    }

    /// Converts a route: a definition. A name stays.
    pub(super) fn route(&mut self, route: &mut Value, path: &str) {
        let Some(fields) = route.as_object_mut() else { return };
        for key in ["destination", "destinationRef"] {
            if let Some(destination) = fields.get_mut(key) {
                self.cluster(destination, &format!("{path}.{key}"));
            }
        }
        for key in ["ingress", "egress"] {
            self.list(fields, key, path);
            let hops = fields.get_mut(key).and_then(Value::as_array_mut);
            for (index, hop) in hops.into_iter().flatten().enumerate() {
                let path = format!("{path}.{key}[{index}]");
                match hop.get_mut("cluster") {
                    Some(inner) => self.cluster(inner, &format!("{path}.cluster")),
                    None => self.cluster(hop, &path),
                }
            }
        }
    }

    /// Converts a cluster: a definition. A name stays.
    pub(super) fn cluster(&mut self, cluster: &mut Value, path: &str) {
        let Some(fields) = cluster.as_object_mut() else { return };
        self.list(fields, "endpoints", path);
        if let Some((deployed, _, settings)) = self.take_protocol(fields, path, &CLUSTER) {
            fields.insert("spec".into(), json!({deployed: settings}));
            return self.changed(path, format!("protocol: {deployed} is spec: {{{deployed}: …}} now"));
        }
        match fields.get_mut("spec") {
            Some(spec) => self.union(spec, &format!("{path}.spec")),
            None => {
                for (key, settings) in fields.iter_mut() {
                    self.transport(settings, &format!("{path}.{key}"));
                }
            }
        }
    }
}
