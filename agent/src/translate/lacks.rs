//! What a Plan asks for that the agent does not know ([`Lacks`]); of its workload: [`workload`].
//!
//! Each message is taken apart without `..`: a new field does not compile until somebody decides whether it is translated,
//! harmless, or refused. A field that only a newer hub knows can't be seen: that hub names it in `needs`.

use portreeve_api::model::{Plan, Selector, Workload};

/// What is not supported, as paths of fields, with the value where the field has others that are supported.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lacks(Vec<String>);

/// What a Plan asks of the proxies that take it.
pub fn workload(plan: &Plan) -> Lacks {
    let mut lacks = Lacks::default();
    let Workload { namespace: _, selector, proxy_name, node_name, proxy_kind: _, service_group } =
        &plan.workload;
    lacks.some("workload.proxy_name", proxy_name);
    lacks.some("workload.node_name", node_name);
    lacks.some("workload.service_group", service_group);
    let Selector { labels: _, fields } = selector;
    lacks.when(!fields.is_empty(), "workload.selector.fields");
    lacks
}

// === impl Lacks ===

impl Lacks {
    /// Whether everything is supported.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it is, why it is refused, and what to do; `of`: who asks for it.
    pub fn told(&self, of: &str) -> Option<String> {
        let version = env!("CARGO_PKG_VERSION");
        (!self.is_empty()).then(|| {
            format!(
                "{of} asks for {}, which the agent (version {version}) can't give an Envoy: update the agent, or take it \
                 out of the object",
                self.0.join(", ")
            )
        })
    }

    pub(super) fn when(&mut self, lacks: bool, what: impl Into<String>) {
        if lacks {
            self.0.push(what.into());
        }
    }

    pub(super) fn some<T>(&mut self, field: &str, value: &Option<T>) {
        self.when(value.is_some(), field);
    }

    /// No feature was added since version 0.1.0.
    pub(super) fn needs(&mut self, needs: &[String]) {
        self.0.extend(needs.iter().cloned());
    }
}
