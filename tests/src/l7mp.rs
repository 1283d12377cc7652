//! The real l7mp proxy in a network namespace ([`Proxy::start`]), from the npm package that the agent installs.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use portreeve_agent::l7mp::locate;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::netns::Netns;
use crate::packages;
use crate::process::Process;
use crate::wait;

/// The port of the REST API.
const PORT: u16 = 1234;
/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(40);
/// The timeout of a request.
const ANSWER: Duration = Duration::from_secs(10);

/// The proxy's own configuration, in addition to its REST API.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether requests and answers are checked against the API's schema.
    pub strict: bool,
    /// Listeners.
    pub listeners: Vec<Value>,
    /// Clusters.
    pub clusters: Vec<Value>,
    /// Rule lists.
    pub lists: Vec<Value>,
}

/// A proxy in a network namespace. It ends on drop.
pub struct Proxy {
    process: Process,
    namespace: Netns,
    settings: Settings,
    /// Holds the configuration file.
    directory: TempDir,
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy in a namespace. [`Proxy::wait_ready`] waits until it answers.
    ///
    /// # Errors
    /// Returns an error if node or npm is missing or the package can't be fetched.
    pub fn start(namespace: &Netns, settings: Settings) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("config.json"), settings.configuration().to_string())?;
        let process = spawn(namespace, &settings, &directory)?;
        Ok(Self { process, namespace: namespace.clone(), settings, directory })
    }

    /// Ends the proxy as a crash would, and starts it again without what it was told.
    ///
    /// # Errors
    /// See [`Proxy::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = spawn(&self.namespace, &self.settings, &self.directory)?;
        Ok(())
    }

    /// Returns the process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns the address of the REST API inside the namespace.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.namespace.v4(), PORT)
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.process.log().matches(" L7mp.api.").count()
    }

    /// Returns the number of requests for an operation of the API so far, such as `getListeners`.
    pub fn count(&self, operation: &str) -> usize {
        let logged = format!(" L7mp.api.{operation}");
        self.process.log().lines().filter(|line| line.trim_end().ends_with(&logged)).count()
    }

    /// Waits until the proxy answers.
    ///
    /// # Errors
    /// Returns an error if it takes too long.
    pub async fn wait_ready(&self) -> Result<()> {
        wait::until("an answer of l7mp", BOUND, async || self.get("admin").await.is_ok()).await
    }

    /// Sends `GET`.
    ///
    /// # Errors
    /// Returns an error with the proxy's words if the answer's status isn't 200.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.request(Method::GET, path, None).await
    }

    /// Sends `POST`.
    ///
    /// # Errors
    /// See [`Proxy::get`].
    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.request(Method::POST, path, Some(body)).await
    }

    /// Sends `DELETE`.
    ///
    /// # Errors
    /// See [`Proxy::get`].
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.request(Method::DELETE, path, None).await
    }

    /// Returns the names of all objects of a kind (`listeners`, `clusters`, `rulelists`, `rules`, `routes`, `sessions`).
    ///
    /// # Errors
    /// See [`Proxy::get`].
    pub async fn names(&self, kind: &str) -> Result<Vec<String>> {
        let all = self.get(kind).await?;
        let all = all.as_array().with_context(|| format!("{kind} are a list"))?;
        Ok(all.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect())
    }

    async fn request(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let what = format!("{method} {path}");
        let exchange = async {
            let stream =
                self.namespace.enter(|| std::net::TcpStream::connect_timeout(&self.address(), ANSWER))??;
            stream.set_nonblocking(true)?;
            let stream = TcpStream::from_std(stream)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let request = Request::builder()
                .method(method)
                .uri(format!("/api/v1/{path}"))
                .header("host", "l7mp")
                .header("content-type", "application/json")
                .body(Full::<Bytes>::new(body.map(|body| body.to_string()).unwrap_or_default().into()))?;
            let asking = async move {
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
            };
            tokio::join!(asking, connection).0
        };
        let (status, body) = tokio::time::timeout(ANSWER, exchange).await.with_context(|| what.clone())??;
        ensure!(status == StatusCode::OK, "{what}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}

// === impl Settings ===

impl Settings {
    /// Returns the configuration file's content.
    fn configuration(&self) -> Value {
        let controller = json!({"name": "l7mp-controller", "spec": {"protocol": "L7mpController"}});
        let rule = json!({"action": {"route": {"destination": controller}}});
        let api = json!({
            "name": "controller-listener",
            "spec": {"protocol": "HTTP", "port": PORT},
            "rules": [rule],
        });
        let listeners: Vec<&Value> = [&api].into_iter().chain(&self.listeners).collect();
        json!({
            "admin": {"log_level": "info", "log_file": "stdout", "access_log_path": "/dev/null"},
            "listeners": listeners,
            "clusters": self.clusters,
            "rulelists": self.lists,
        })
    }
}

fn spawn(namespace: &Netns, settings: &Settings, directory: &TempDir) -> Result<Process> {
    let script = script()?;
    let mut command = namespace.command("node");
    command.arg(&script).arg("-c").arg(directory.path().join("config.json"));
    if settings.strict {
        command.arg("-s");
    }
    // It finds its schema relative to its working directory.
    command.current_dir(script.parent().context("the package's directory")?);
    Process::spawn("l7mp", &command)
}

/// Returns the proxy's script, and installs the package if it is missing.
///
/// # Errors
/// Returns an error if node or npm is missing or the package can't be fetched.
pub fn script() -> Result<PathBuf> {
    packages::need(&[("node", "nodejs"), ("npm", "npm")])?;
    Ok(locate::fetched(&mut |step| eprintln!("{step}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_configuration_stands_beside_the_api() {
        let cluster = json!({"name": "meter", "spec": {"protocol": "Metric"}});
        let settings = Settings { clusters: vec![cluster.clone()], ..Settings::default() };
        let made = settings.configuration();
        assert_eq!(made["clusters"], json!([cluster]));
        assert_eq!(made["listeners"][0]["spec"]["port"], json!(PORT));
    }
}
