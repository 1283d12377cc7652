//! A control plane without nodes: a real etcd and a real kube-apiserver as child processes of the test.
//!
//! Entry points: [`ControlPlane::start`] on the machine's loopback, [`ControlPlane::start_in`] inside a bed. There is
//! no controller manager: nothing fills Endpoints, deletes namespaces or creates ServiceAccounts, and pods stay as
//! written. (For a control plane with controllers, see [`ControlPlane::start_for`] and [`crate::cluster`].)
//! [`ControlPlane::shared`] reuses one that other tests used before.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::http::Request;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::{Client, Config};

use crate::certs::Authority;
use crate::netns::{Bed, Netns};
use crate::process::Process;
use crate::relay::Relay;
use crate::wait;

mod idle;
mod prepared;
mod site;
mod store;

use prepared::Prepared;
use site::{Kind, Site};

/// Timeout for the API server to be ready. Measured: 3.5 s on an idle machine.
const READY: Duration = Duration::from_secs(90);

/// A running control plane. It ends on drop, unless it is shared.
pub struct ControlPlane {
    /// The API server, unless it was killed.
    apiserver: Option<Process>,
    /// The store. `None` only after another owner has taken over the servers.
    etcd: Option<Process>,
    /// The relay for the test's own clients, if the servers are inside a bed.
    relay: Option<Relay>,
    /// The state after its preparation, if the control plane can be reused.
    prepared: Option<Prepared>,
    /// How the servers are started. Dropped last, because it owns their files.
    site: Arc<Site>,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts on free ports of 127.0.0.1, and waits until the API server is ready.
    ///
    /// # Errors
    /// Returns an error if the programs are missing and can't be built, or aren't ready in time. Their output is
    /// printed.
    pub async fn start() -> Result<Self> {
        Self::start_at(None, Kind::Alone).await
    }

    /// Starts inside the root namespace of `bed`. Processes on its nodes reach the server at 10.77.0.1, the test
    /// through a relay.
    ///
    /// # Errors
    /// See [`ControlPlane::start`].
    pub async fn start_in(bed: &Bed) -> Result<Self> {
        Self::start_at(Some(bed.root().clone()), Kind::Alone).await
    }

    /// Starts inside `bed` for nodes with these names and for controllers (which [`crate::cluster`] starts). Nodes may
    /// only access their own objects, pods have ServiceAccounts, and pods reach the API server as the Service
    /// `kubernetes`.
    ///
    /// # Errors
    /// See [`ControlPlane::start`].
    pub async fn start_for(bed: &Bed, nodes: Vec<String>) -> Result<Self> {
        Self::start_at(Some(bed.root().clone()), Kind::Cluster(nodes)).await
    }

    /// Starts at `namespace`. If another process takes a chosen port first, new ports are chosen.
    async fn start_at(namespace: Option<Netns>, kind: Kind) -> Result<Self> {
        let mut attempts = 3;
        loop {
            attempts -= 1;
            let mut plane = Self::launch(Site::new(namespace.clone(), kind.clone())?)?;
            match plane.wait_ready().await {
                Ok(()) => return Ok(plane),
                Err(error) if attempts > 0 && plane.lost_a_port() => eprintln!("starting anew: {error:#}"),
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts both servers without waiting.
    fn launch(site: Site) -> Result<Self> {
        let etcd = Some(site.spawn("etcd", &site.etcd_command())?);
        let apiserver = Some(site.spawn("apiserver", &site.apiserver_command())?);
        let relay = match &site.namespace {
            Some(namespace) => Some(Relay::start(namespace, site.address)?),
            None => None,
        };
        Ok(Self { apiserver, etcd, relay, prepared: None, site: Arc::new(site) })
    }

    /// Returns a new client for the administrator. It keeps connections, so it must be used in the runtime that created
    /// it.
    ///
    /// # Errors
    /// No error is expected.
    pub fn client(&self) -> Result<Client> {
        self.client_of("admin")
    }

    /// Returns a new client for `admin`, `hub` or `agent`; see [`ControlPlane::kubeconfig`].
    ///
    /// # Errors
    /// Returns an error if there is no such user.
    pub fn client_of(&self, user: &str) -> Result<Client> {
        self.client_with(self.site.token(user)?)
    }

    /// Returns a new client with a given bearer token.
    ///
    /// # Errors
    /// No error is expected.
    pub fn client_with(&self, token: &str) -> Result<Client> {
        let mut config = Config::new(self.url().parse()?);
        config.root_cert = Some(vec![self.site.authority.der()]);
        config.auth_info.token = Some(token.into());
        Ok(Client::try_from(config)?)
    }

    /// Returns the API server's URL for the test's own clients.
    pub fn url(&self) -> String {
        format!("https://{}", self.reached_at())
    }

    fn reached_at(&self) -> SocketAddr {
        self.relay.as_ref().map_or(self.site.address, Relay::address)
    }

    /// Returns the API server's address for processes in the servers' namespace and on the nodes of its bed.
    pub fn address(&self) -> SocketAddr {
        self.site.address
    }

    /// Returns the CA that signed the serving certificate.
    pub fn authority(&self) -> &Authority {
        &self.site.authority
    }

    /// Returns the path of a kubeconfig for processes in the servers' namespace and on the nodes of its bed. Users are
    /// `admin`, `hub` and `agent`. The last two are the ServiceAccounts `portreeve-hub` and `portreeve-agent` in the
    /// namespace `portreeve`, which have no rights until RBAC objects (`deploy/rbac`) grant them.
    ///
    /// # Errors
    /// Returns an error if there is no such user.
    pub fn kubeconfig(&self, user: &str) -> Result<PathBuf> {
        self.kubeconfig_with(user, self.site.token(user)?)
    }

    /// Returns the path of a kubeconfig with a given bearer token, for example one of [`ControlPlane::bound_token`].
    /// `name` is part of the file's name.
    ///
    /// # Errors
    /// Returns an error if the data directory can't be written.
    pub fn kubeconfig_with(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.site.kubeconfig((name, token), self.site.address)
    }

    /// Returns the path of the administrator's kubeconfig for processes outside the bed, which use the test's relay.
    ///
    /// # Errors
    /// Returns an error if the data directory can't be written.
    pub fn kubeconfig_outside(&self) -> Result<PathBuf> {
        self.site.kubeconfig(("outside", self.site.token("admin")?), self.reached_at())
    }

    /// Returns a command in the control plane's namespace. In `flags`, `{directory}` is replaced with the directory of
    /// the server's keys.
    pub(crate) fn companion(&self, program: &Path, flags: &[&str]) -> std::process::Command {
        let mut command = self.site.command(program);
        command.args(flags.iter().map(|flag| flag.replace("{directory}", &self.site.path(""))));
        command
    }

    /// Returns a ServiceAccount token that is bound to a pod, like one that the kubelet projects, including the node's
    /// name. Account and pod must exist. `audience` is the token's audience.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request.
    pub async fn bound_token(&self, account: &str, pod: &str, audience: &str) -> Result<String> {
        let (namespace, pod) = pod.split_once('/').context("the pod is given as namespace/name")?;
        let bound = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "name": pod});
        self.token((namespace, account), audience, bound).await
    }

    /// Returns a token of a ServiceAccount (namespace, name) that isn't bound to an object.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request.
    pub async fn unbound_token(&self, account: (&str, &str), audience: &str) -> Result<String> {
        self.token(account, audience, serde_json::Value::Null).await
    }

    async fn token(
        &self,
        (namespace, account): (&str, &str),
        audience: &str,
        bound: serde_json::Value,
    ) -> Result<String> {
        let order: TokenRequest = serde_json::from_value(serde_json::json!({
            "spec": {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound},
        }))?;
        let accounts = Api::<ServiceAccount>::namespaced(self.client()?, namespace);
        let answer = accounts.create_token_request(account, &PostParams::default(), &order).await?;
        Ok(answer.status.context("a token request without an answer")?.token)
    }

    /// Signs any claims with the API server's key, for tokens that the server would never issue, for example expired
    /// ones.
    ///
    /// # Errors
    /// Returns an error if the claims aren't valid.
    pub fn signed_token(&self, claims: &serde_json::Value) -> Result<String> {
        crate::token::sign(&self.site.signing_key()?, claims)
    }

    /// Applies every document of `yaml` as the administrator.
    ///
    /// # Errors
    /// As for [`crate::manifest::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        crate::manifest::apply(&self.client()?, yaml).await.map(drop)
    }

    /// Applies `deploy/crds/*.yaml` and waits until all CRDs are established.
    ///
    /// # Errors
    /// Returns an error if there is no CRD or the server rejects one.
    pub async fn install_crds(&self) -> Result<()> {
        self.install_crds_of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds"))).await
    }

    /// Applies the CRDs in a directory and waits until all are established.
    ///
    /// # Errors
    /// Returns an error if there is no CRD or the server rejects one.
    pub async fn install_crds_of(&self, directory: &Path) -> Result<()> {
        let client = self.client()?;
        let mut applied = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let yaml = fs::read_to_string(&path)?;
                let stored = crate::manifest::apply(&client, &yaml).await;
                applied.extend(stored.with_context(|| path.display().to_string())?);
            }
        }
        ensure!(!applied.is_empty(), "no CRD in {}", directory.display());
        crate::manifest::established(&client, &applied, READY).await
    }

    /// Kills the API server (SIGKILL). etcd and the data stay.
    pub fn kill(&mut self) {
        self.apiserver = None;
    }

    /// Returns the API server's process, to stop and continue it, or to measure its resource use.
    pub fn apiserver(&mut self) -> Option<&mut Process> {
        self.prepared = None;
        self.apiserver.as_mut()
    }

    /// Restarts a killed API server with the same address and data, and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if it isn't ready in time.
    pub async fn revive(&mut self) -> Result<()> {
        if self.apiserver.is_none() {
            self.apiserver = Some(self.site.spawn("apiserver", &self.site.apiserver_command())?);
        }
        self.wait_ready().await
    }

    /// Kills the API server and restarts it.
    ///
    /// # Errors
    /// Returns an error if it isn't ready in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.revive().await
    }

    /// Waits until `/readyz` returns 200, or the server ends.
    async fn wait_ready(&mut self) -> Result<()> {
        let client = self.client()?;
        let asked = wait::eventually("a ready API server", READY, || {
            let running = self.apiserver.as_mut().is_some_and(Process::is_running);
            let client = client.clone();
            async move { answered_ready(client).await.then_some(true).or((!running).then_some(false)) }
        });
        ensure!(asked.await?, "the API server ended");
        Ok(())
    }

    /// Returns whether a server couldn't bind its port.
    fn lost_a_port(&self) -> bool {
        let taken = |process: &Process| process.log().contains("address already in use");
        self.etcd.iter().chain(&self.apiserver).any(taken)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Returns whether `/readyz` returns 200.
async fn answered_ready(client: Client) -> bool {
    match Request::get("/readyz").body(Vec::new()) {
        Ok(request) => client.request_text(request).await.is_ok(),
        Err(_) => false,
    }
}
