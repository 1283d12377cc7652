//! VirtualService → Plan: a listener with its rules. One without rules opens nothing: it describes pods for others.

use std::collections::BTreeSet;

use portreeve_api::b::form::{
    self, ActionForm, ListenerForm, Reference as Named, RouteForm, RuleForm, RulesForm,
};
use portreeve_api::b::virtual_service::{DEFINITION, KIND, VirtualService};
use portreeve_api::conditions::Reason;
use portreeve_api::kind::Kind;
use portreeve_api::model::{Listener, Rule};
use portreeve_api::pod;
use portreeve_api::violation::Violation;

use super::reference::Reference;
use super::{JSON_SOCKET_USES, Resolving, USES, model};
use crate::lookup::{FoundBy, Lookup};
use crate::object::{self, Custom, Rejection, Resolved, Role, Root};
use crate::row::Row;
use crate::selection::{PodSelection, Selection};

/// How the hub treats VirtualServices of API B.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "bv",
    label: "l7mp-virtualservice",
    plural: "virtualservices of l7mp.io",
    watch: "watch of l7mp.io virtualservices",
    resource: DEFINITION.resource,
    read: object::read::<VirtualService>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &pod::FIELDS,
    services: true,
    announces: true,
    interface: false,
    allocates: false,
};

/// The name of the listener in its Plan.
const LISTENER: &str = "listener";

impl Custom for VirtualService {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn strange(&self) -> Vec<String> {
        Self::unknown_fields(self)
    }

    fn what_for(&self) -> Role<'_> {
        match self.form() {
            Ok(form) if form.listener.rules.is_none() => Role::Part,
            Ok(_) | Err(_) => Role::Root(self),
        }
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or("default");
        let Ok(form) = self.form() else { return Some(Vec::new()) };
        let Some(RulesForm::These(rules)) = form.listener.rules else { return Some(Vec::new()) };
        let field = match form.listener.socket.protocol {
            form::Protocol::JsonSocket => JSON_SOCKET_USES,
            _ => USES,
        };
        let names: BTreeSet<&str> = rules.iter().flat_map(names).collect();
        Some(names.into_iter().map(|name| (field, Reference::parse(name, namespace).key())).collect())
    }

    fn update_owners(&self) -> bool {
        self.spec.update_owners.unwrap_or_default()
    }
}

/// Returns the names of Targets, VirtualServices, Services and Routes that a rule leads to.
fn names(rule: &RuleForm) -> Vec<&str> {
    match &rule.action {
        ActionForm::Route(Named::Named(route)) => vec![route],
        ActionForm::Route(Named::Inline(form)) => hops(form),
        ActionForm::Apply(_) | ActionForm::None => Vec::new(),
    }
}

/// Returns the names of Targets, VirtualServices and Services that a route leads to.
pub(super) fn hops(form: &RouteForm) -> Vec<&str> {
    let hops = std::iter::once(&form.destination).chain(&form.ingress).chain(&form.egress);
    hops.filter_map(|hop| match hop {
        Named::Named(name) => Some(name.as_str()),
        Named::Inline(_) => None,
    })
    .collect()
}

impl Root for VirtualService {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let form = self.form().map_err(|broken| Rejection::of_violations(&broken))?;
        let mut resolving = Resolving::new(&KIND, &self.metadata, lookup)?;
        resolving.warn_of_unknown(Self::unknown_fields(self));
        let namespace = resolving.origin.namespace.clone();
        let workload = resolving.pods(&form.filter, &namespace, "spec.selector");
        resolving.json_socket = form.listener.socket.protocol == form::Protocol::JsonSocket;
        let rules = match &form.listener.rules {
            Some(RulesForm::These(rules)) => {
                let from = Some(model::protocol(form.listener.socket.protocol));
                resolving.rules(rules, from, "spec.listener.rules")?
            }
            Some(RulesForm::List(list)) => vec![Rule { apply: Some(list.clone()), ..Rule::default() }],
            None => Vec::new(),
        };
        let listener = listener(&form.listener, resolving.waits_for_peer(&form.listener, &workload), rules);
        Ok(resolving.finish(workload, vec![listener], Vec::new()))
    }
}

// === impl Resolving ===

impl Resolving<'_, '_> {
    /// Returns whether a listener with a peer waits for the peer's first datagram. If several proxies connected to one peer,
    /// it would hear itself.
    fn waits_for_peer(&mut self, form: &ListenerForm, workload: &PodSelection) -> bool {
        let connects = form.socket.connect.is_some_and(|peer| peer.ip.is_some() && peer.port.is_some());
        if !connects || form.server_mode {
            return form.server_mode;
        }
        let several = self.lookup.several(&Selection::Pods(workload.clone()));
        if several {
            let text = "spec.listener.spec.UDP.connect: several proxies open this port, so each waits for the peer's first \
                        datagram (mode: server): a peer that is connected from several proxies hears itself";
            self.warn(Reason::Unsupported, text.into());
        }
        several
    }
}

fn listener(form: &ListenerForm, waits_for_peer: bool, rules: Vec<Rule>) -> Listener {
    let mut socket = model::socket(&form.socket);
    if waits_for_peer {
        socket.settings.insert("mode".into(), "server".into());
    }
    Listener {
        name: LISTENER.into(),
        socket: Some(socket),
        rules,
        tls: None,
        sources: None,
        http: false,
        options: Some(model::options(&form.options)),
        needs: Vec::new(),
    }
}
