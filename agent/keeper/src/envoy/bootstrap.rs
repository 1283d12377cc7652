//! Envoy's bootstrap: incremental ADS over a Unix socket, the admin interface on a Unix socket, and no TCP port unless
//! requested. Entry point: [`Bootstrap::render`]. Every setting was tested with Envoy 1.40.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Maximum length of a Unix socket's path in bytes (`sun_path` has 108 with the terminating zero).
pub const SOCKET_PATH_MAX: usize = 107;

const HTTP_OPTIONS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const HTTP_MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const HEALTH_CHECK: &str = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// The address families of a proxy, which determine its wildcard address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Family {
    /// `0.0.0.0`.
    #[default]
    V4,
    /// `::` with IPv4 mapped.
    Dual,
}

/// The inputs of a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// `node.id`.
    pub node_id: String,
    /// `node.cluster`.
    pub node_cluster: String,
    /// Path of the Unix socket of the ADS server.
    pub ads_socket: PathBuf,
    /// Path of the Unix socket of Envoy's admin interface.
    pub admin_socket: PathBuf,
    /// TCP port that answers connections and `GET /healthcheck`, if any.
    pub health_listener: Option<u16>,
    /// Wildcard address of the health listener.
    pub wildcard: Family,
}

/// The reason why a bootstrap is impossible.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BootstrapError {
    /// A socket's path is too long.
    #[error(
        "the path of the {what}, {path}, has {length} bytes; a Unix socket's path has {SOCKET_PATH_MAX} at most: \
         choose a shorter {flag}",
        path = path.display()
    )]
    PathTooLong {
        /// The socket.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The path's length in bytes.
        length: usize,
        /// The flag that the path comes from.
        flag: &'static str,
    },
    /// A path that JSON can't represent.
    #[error("the path of the {what}, {path}, is not UTF-8: choose another {flag}", path = path.display())]
    NotUnicode {
        /// The socket.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The flag that the path comes from.
        flag: &'static str,
    },
}

// === impl Family ===

impl Family {
    fn wildcard(self, port: u16) -> Value {
        match self {
            Self::V4 => json!({"socket_address": {"address": "0.0.0.0", "port_value": port}}),
            Self::Dual => {
                json!({"socket_address": {"address": "::", "port_value": port, "ipv4_compat": true}})
            }
        }
    }
}

// === impl Bootstrap ===

impl Bootstrap {
    /// Returns the bootstrap as Envoy's JSON.
    ///
    /// # Errors
    /// Returns [`BootstrapError`] if one of the sockets' paths is invalid.
    pub fn render(&self) -> Result<Value, BootstrapError> {
        let ads = socket_path("ADS socket", &self.ads_socket, "--agent-socket")?;
        let admin = socket_path("admin socket", &self.admin_socket, "--run-dir")?;
        let mut resources = json!({"clusters": [ads_cluster(ads)]});
        if let Some(port) = self.health_listener {
            resources["listeners"] = json!([health_listener(self.wildcard.wildcard(port))]);
        }
        Ok(json!({
            "node": {"id": self.node_id, "cluster": self.node_cluster},
            "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    // The default back-off reaches 30 s: after an agent had been away for 20 s, its proxies took 13 s
                    // to reconnect.
                    "grpc_services": [{"envoy_grpc": {
                        "cluster_name": "xds",
                        "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"}},
                    }}],
                },
                // Zero means no timeout. With a timeout, a proxy that starts while the agent is unreachable would
                // become live without listeners, and in a hot restart replace one that has them.
                "cds_config": {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0s"},
                "lds_config": {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0s"},
            },
            "static_resources": resources,
        }))
    }
}

fn socket_path<'a>(
    what: &'static str,
    path: &'a Path,
    flag: &'static str,
) -> Result<&'a str, BootstrapError> {
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        return Err(BootstrapError::PathTooLong { what, path: path.to_owned(), length, flag });
    }
    path.to_str().ok_or_else(|| BootstrapError::NotUnicode { what, path: path.to_owned(), flag })
}

fn ads_cluster(path: &str) -> Value {
    json!({
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP_OPTIONS,
                // Without this setting, Envoy would not detect a hung agent behind a Unix socket.
                "explicit_http_config": {"http2_protocol_options": {
                    "connection_keepalive": {"interval": "1s", "timeout": "1s"},
                }},
            },
        },
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}],
        },
    })
}

/// A listener that accepts TCP connections and answers `GET /healthcheck` itself.
fn health_listener(address: Value) -> Value {
    let health_check = json!({
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": HEALTH_CHECK,
            "pass_through_mode": false,
            "headers": [{"name": ":path", "string_match": {"exact": "/healthcheck"}}],
        },
    });
    let manager = json!({
        "@type": HTTP_MANAGER,
        "stat_prefix": "health",
        "route_config": {"name": "health", "virtual_hosts": []},
        "http_filters": [health_check, {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    });
    json!({
        "name": "portreeve-health",
        "address": address,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        }]}],
    })
}
