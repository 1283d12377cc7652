//! VirtualServices with UDP pipes, as text. Entry points: [`Pipe`] and [`virtual_service`].

/// One UDP listener of a VirtualService, and the pods that it forwards to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipe {
    /// Name of the listener. Its cluster is `<name>-out`.
    pub name: String,
    /// Port of the listener.
    pub listen: u16,
    /// Port of the pods.
    pub forward: u16,
    /// The pods' labels, as in a YAML map without its braces.
    pub pods: String,
    /// `hash_key`, if any.
    pub key: Option<String>,
    /// `idle_timeout` in milliseconds, if any.
    pub idle_ms: Option<u32>,
    /// TCP port of the pods that is probed five times a second, if any.
    pub health: Option<u16>,
}

// === impl Pipe ===

impl Pipe {
    /// Creates a pipe without hash key and idle timeout, to the pods labelled `app: worker`.
    pub fn new(name: &str, listen: u16, forward: u16) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            forward,
            pods: "app: worker".to_owned(),
            key: None,
            idle_ms: None,
            health: None,
        }
    }

    /// Returns the pipe to pods with these labels instead.
    #[must_use]
    pub fn to_pods(self, labels: &str) -> Self {
        Self { pods: labels.to_owned(), ..self }
    }

    /// Returns the pipe with a health check.
    #[must_use]
    pub fn checked(self, port: u16) -> Self {
        Self { health: Some(port), ..self }
    }

    /// Returns the pipe with a hash key, so that all its sessions reach one pod.
    #[must_use]
    pub fn keyed(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    /// Returns the listener's entry.
    fn yaml(&self) -> String {
        let Self { name, listen, forward, pods, .. } = self;
        let idle = self.idle_ms.map(|ms| format!("idle_timeout: {ms}, ")).unwrap_or_default();
        let key = self.key.as_ref().map(|key| format!("hash_key: {key}, ")).unwrap_or_default();
        let check = self.health.map(|_| "health_check: {interval: 200, protocol: TCP}, ").unwrap_or_default();
        let health = self.health.map(|port| format!(", health_check_port: {port}")).unwrap_or_default();
        format!(
            "  - name: {name}\n    udp: {{port: {listen}, {idle}cluster: {{name: {name}-out, {key}{check}\
             service_discovery: strictdns, endpoints: [{{name: {name}-pods, host: {{selector: {{{pods}}}}}, \
             port: {forward}{health}}}]}}}}\n"
        )
    }
}

/// Returns a VirtualService in namespace `default` for the proxies with these labels (a YAML map without its braces).
pub fn virtual_service(name: &str, selector: &str, pipes: &[Pipe]) -> String {
    let listeners: String = pipes.iter().map(Pipe::yaml).collect();
    format!(
        "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  selector: {{{selector}}}\n  listeners:\n{listeners}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_service_of_pipes_is_one_that_the_api_takes() {
        let pipe = Pipe { idle_ms: Some(9000), ..Pipe::new("a", 4000, 5000).keyed("k").checked(1233) };
        let text = virtual_service("v", "app: x", &[pipe, Pipe::new("b", 4001, 5001)]);
        let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        let udp = &read["spec"]["listeners"][0]["udp"];
        assert_eq!((&udp["port"], &udp["idle_timeout"]), (&4000.into(), &9000.into()));
        assert_eq!(udp["cluster"]["hash_key"], "k");
        let cluster = &udp["cluster"];
        assert_eq!(cluster["health_check"]["interval"], 200);
        assert_eq!(cluster["endpoints"][0]["health_check_port"], 1233);
        let second = &read["spec"]["listeners"][1]["udp"]["cluster"];
        assert_eq!(second["endpoints"][0]["port"], 5001);
        assert!(second.get("hash_key").is_none(), "{second}");
    }
}
