//! What the index keeps of a pod ([`KnownPod`]).

use std::borrow::Cow;
use std::net::IpAddr;

use portreeve_api::plan;
use portreeve_api::pod::{PROXY_NAME_ANNOTATION, Pod, annotation_attribute};

use super::matches::{Labels, Name};
use super::member::Content;

/// The attribute with a pod's name.
const NAME: &str = "field:metadata.name";
/// The attribute with a pod's first address.
const ADDRESS: &str = "field:status.podIP";

/// A pod that has not ended, without its uid and its attributes. There are very many, so it has nothing that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPod {
    pub namespace: Name,
    pub name: Name,
    /// The node that it is bound to; `None` while it is not scheduled.
    pub node: Option<Name>,
    ips: Box<[IpAddr]>,
    created_ms: i64,
    terminating_ms: i64,
    ready: bool,
    /// Whether it has an l7mp proxy.
    pub has_l7mp: bool,
    /// The name that [`PROXY_NAME_ANNOTATION`] gives its proxy.
    pub proxy_name: Option<Box<str>>,
    /// Whether [`NAME`] is one of its attributes.
    shows_name: bool,
    /// Whether [`ADDRESS`] is one of its attributes, with the text of the first address.
    shows_address: bool,
}

// === impl KnownPod ===

impl KnownPod {
    /// Reduces a pod with these attributes.
    pub fn new(pod: Pod, attributes: &Labels) -> Self {
        let shows = |key, text: &str| attributes.get(key).is_some_and(|value| value == text);
        let proxy_name = pod.extra.get(&annotation_attribute(PROXY_NAME_ANNOTATION));
        Self {
            shows_name: shows(NAME, &pod.name),
            shows_address: pod.ips.first().is_some_and(|ip| shows(ADDRESS, &ip.to_string())),
            namespace: pod.namespace,
            name: pod.name,
            node: pod.node,
            ips: pod.ips.into(),
            created_ms: pod.created_ms,
            terminating_ms: pod.terminating_ms,
            ready: pod.ready,
            has_l7mp: pod.l7mp.is_some(),
            proxy_name: proxy_name.map(|name| name.as_str().into()),
        }
    }

    /// Returns whether it is an endpoint of the groups that select it: it is ready, or was ready when its deletion began.
    pub fn is_endpoint(&self) -> bool {
        self.ready && !self.ips.is_empty()
    }

    /// Returns it as an endpoint of a group, or `None` while it can't take traffic.
    ///
    /// A terminating pod that was an endpoint stays one until it is gone, because existing sessions still need it. The
    /// translation decides whether it gets new sessions.
    pub fn endpoint(&self, uid: &str) -> Option<plan::Endpoint> {
        self.is_endpoint().then(|| self.with_uid(uid))
    }

    /// Returns it as a sender of connections, or `None` while it has no address. Senders need not be ready: their
    /// readiness may depend on the connection.
    pub fn peer(&self, uid: &str) -> Option<plan::Endpoint> {
        (!self.ips.is_empty()).then(|| self.with_uid(uid))
    }

    fn with_uid(&self, uid: &str) -> plan::Endpoint {
        plan::Endpoint {
            uid: uid.to_owned(),
            namespace: self.namespace.to_string(),
            name: self.name.to_string(),
            node: self.node.as_deref().unwrap_or_default().to_owned(),
            ips: self.ips.iter().map(IpAddr::to_string).collect(),
            created_ms: self.created_ms,
            terminating_ms: self.terminating_ms,
            ready: self.ready,
            source: String::new(),
        }
    }
}

impl Content for KnownPod {
    const KEYS: &'static [&'static str] = &[NAME, ADDRESS];

    fn scope(&self) -> &str {
        &self.namespace
    }

    fn label(&self, key: &str) -> Option<Cow<'_, str>> {
        match key {
            NAME if self.shows_name => Some(Cow::Borrowed(&self.name)),
            ADDRESS if self.shows_address => self.ips.first().map(|ip| Cow::Owned(ip.to_string())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::pod::{Interest, field_attribute};
    use serde_json::json;

    use super::*;

    fn known(pod: serde_json::Value) -> KnownPod {
        let pod = Pod::from_kube_with(serde_json::from_value(pod).unwrap(), &Interest::of_agents()).unwrap();
        let attributes = pod.attributes();
        KnownPod::new(pod, &attributes)
    }

    fn with_status(status: serde_json::Value) -> KnownPod {
        known(json!({"metadata": {"name": "w", "uid": "u"}, "spec": {}, "status": status}))
    }

    #[test]
    fn pod_with_an_address_may_send_also_while_it_is_not_ready() {
        let status = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "fd00::1"}]});
        let pod = with_status(status.clone());
        assert!(pod.peer("u").is_some_and(|peer| !peer.ready && peer.ips == ["10.0.0.1", "fd00::1"]));
        assert_eq!(pod.endpoint("u"), None);
        let mut ready = status;
        ready["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        assert!(with_status(ready).endpoint("u").is_some_and(|endpoint| endpoint.uid == "u"));
        assert_eq!(with_status(json!({"phase": "Pending"})).peer("u"), None);
    }

    #[test]
    fn attributes_are_read_from_the_pod_only_where_it_has_their_very_text() {
        assert_eq!(
            [NAME, ADDRESS],
            ["metadata.name", "status.podIP"].map(field_attribute).each_ref().map(|a| &**a)
        );
        for (ip, expected) in
            [("10.0.0.1", Some("10.0.0.1")), ("fd00::1", Some("fd00::1")), ("FD00::0001", None)]
        {
            let pod = with_status(json!({"podIP": ip}));
            assert_eq!(pod.label(ADDRESS).as_deref(), expected, "{ip}");
            assert_eq!((pod.label(NAME).as_deref(), pod.label("app")), (Some("w"), None));
        }
        let pod =
            Pod::from_kube(serde_json::from_value(json!({"metadata": {"name": "w", "uid": "u"}})).unwrap());
        assert_eq!(KnownPod::new(pod.unwrap(), &Labels::new()).label(NAME), None, "nobody asked for it");
    }
}
