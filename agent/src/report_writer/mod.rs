//! Writes the node's report to the API server, by server-side apply of this agent's own object. Entry point:
//! [`run`]. While the API server is unreachable the agent keeps working, and later writes the newest report.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use portreeve_agent_core::status::leaving;
use portreeve_agent_core::status::node_report::{Facts, Pace, said};
use portreeve_api::own::node_report::{NodeReport, NodeReportStatus};
use serde_json::{Value, json};

use crate::local::Local;
use crate::supervisor::Supervisor;
use crate::udp_sockets;

mod older_schema;
mod sessions;

/// Field manager of the report.
const MANAGER: &str = "portreeve-agent";

/// How long changes are collected before a new report is made.
const GATHER: Duration = Duration::from_millis(200);

/// How often sessions are counted while endpoints terminate.
const LEAVING: Duration = Duration::from_secs(5);

/// Timeout of a write to the API server.
const ANSWER: Duration = Duration::from_secs(5);

/// Writes the report whenever it is due. Never returns.
///
/// # Errors
/// Never returns an error. The first failure of a series is logged, and failed writes are retried.
pub async fn run(client: Client, local: Arc<Local>, supervisor: Supervisor) -> anyhow::Result<()> {
    let (mut changes, mut proxies) = (local.changes(), supervisor.watch());
    let mut pace = Pace::default();
    let mut failing = false;
    let mut lacking = BTreeSet::new();
    loop {
        let now = Timestamp::now();
        let (mut report, leaving) = look(&local, &supervisor, &pace.last(), now);
        let mut wait = pace.wait(&report, now);
        // There is no event when a session ends.
        if leaving {
            wait = wait.min(LEAVING);
        }
        if wait.is_zero() {
            sessions::fill(&mut report, &supervisor).await;
            let outcome = write(&client, local.node(), &report, now).await;
            if let Ok(found) = &outcome {
                told(&mut lacking, found);
            }
            match &outcome {
                Err(error) if !failing => {
                    tracing::warn!(%error, "can't write the node's report, trying again")
                }
                _ => {}
            }
            failing = outcome.is_err();
            // A report that was not written is recorded with another version, so that the next one differs
            // from it.
            let kept =
                if failing { NodeReportStatus { agent_version: String::new(), ..report } } else { report };
            pace.written(kept, now);
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = changes.changed() => tokio::time::sleep(GATHER).await,
            _ = proxies.changed() => {}
        }
    }
}

/// Returns the current report, and whether endpoints are terminating.
fn look(
    local: &Local,
    supervisor: &Supervisor,
    before: &NodeReportStatus,
    now: Timestamp,
) -> (NodeReportStatus, bool) {
    let kept = supervisor.status();
    let statuses = local.statuses().borrow().clone();
    local.read(|world| {
        let leaving = world.terminating().next().is_some();
        let sockets = if leaving { udp_sockets::sockets() } else { leaving::Sockets::default() };
        let facts = Facts { world, statuses: &statuses, keepers: &kept, sockets: &sockets };
        (said(&facts, before, now), leaving)
    })
}

/// Logs once which fields the cluster's NodeReport definition lacks.
fn told(lacking: &mut BTreeSet<String>, found: &BTreeSet<String>) {
    if lacking != found && !found.is_empty() {
        tracing::warn!(fields = ?found, "the definition of NodeReports is older than this agent; the report lacks these fields until deploy/crds is applied");
    }
    lacking.clone_from(found);
}

/// Writes the report without the fields that the cluster's definition lacks. Returns those fields.
async fn write(
    client: &Client,
    node: &str,
    report: &NodeReportStatus,
    now: Timestamp,
) -> anyhow::Result<BTreeSet<String>> {
    let writing = async {
        let status = NodeReportStatus { observed_at: Some(Time(now)), ..report.clone() };
        let api: Api<NodeReport> = Api::all(client.clone());
        let mut patch = object(node, json!({"status": status}));
        let mut lacking = BTreeSet::new();
        loop {
            let Err(error) = apply(&api, node, &patch).await else { return Ok(lacking) };
            match &error {
                kube::Error::Api(status) if status.code == 404 => create(client, node).await?,
                kube::Error::Api(status) if !older_schema::undeclared(&status.message).is_empty() => {
                    let found = older_schema::undeclared(&status.message);
                    older_schema::leave_out(&mut patch, &found);
                    lacking.extend(found);
                }
                _ => return Err(error),
            }
        }
    };
    Ok(tokio::time::timeout(ANSWER, writing).await??)
}

async fn apply(api: &Api<NodeReport>, node: &str, patch: &Value) -> kube::Result<()> {
    let params = PatchParams::apply(MANAGER).force();
    api.patch_status(node, &params, &Patch::Apply(patch)).await.map(drop)
}

/// Creates the object, with the Node as its owner, so that it is deleted with the Node.
async fn create(client: &Client, node: &str) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let owner = nodes.get_opt(node).await.ok().flatten();
    let owner = owner
        .and_then(|found| found.uid())
        .map(|uid| json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}]));
    let metadata = owner.map_or(json!({}), |owner| json!({"ownerReferences": owner}));
    let api: Api<NodeReport> = Api::all(client.clone());
    let patch = object(node, json!({"metadata": metadata}));
    api.patch(node, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await.map(drop)
}

fn object(node: &str, mut rest: Value) -> Value {
    rest["apiVersion"] = NodeReport::api_version(&()).into();
    rest["kind"] = NodeReport::kind(&()).into();
    rest["metadata"]["name"] = node.into();
    rest
}
