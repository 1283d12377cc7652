//! VirtualServices of any shape, as manifests. Entry point: [`Service`]. For the four pipes of a call, see
//! [`crate::call`].

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use kube::{Api, Client};
use portreeve_api::a::virtual_service::VirtualService;

use crate::wait;

/// The host of one entry of a cluster's endpoints.
#[derive(Debug, Clone, Copy)]
pub enum Host<'a> {
    /// Pods with these labels: `app: worker`.
    Pods(&'a str),
    /// An IP address or a DNS name.
    At(&'a str),
}

/// A VirtualService in namespace `default`, written as YAML by [`Service::yaml`]. Every listener has its own cluster,
/// and all clusters have the name `c`.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    name: String,
    /// The labels of the proxies that serve it: `app: envoy-ingress`.
    selector: String,
    /// Its listeners, as YAML.
    listeners: Vec<(String, String)>,
}

// === impl Service ===

impl Service {
    /// Creates an object without listeners, for the proxies with these labels.
    pub fn new(name: &str, selector: &str) -> Self {
        Self { name: name.into(), selector: selector.into(), listeners: Vec::new() }
    }

    /// Adds a UDP listener whose endpoints have the port `to`, or replaces the listener of that name.
    #[must_use]
    pub fn udp(self, listener: &str, port: u16, hosts: &[Host<'_>], to: u16) -> Self {
        self.with(listener, ("udp", port), hosts, to)
    }

    /// Adds or replaces a TCP listener.
    #[must_use]
    pub fn tcp(self, listener: &str, port: u16, hosts: &[Host<'_>], to: u16) -> Self {
        self.with(listener, ("tcp", port), hosts, to)
    }

    /// Removes this listener.
    #[must_use]
    pub fn without(mut self, listener: &str) -> Self {
        self.listeners.retain(|(name, _)| name != listener);
        self
    }

    /// Returns the manifest.
    pub fn yaml(&self) -> String {
        let listeners: String = self.listeners.iter().map(|(_, text)| text.as_str()).collect();
        format!(
            "---\napiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\n\
             metadata: {{name: {}, namespace: default}}\nspec:\n  selector: {{{}}}\n  listeners:\n{listeners}",
            self.name, self.selector
        )
    }

    fn with(self, listener: &str, (kind, port): (&str, u16), hosts: &[Host<'_>], to: u16) -> Self {
        let mut text = format!(
            "  - name: {listener}\n    {kind}:\n      port: {port}\n      cluster:\n        name: c\n        \
             service_discovery: strictdns\n        endpoints:\n"
        );
        for (number, host) in hosts.iter().enumerate() {
            let host = match host {
                Host::Pods(labels) => format!("selector: {{{labels}}}"),
                Host::At(address) => format!("address: '{address}'"),
            };
            // Writing to a String can't fail.
            let _ = writeln!(text, "        - {{name: e{number}, host: {{{host}}}, port: {to}}}");
        }
        let mut changed = self.without(listener);
        changed.listeners.push((listener.into(), text));
        changed
    }
}

/// Waits until a VirtualService in namespace `default` has this condition with this status ("True", "False"), and
/// returns its reason and message.
///
/// # Errors
/// Returns an error after `bound`.
pub async fn said(
    client: &Client,
    name: &str,
    (kind, status): (&str, &str),
    bound: Duration,
) -> Result<String> {
    let api = Api::<VirtualService>::namespaced(client.clone(), "default");
    let what = format!("{kind}={status} of {name}");
    wait::seen(api, wait::named(name), (&what, bound), |object| {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        let found = conditions.find(|c| c.type_ == kind && c.status == status)?;
        Some(format!("{}: {}", found.reason, found.message))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_valid_object() {
        let service = Service::new("s", "app: gw")
            .udp("u", 5000, &[Host::Pods("app: w"), Host::At("fd77::1"), Host::At("a.b.")], 6000)
            .tcp("t", 5000, &[Host::At("10.0.0.1")], 6001)
            .udp("gone", 5001, &[Host::Pods("app: w")], 6000)
            .without("gone")
            .udp("u", 5002, &[Host::Pods("app: w")], 6000);
        let (object, warnings) =
            VirtualService::parse(serde_yaml::from_str(&service.yaml()).unwrap()).unwrap();
        assert!(object.validate().is_empty() && warnings.is_empty());
        let names: Vec<_> = object.spec.listeners.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["t", "u"]);
        assert_eq!(object.spec.listeners[1].udp.as_ref().unwrap().port, 5002);
    }
}
