//! Everything that a keeper knows about l7mp's program: its static configuration ([`Settings::configuration`]), its
//! command line, and whether it answers.
//!
//! The only listener of the static configuration is the REST API. l7mp binds it to all addresses and has no
//! authentication, so its rule only admits requests from this host's loopback addresses; others get 404.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The port of the REST API if none is set.
pub const PORT: NonZeroU16 = NonZeroU16::new(1234).expect("1234 is not 0");
/// The name of the REST API's listener.
const CONTROLLER: &str = "controller-listener";
/// The addresses from which requests are admitted. On a dual-stack socket, l7mp shows IPv4 addresses as mapped ones.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "::ffff:127.0.0.1", "::1"];
/// The field of the listener's spec that identifies the keeper. l7mp keeps unknown fields of a spec and shows them.
const MARK: &str = "xKeeper";
/// Timeout of an answer. In strict mode, l7mp compiles its schema for about two seconds before it answers.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum size of an answer, in bytes.
const LONGEST: usize = 1 << 16;

/// How l7mp is started. Node's binary is the order's program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Absolute path of l7mp's script, in the directory of its package.
    pub script: PathBuf,
    /// TCP port of the REST API.
    pub port: NonZeroU16,
    /// Whether l7mp checks requests and answers against the schema of its API.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// The programs of an l7mp proxy on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Path of node's binary.
    pub node: PathBuf,
    /// Path of l7mp's script.
    pub script: PathBuf,
}

// === impl Settings ===

impl Settings {
    /// Returns the content of the static configuration. `mark` identifies the keeper in the answer of the REST API.
    pub fn configuration(&self, mark: &str) -> Value {
        let local = |address| json!({"op": "test", "path": "/IP/src_addr", "value": address});
        let controller = json!({"name": "l7mp-controller", "spec": {"protocol": "L7mpController"}});
        let rule = json!({
            "match": {"op": "or", "apply": LOOPBACK.map(local)},
            "action": {"route": {"destination": controller}},
        });
        json!({
            "admin": {"log_level": "warn", "log_file": "stdout", "access_log_path": "/dev/null"},
            "listeners": [{
                "name": CONTROLLER,
                "spec": {"protocol": "HTTP", "port": self.port, MARK: mark},
                "rules": [rule],
            }],
        })
    }

    /// Returns node's arguments for this configuration file, with `extra` last.
    pub fn arguments(&self, configuration: &Path, extra: &[String]) -> Vec<OsString> {
        let always = [self.script.clone().into(), "-c".into(), configuration.as_os_str().to_owned()];
        let strict = self.strict.then(|| "-s".into());
        always.into_iter().chain(strict).chain(extra.iter().map(Into::into)).collect()
    }

    /// Returns the package's directory, relative to which l7mp reads its schema.
    pub fn package(&self) -> &Path {
        self.script.parent().unwrap_or(&self.script)
    }
}

/// Returns whether the l7mp with this `mark` answers on its port. Another l7mp with the same port doesn't count.
pub(crate) async fn answers(port: NonZeroU16, mark: &str) -> bool {
    let told = tokio::time::timeout(TIMEOUT, controller(port)).await;
    told.is_ok_and(|told| told.is_ok_and(|listener| listener["spec"][MARK] == mark))
}

async fn controller(port: NonZeroU16) -> io::Result<Value> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.get()));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::builder().uri(format!("/api/v1/listeners/{CONTROLLER}")).header("host", "l7mp");
    let request = request.header("content-type", "application/json").header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(io::Error::other)?;
        if status != StatusCode::OK {
            return Err(io::Error::other(status.to_string()));
        }
        serde_json::from_slice(&body.to_bytes()).map_err(io::Error::other)
    };
    tokio::join!(answer, connection).0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::{PORT, Settings};

    fn mk_settings(strict: bool) -> Settings {
        Settings { script: "/p/l7mp-proxy.js".into(), port: PORT, strict }
    }

    #[test]
    fn only_listener_is_the_api_for_this_host() {
        let made = mk_settings(false).configuration("mark");
        assert_eq!(made["listeners"].as_array().unwrap().len(), 1);
        let listener = &made["listeners"][0];
        assert_eq!(listener["spec"], json!({"protocol": "HTTP", "port": 1234, "xKeeper": "mark"}));
        let admitted = &listener["rules"][0]["match"];
        assert_eq!((&admitted["op"], &admitted["apply"][0]["value"]), (&json!("or"), &json!("127.0.0.1")));
    }

    #[test]
    fn extra_arguments_come_last_and_strictness_only_if_wanted() {
        let text = |strict| {
            let all = mk_settings(strict).arguments(Path::new("/d/c.json"), &["-l".into(), "info".into()]);
            all.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(false), "/p/l7mp-proxy.js -c /d/c.json -l info");
        assert_eq!(text(true), "/p/l7mp-proxy.js -c /d/c.json -s -l info");
        assert_eq!(mk_settings(true).package(), Path::new("/p"));
    }
}
