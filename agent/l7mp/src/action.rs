//! One change of a proxy by one request ([`Action`]).

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::names;
use crate::slot::Slot;
use crate::wanted::{Inside, Rule};

/// A change of a proxy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Adds a cluster without endpoints: an endpoint inside that is refused ends the proxy.
    AddCluster {
        /// The cluster's name.
        name: String,
        /// The object.
        body: Value,
    },
    /// Adds an endpoint at the end of a cluster.
    AddEndpoint {
        /// The cluster's name.
        cluster: String,
        /// The endpoint's name.
        name: String,
        /// An IP address, host name or path.
        address: String,
        /// The load balancing weight.
        weight: u32,
    },
    /// Deletes an endpoint.
    DeleteEndpoint {
        /// The cluster's name.
        cluster: String,
        /// The endpoint's name.
        name: String,
        /// Whether its sessions move to other endpoints. Otherwise they stay.
        recursive: bool,
    },
    /// Deletes a cluster that no route names.
    DeleteCluster {
        /// The cluster's name.
        name: String,
        /// Whether its sessions end.
        recursive: bool,
    },
    /// Adds a listener.
    AddListener {
        /// The listener's name.
        name: String,
        /// Its address.
        slot: Option<Slot>,
        /// The object without rules.
        body: Value,
        /// Its rules.
        rules: ListenerRules,
    },
    /// Deletes a listener. Its rule list, rules and routes stay.
    DeleteListener {
        /// The listener's name.
        name: String,
        /// Whether its sessions end.
        recursive: bool,
    },
    /// Adds a rule list for a new listener. In a strict proxy a listener's own list can't name rules.
    AddList {
        /// The list's name.
        name: String,
        /// Its rules.
        rules: Vec<RuleRef>,
    },
    /// Deletes a rule list that no listener names.
    DeleteList {
        /// The list's name.
        name: String,
    },
    /// Inserts a rule into a list.
    Insert {
        /// The list's name.
        list: String,
        /// Where.
        place: Place,
        /// The rule.
        rule: RuleRef,
    },
    /// Takes a rule from a list. The rule stays.
    Unlink {
        /// The list's name.
        list: String,
        /// The rule's name.
        rule: String,
    },
    /// Adds a rule that a list names already.
    AddRule {
        /// The rule.
        rule: RuleRef,
    },
    /// Deletes a rule that is in no list.
    DeleteRule {
        /// The rule's name.
        name: String,
    },
    /// Adds a route that a rule names already.
    AddRoute {
        /// The route's rule.
        rule: RuleRef,
    },
    /// Deletes a route that no rule names.
    DeleteRoute {
        /// The route's name.
        name: String,
    },
    /// Reads the name that the proxy gave to a listener's rule list.
    ReadList {
        /// The listener's name.
        listener: String,
    },
}

/// A place in a rule list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// The position, from 0, or the end of a shorter list.
    At(usize),
    /// Before the rule of this name.
    Before(String),
}

/// The rules of a new listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ListenerRules {
    /// A new list with these rules.
    These(Vec<RuleRef>),
    /// An existing list.
    List(String),
}

/// A rule inside a request, and how much of it the proxy has already.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleRef {
    /// The rule.
    pub(crate) rule: Rule,
    /// Whether the proxy has the rule.
    pub(crate) rule_exists: bool,
    /// Whether the proxy has the rule's route.
    pub(crate) route_exists: bool,
    /// Clusters that the proxy does not have, which go inside of the route.
    pub(crate) inside: Vec<Inside>,
}

/// A request's parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: Method,
    /// The path's segments after the API's root. They are not percent-encoded.
    pub(crate) path: Vec<String>,
    /// Whether the request is recursive.
    pub(crate) recursive: bool,
    /// The JSON body.
    pub(crate) body: Option<Value>,
}

// === impl Action ===

impl Action {
    /// Returns the request for this change of a proxy with these rule lists.
    pub(crate) fn request(&self, lists: &BTreeMap<String, Vec<String>>) -> Request {
        match self {
            Self::AddCluster { body, .. } => Request::post(&["clusters"], json!({"cluster": body})),
            Self::AddEndpoint { cluster, name, address, weight } => Request::post(
                &["clusters", cluster, "endpoints"],
                json!({"endpoint": {"name": name, "spec": {"address": address}, "weight": weight}}),
            ),
            Self::DeleteEndpoint { name, recursive, .. } => Request::delete(&["endpoints", name], *recursive),
            Self::DeleteCluster { name, recursive } => Request::delete(&["clusters", name], *recursive),
            Self::AddListener { body, rules, .. } => {
                let mut body = body.clone();
                body["rules"] = match rules {
                    ListenerRules::These(rules) => rules.iter().map(RuleRef::json).collect(),
                    ListenerRules::List(list) => json!(list),
                };
                Request::post(&["listeners"], json!({"listener": body}))
            }
            Self::DeleteListener { name, recursive } => Request::delete(&["listeners", name], *recursive),
            Self::AddList { name, rules } => {
                let rules: Value = rules.iter().map(RuleRef::json).collect();
                Request::post(&["rulelists"], json!({"rulelist": {"name": name, "rules": rules}}))
            }
            Self::DeleteList { name } => Request::delete(&["rulelists", name], false),
            Self::Insert { list, place, rule } => Request::post(
                &["rulelists", list, "rules", &place.within(lists.get(list)).to_string()],
                json!({"rule": rule.json()}),
            ),
            Self::Unlink { list, rule } => Request::delete(&["rulelists", list, "rules", rule], false),
            Self::AddRule { rule } => Request::post(&["rules"], json!({"rule": rule.json()})),
            Self::DeleteRule { name } => Request::delete(&["rules", name], false),
            Self::AddRoute { rule } => {
                Request::post(&["routes"], json!({"route": rule.whole()["action"]["route"]}))
            }
            Self::DeleteRoute { name } => Request::delete(&["routes", name], false),
            Self::ReadList { listener } => Request::get(&["listeners", listener]),
        }
    }

    /// Whether this change adds something of its resource. If not, it removes or reads.
    pub(crate) fn adds(&self) -> bool {
        matches!(
            self,
            Self::AddCluster { .. }
                | Self::AddEndpoint { .. }
                | Self::AddListener { .. }
                | Self::AddList { .. }
                | Self::Insert { .. }
                | Self::AddRule { .. }
                | Self::AddRoute { .. }
        )
    }

    /// Whether sessions may have to end after this change.
    pub(crate) fn ends_sessions(&self) -> bool {
        match self {
            Self::DeleteCluster { .. } => true,
            Self::DeleteListener { name, .. } => names::ends_sessions(name),
            _ => false,
        }
    }

    /// Returns the rules that are added with this change.
    pub(crate) fn rules(&self) -> &[RuleRef] {
        match self {
            Self::AddListener { rules: ListenerRules::These(rules), .. } | Self::AddList { rules, .. } => {
                rules
            }
            Self::Insert { rule, .. } | Self::AddRule { rule } | Self::AddRoute { rule } => {
                std::slice::from_ref(rule)
            }
            _ => &[],
        }
    }

    /// Returns the names of the clusters that must exist before this change.
    pub(crate) fn clusters(&self) -> Vec<&str> {
        if let Self::AddEndpoint { cluster, .. } = self {
            return vec![cluster];
        }
        let inside = |name: &String| {
            self.rules().iter().flat_map(|rule| &rule.inside).any(|inside| inside.name == *name)
        };
        let named = self.rules().iter().flat_map(|one| &one.rule.clusters);
        named.filter(|name| !inside(name)).map(String::as_str).collect()
    }
}

// === impl Place ===

impl Place {
    /// Returns the position in a list now.
    pub(crate) fn within(&self, rules: Option<&Vec<String>>) -> usize {
        let rules = rules.map(Vec::as_slice).unwrap_or_default();
        match self {
            Self::At(position) => (*position).min(rules.len()),
            Self::Before(other) => rules.iter().position(|rule| rule == other).unwrap_or(rules.len()),
        }
    }
}

// === impl RuleRef ===

impl RuleRef {
    /// Returns the rule as it stands in a request: by its name if the proxy has it.
    fn json(&self) -> Value {
        if self.rule_exists {
            return json!(self.rule.name);
        }
        let mut body = self.whole();
        if self.route_exists {
            body["action"]["route"] = json!(self.rule.name);
        }
        body
    }

    /// Returns the rule with its route and what goes inside of that.
    fn whole(&self) -> Value {
        let mut body = self.rule.body.clone();
        let mut left: Vec<&Inside> = self.inside.iter().collect();
        if let Some(route) = body.pointer_mut("/action/route") {
            for field in ["ingress", "destination", "egress"] {
                route.get_mut(field).into_iter().for_each(|hops| put_inside(hops, &mut left));
            }
        }
        body
    }
}

/// Replaces the names of clusters by the clusters, each at its first place.
fn put_inside(hops: &mut Value, left: &mut Vec<&Inside>) {
    match hops {
        Value::Array(hops) => hops.iter_mut().for_each(|hop| put_inside(hop, left)),
        hop => {
            if let Some(at) = left.iter().position(|inside| *hop == inside.name) {
                *hop = left.remove(at).body.clone();
            }
        }
    }
}

// === impl Request ===

impl Request {
    /// Returns a reading request.
    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path, None)
    }

    /// Returns a reading request for objects with everything in them.
    pub(crate) fn get_whole(path: &[&str]) -> Self {
        Self { recursive: true, ..Self::get(path) }
    }

    /// Returns a deleting request.
    pub(crate) fn delete(path: &[&str], recursive: bool) -> Self {
        Self { recursive, ..Self::new(Method::DELETE, path, None) }
    }

    fn post(path: &[&str], body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    fn new(method: Method, path: &[&str], body: Option<Value>) -> Self {
        let path = path.iter().map(|&segment| segment.to_owned()).collect();
        Self { method, path, recursive: false, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_rule() -> Rule {
        let route = json!({"name": "r", "destination": "c"});
        Rule {
            name: "r".into(),
            body: json!({"name": "r", "action": {"route": route}}),
            clusters: vec!["c".into()],
        }
    }

    fn mk_listener(rules: Vec<RuleRef>) -> Action {
        let body = json!({"name": "l", "spec": {"protocol": "UDP", "port": 1}});
        Action::AddListener { name: "l".into(), slot: None, body, rules: ListenerRules::These(rules) }
    }

    #[test]
    fn listener_has_its_rules_and_routes_inside() {
        let whole = RuleRef { rule: mk_rule(), rule_exists: false, route_exists: false, inside: Vec::new() };
        let request = mk_listener(vec![whole]).request(&BTreeMap::new());
        assert_eq!((request.method, request.path), (Method::POST, vec!["listeners".to_owned()]));
        let body = json!({"listener": {"name": "l", "spec": {"protocol": "UDP", "port": 1}, "rules": [
            {"name": "r", "action": {"route": {"name": "r", "destination": "c"}}}]}});
        assert_eq!(request.body, Some(body));
    }

    #[test]
    fn existing_parts_are_named_instead_in_a_list_of_its_own() {
        let route = RuleRef { rule: mk_rule(), rule_exists: false, route_exists: true, inside: Vec::new() };
        let both = RuleRef { rule: mk_rule(), rule_exists: true, route_exists: true, inside: Vec::new() };
        let list = Action::AddList { name: "l".into(), rules: vec![route, both] };
        let body = list.request(&BTreeMap::new()).body.unwrap();
        let rules = json!([{"name": "r", "action": {"route": "r"}}, "r"]);
        assert_eq!(body["rulelist"], json!({"name": "l", "rules": rules}));
    }

    #[test]
    fn new_cluster_goes_inside_of_the_route_at_its_first_place() {
        let inside = Inside {
            resource: "c".into(),
            name: "c".into(),
            body: json!({"name": "c", "endpoints": []}),
            endpoints: BTreeMap::new(),
        };
        let mut rule = mk_rule();
        rule.body["action"]["route"]["egress"] = json!(["c", "d"]);
        rule.clusters.push("d".into());
        let rule = RuleRef { rule, rule_exists: false, route_exists: false, inside: vec![inside] };
        let insert = Action::Insert { list: "l".into(), place: Place::At(0), rule };
        assert_eq!(insert.clusters(), ["d"]);
        let body = insert.request(&BTreeMap::new()).body.unwrap();
        let route = json!({"name": "r", "destination": {"name": "c", "endpoints": []}, "egress": ["c", "d"]});
        assert_eq!(body["rule"]["action"]["route"], route);
    }
}
