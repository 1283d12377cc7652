//! A client of the API server with timeouts for every call. Entry point: [`client`].
//!
//! kube's own stack has no timeout for a response, and its connections survive a path that drops every packet: a watch
//! noticed after 295 s, a lease was not renewed for 400 s (measured). The stack here is kube's, layer by layer, with
//! timeouts added. (hyper-timeout is what kube itself uses; hyper-util's connector sets the socket's options. hyper-timeout's
//! timeout of reads is not used: it wakes the process a second time for each event of a watch.)

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};
use tower_http::timeout::ResponseBodyTimeoutLayer;

/// Timeout for a connect with its TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// Timeout for a response's headers. A list of a large cluster takes seconds. A watch answers at once and then lasts.
const ANSWER: Duration = Duration::from_secs(30);
/// How long nothing may arrive of a response that has begun. Watches get a bookmark about once a minute.
const SILENCE: Duration = Duration::from_secs(90);
/// A peer that has acknowledged nothing for this long is gone. client-go's HTTP/2 pings take as long.
const GONE: Duration = Duration::from_secs(45);
/// Idle time before the kernel's first keepalive probe, and the time between probes until [`GONE`].
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Unanswered probes before the peer is gone: `PROBE_AFTER + 3 * PROBE_EVERY` is [`GONE`].
const PROBES: u32 = 3;

/// Returns a client for a kubeconfig file; without one for $KUBECONFIG, the user's own file, or the pod's service account.
///
/// Every call ends: a connect takes 5 s at most, and a response's headers 30 s. A response of which nothing arrives for 90 s is
/// given up, and a connection whose peer has acknowledged nothing for 45 s is closed.
///
/// # Errors
/// The file can't be read, or no configuration was found.
pub async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    limited(&config(kubeconfig).await?)
}

/// Returns the configuration that [`client`] uses.
///
/// # Errors
/// The file can't be read, or no configuration was found.
pub async fn config(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    match kubeconfig {
        Some(path) => {
            let read =
                Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            Ok(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)
        }
        None => Config::infer().await.context("no --kubeconfig, no $KUBECONFIG, no service account"),
    }
}

/// Returns a client for a configuration: kube's stack with the timeouts of [`client`], and without kube's retries.
///
/// # Errors
/// A certificate or a token can't be used, or the configuration asks for an HTTP proxy.
/// An API server that starts asks clients to retry after 5 s; the watches' own pauses are shorter.
pub fn limited(config: &Config) -> anyhow::Result<Client> {
    if let Some(proxy) = &config.proxy_url {
        anyhow::bail!(
            "the proxy {proxy} for the API server is not supported: remove proxy-url from the kubeconfig, or HTTPS_PROXY"
        );
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(sockets())?);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_write_timeout(Some(GONE));
    let http: Http<_, Body> = Http::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(ANSWER))
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .layer(ResponseBodyTimeoutLayer::new(SILENCE))
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

/// Builds TCP connections that notice when their peer is gone.
fn sockets() -> HttpConnector {
    let mut sockets = HttpConnector::new();
    sockets.enforce_http(false);
    sockets.set_nodelay(true);
    sockets.set_connect_timeout(Some(CONNECT));
    sockets.set_keepalive(Some(PROBE_AFTER));
    sockets.set_keepalive_interval(Some(PROBE_EVERY));
    sockets.set_keepalive_retries(Some(PROBES));
    sockets.set_tcp_user_timeout(Some(GONE));
    sockets
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures::StreamExt as _;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Longer than any timeout.
    const HOUR: Duration = Duration::from_secs(3600);

    /// A client of a server on loopback, built from a kubeconfig.
    async fn client_of(address: SocketAddr) -> Client {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        );
        std::fs::write(file.path(), text).unwrap();
        client(Some(file.path())).await.unwrap()
    }

    /// A server that answers each request with these bytes and nothing more.
    async fn server(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinSet<()>) {
        async fn hold(mut stream: TcpStream, answer: &'static [u8]) {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut held = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.spawn(hold(stream, answer));
            }
        });
        (address, tasks)
    }

    /// The calls that do not end within an hour of the test's paused clock.
    async fn hung(api: &Api<ConfigMap>) -> Vec<&'static str> {
        let (patch, map) = (Patch::Merge(ConfigMap::default()), ConfigMap::default());
        let (patching, listing) = (PatchParams::default(), ListParams::default());
        let mut hung = Vec::new();
        macro_rules! ends {
            ($name:literal, $call:expr) => {
                match tokio::time::timeout(HOUR, $call).await {
                    Ok(ended) => assert!(ended.is_err(), $name),
                    Err(_) => hung.push($name),
                }
            };
        }
        ends!("get", api.get("x"));
        ends!("list", api.list(&listing));
        ends!("list_metadata", api.list_metadata(&listing));
        ends!("create", api.create(&PostParams::default(), &map));
        ends!("replace", api.replace("x", &PostParams::default(), &map));
        ends!("patch", api.patch("x", &patching, &patch));
        ends!("delete", api.delete("x", &DeleteParams::default()));
        hung
    }

    #[tokio::test(start_paused = true)]
    async fn call_to_a_silent_server_ends() {
        let (address, _server) = server(b"").await;
        let api: Api<ConfigMap> = Api::namespaced(client_of(address).await, "ns");
        assert!(hung(&api).await.is_empty(), "{:?}", hung(&api).await);
        let watch = tokio::time::timeout(HOUR, api.watch(&WatchParams::default(), "0")).await;
        assert!(watch.is_ok_and(|watch| watch.is_err()), "a watch that never begins");
    }

    #[tokio::test(start_paused = true)]
    async fn call_whose_response_stops_halfway_ends() {
        let (address, _server) =
            server(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
                .await;
        let api: Api<ConfigMap> = Api::namespaced(client_of(address).await, "ns");
        assert!(hung(&api).await.is_empty(), "{:?}", hung(&api).await);
    }

    #[tokio::test(start_paused = true)]
    async fn watch_that_receives_nothing_ends_but_not_within_a_minute() {
        let begun =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let (address, _server) = server(begun).await;
        let api: Api<ConfigMap> = Api::namespaced(client_of(address).await, "ns");
        let started = tokio::time::Instant::now();
        let watch = api.watch(&WatchParams::default(), "0").await.unwrap();
        let ended = tokio::time::timeout(HOUR, Box::pin(watch).next()).await;
        assert!(ended.is_ok_and(|event| event.is_none_or(|event| event.is_err())));
        assert!(
            started.elapsed() > Duration::from_secs(75),
            "{:?}: between two bookmarks",
            started.elapsed()
        );
    }

    #[tokio::test]
    async fn sockets_notice_a_peer_that_is_gone() {
        use nix::sys::socket::{getsockopt, sockopt};
        use tower::Service as _;
        let (address, _server) = server(b"").await;
        let stream = sockets().call(format!("http://{address}").parse().unwrap()).await.unwrap().into_inner();
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), 45_000);
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&stream, sockopt::TcpKeepIdle).unwrap(), 15);
        assert_eq!(getsockopt(&stream, sockopt::TcpKeepInterval).unwrap(), 10);
        assert_eq!(getsockopt(&stream, sockopt::TcpKeepCount).unwrap(), PROBES);
    }
}
