//! Whole objects: VirtualServices, Targets and Rules. A Route is one of the parts that objects have in common.

use serde_json::{Map, Value};

use super::Work;

/// The fields of a listener that don't belong to its protocol.
const LISTENER: [&str; 3] = ["name", "rules", "options"];

// === impl Work ===

impl Work {
    /// Converts the spec of a VirtualService.
    pub(super) fn virtual_service(&mut self, spec: &mut Value) {
        let Some(fields) = spec.as_object_mut() else { return };
        match fields.remove("listener") {
            Some(Value::Object(listener)) => self.listener(fields, listener),
            Some(other) => drop(fields.insert("listener".into(), other)),
            None => fields.values_mut().for_each(|block| self.transport(block, "spec")),
        }
        self.rules(fields, "spec");
        if let Some(listener) = fields.get_mut("listener").and_then(Value::as_object_mut) {
            self.rules(listener, "spec.listener");
        }
    }

    /// Converts a listener. With its protocol beside its fields it becomes a block of the document, which has the same
    /// meaning: its sessions outlive it unless `options.removeOrphanSessions` is set.
    fn listener(&mut self, spec: &mut Map<String, Value>, mut listener: Map<String, Value>) {
        if let Some((_, block, settings)) = self.take_protocol(&mut listener, "spec.listener", &LISTENER) {
            spec.insert(block.into(), settings);
            self.changed("spec.listener", format!("its protocol is the field spec.{block} now"));
            // The name had no effect.
            listener.remove("name");
            return listener.into_iter().for_each(|(key, value)| self.hoist(spec, ("listener", &key), value));
        }
        if let Some(protocol) = listener.get_mut("spec") {
            self.union(protocol, "spec.listener.spec");
        }
        if let Some(rules) = spec.remove("rules") {
            match listener.contains_key("rules") || listener.contains_key("rulesRef") {
                true => self.problem("spec.rules", "spec.listener has rules too: keep those alone"),
                false => {
                    listener.insert("rules".into(), rules);
                    self.changed("spec.rules", "is spec.listener.rules now");
                }
            }
        }
        spec.insert("listener".into(), Value::Object(listener));
    }

    /// Moves a field out of an object in the spec into the spec.
    fn hoist(&mut self, spec: &mut Map<String, Value>, (from, key): (&str, &str), value: Value) {
        let path = format!("spec.{from}.{key}");
        if spec.contains_key(key) {
            return self.problem(path, format!("there is a spec.{key} too: keep that alone"));
        }
        spec.insert(key.to_owned(), value);
        self.changed(&path, format!("is spec.{key} now"));
    }

    /// Converts the spec of a Target.
    pub(super) fn target(&mut self, spec: &mut Value) {
        if let Some(cluster) = spec.get_mut("cluster") {
            self.cluster(cluster, "spec.cluster");
        } else {
            self.cluster_blocks(spec);
        }
        let Some(fields) = spec.as_object_mut() else { return };
        let linked = fields.contains_key("linkedVirtualService");
        let bare = |cluster: &Value| cluster.as_object().is_some_and(|cluster| !cluster.contains_key("spec"));
        if linked && fields.get("cluster").is_some_and(bare) {
            let cluster = fields.remove("cluster").and_then(|cluster| cluster.as_object().cloned());
            let cluster = cluster.unwrap_or_default();
            cluster.into_iter().for_each(|(key, value)| self.hoist(fields, ("cluster", &key), value));
        }
        let more = ["endpoints", "loadbalancer"].iter().any(|key| fields.contains_key(*key));
        if let Some(name) = fields.remove("linkedVirtualService").filter(|_| linked) {
            let key = if more { "serviceName" } else { "linkedVirtualService" };
            fields.insert(key.into(), name);
            if more {
                let what = "is spec.serviceName now, beside which endpoints and a loadbalancer may be given";
                self.changed("spec.linkedVirtualService", what);
            }
        }
    }

    /// Converts a Target's blocks of the document.
    fn cluster_blocks(&mut self, spec: &mut Value) {
        let Some(fields) = spec.as_object_mut() else { return };
        self.list(fields, "endpoints", "spec");
        fields.values_mut().for_each(|block| self.transport(block, "spec"));
    }

    /// Converts the rule in the spec of a Rule.
    pub(super) fn inner_rule(&mut self, spec: &mut Value) {
        if let Some(rule) = spec.get_mut("rule") {
            self.rule(rule, "spec.rule");
        }
    }
}
