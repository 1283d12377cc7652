//! Fields of a Plan that the agent does not support ([`Lacks`]). [`workload`] checks the Plan's workload.
//!
//! Each message is destructured without `..`, so that a new field does not compile until it is translated,
//! declared harmless, or rejected. Fields that only a newer hub knows are not visible here: that hub lists
//! them in `needs`.

use portreeve_api::model::{Plan, Selector, TEMPLATE, TUNNELS, Workload};

/// The features that hubs list in `needs` and that this version knows.
const KNOWN: [&str; 2] = [TEMPLATE, TUNNELS];

/// Unsupported fields as paths, with the value if other values of the field are supported.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lacks(Vec<String>);

/// Returns the unsupported fields of a Plan's workload.
pub fn workload(plan: &Plan) -> Lacks {
    let mut lacks = Lacks::default();
    let Workload {
        namespace: _,
        selector,
        proxy_name: _,
        node_name,
        proxy_kind: _,
        other_kinds: _,
        service_group,
    } = &plan.workload;
    lacks.some("workload.node_name", node_name);
    lacks.some("workload.service_group", service_group);
    let Selector { labels: _, fields } = selector;
    lacks.when(!fields.is_empty(), "workload.selector.fields");
    lacks
}

// === impl Lacks ===

impl Lacks {
    /// Returns whether everything is supported.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a message with the unsupported fields and the remedy; `None` if everything is supported. `of`
    /// names what asks for them, and `proxy` the kind of proxy with its article.
    pub fn told(&self, of: &str, proxy: &str) -> Option<String> {
        let version = env!("CARGO_PKG_VERSION");
        (!self.is_empty()).then(|| {
            format!(
                "{of} asks for {}, which the agent (version {version}) can't give {proxy}: update the agent, or take it \
                 out of the object",
                self.0.join(", ")
            )
        })
    }

    /// Adds a field, if it is asked for.
    pub fn when(&mut self, lacks: bool, what: impl Into<String>) {
        if lacks {
            self.0.push(what.into());
        }
    }

    /// Adds a field, if it is there.
    pub fn some<T>(&mut self, field: &str, value: &Option<T>) {
        self.when(value.is_some(), field);
    }

    /// Adds the features that the hub lists in `needs` and that this version doesn't know.
    pub fn needs(&mut self, needs: &[String]) {
        self.0.extend(needs.iter().filter(|one| !KNOWN.contains(&one.as_str())).cloned());
    }
}
