//! Which objects a real API server accepts and rejects by the CRDs, and that the programs decide alike. The samples are
//! those of the API's own tests: each bad one begins with the path of its violation.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};
use portreeve_api::b::convert::convert;
use portreeve_api::own::node_report::NodeReport;
use portreeve_hub::files::values;
use portreeve_hub::kinds;
use portreeve_hub::row::Row;
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::town;
use serde_json::{Value, json};

/// A document of a file.
struct Sample {
    path: PathBuf,
    first_line: String,
    /// Whether the second line says that only the programs know the rule.
    ours: bool,
    value: Value,
}

/// The server's answer to a dry-run creation.
#[derive(Debug)]
enum Answer {
    /// Accepted, with warnings.
    Taken(Vec<String>),
    /// Rejected, with the fields at fault and the message.
    Refused(Vec<String>, String),
}

/// Returns the documents of the YAML files in a directory and its subdirectories.
fn samples(directory: &str) -> Result<Vec<Sample>> {
    let mut found = Vec::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory), &mut found)?;
    ensure!(!found.is_empty(), "{directory} is empty");
    Ok(found)
}

fn gather(directory: &Path, found: &mut Vec<Sample>) -> Result<()> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path)?;
            let first_line = text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
            let ours = text.lines().nth(1) == Some("# Only the hub refuses it.");
            // As kubectl reads them: `yes` is a boolean.
            for value in
                values(text.as_bytes()).map_err(|error| anyhow!("{}: {error}", path.display()))?.documents
            {
                found.push(Sample { path: path.clone(), first_line: first_line.clone(), ours, value });
            }
        }
    }
    Ok(())
}

// === impl Sample ===

impl Sample {
    fn title(&self) -> String {
        format!("{} {}", self.path.display(), self.value["metadata"]["name"])
    }

    /// Returns the programs' verdict: paths of violations, or the path that can't be parsed; and warnings.
    fn judge(&self) -> (Vec<String>, Vec<String>) {
        let value = self.value.clone();
        let judged = match self.row() {
            Some(row) => (row.read)(value).map(|(object, warn)| (object.violations(), warn)),
            None => NodeReport::parse(value).map(|(_, warn)| (Vec::new(), warn)),
        };
        match judged {
            Ok((violations, warnings)) => (violations.into_iter().map(|v| v.path).collect(), warnings),
            Err(error) => (vec![error.path], Vec::new()),
        }
    }

    /// Returns the URL of its collection, if the kind is one of the product's.
    fn collection(&self) -> Option<String> {
        let namespace = self.value["metadata"]["namespace"].as_str().unwrap_or("default");
        let (resource, namespaced) = match self.row() {
            Some(row) => ((row.resource)(), row.kind.namespaced),
            None if self.value["kind"] == "NodeReport" => (ApiResource::erase::<NodeReport>(&()), false),
            None => return None,
        };
        Some(DynamicObject::url_path(&resource, namespaced.then_some(namespace)))
    }

    /// Returns the registry's row of its kind.
    fn row(&self) -> Option<&'static Row> {
        let version = |row: &Row| (row.resource)().api_version;
        let is = |row: &&Row| self.value["kind"] == row.kind.name && self.value["apiVersion"] == version(row);
        kinds::ALL.into_iter().find(is)
    }

    /// Sends the object to the server, which stores nothing. `validation` of unknown fields is "Strict" or "Warn".
    async fn ask(&self, client: &Client, validation: &str) -> Result<Answer> {
        let collection = self.collection().with_context(|| self.title())?;
        let uri = format!("{collection}?dryRun=All&fieldValidation={validation}");
        let request = hyper::http::Request::post(uri)
            .header("content-type", "application/json")
            .body(kube::client::Body::from(serde_json::to_vec(&self.value)?))?;
        let answer = client.send(request).await?;
        let taken = answer.status().is_success();
        let headers = answer.headers().get_all("warning").into_iter();
        let warnings = headers.filter_map(|header| header.to_str().ok().map(str::to_owned)).collect();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await?.to_bytes();
        if taken {
            return Ok(Answer::Taken(warnings));
        }
        let status: Value = serde_json::from_slice(&body)?;
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        let fields = causes.iter().filter_map(|cause| cause["field"].as_str().map(str::to_owned)).collect();
        Ok(Answer::Refused(fields, status["message"].as_str().unwrap_or_default().to_owned()))
    }
}

async fn server() -> Result<(ControlPlane, Client)> {
    let plane = town::api_server().await?;
    let client = plane.client()?;
    Ok((plane, client))
}

#[tokio::test]
async fn the_server_takes_every_good_sample_and_refuses_every_bad_one_where_the_programs_do() -> Result<()> {
    let (_plane, client) = server().await?;
    let mut wrong = Vec::new();
    let good = samples("hub/api/tests/samples/good")?;
    for sample in &good {
        match sample.ask(&client, "Strict").await? {
            Answer::Taken(warnings) if warnings.is_empty() && sample.judge() == (vec![], vec![]) => {}
            answer => {
                wrong.push(format!("{}: {answer:?}, the programs say {:?}", sample.title(), sample.judge()))
            }
        }
    }
    let bad = samples("hub/api/tests/samples/bad")?;
    for sample in &bad {
        let mut ours = sample.judge().0;
        ours.dedup();
        let answer = sample.ask(&client, "Strict").await?;
        let agreed = match &answer {
            Answer::Refused(fields, _) => !sample.ours && fields.contains(&sample.first_line),
            Answer::Taken(_) => sample.ours,
        };
        if !agreed || ours != [sample.first_line.clone()] {
            wrong.push(format!(
                "{} at {}: {answer:?}, the programs say {ours:?}",
                sample.title(),
                sample.first_line
            ));
        }
    }
    println!("{} good samples, {} bad ones, judged differently: {}", good.len(), bad.len(), wrong.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn every_example_of_our_kinds_is_taken_without_a_warning() -> Result<()> {
    let (_plane, client) = server().await?;
    // Dry runs need the namespaces, too.
    for name in ["epic", "epic-sample"] {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    }
    let mut taken = 0;
    for sample in samples("deploy/examples")?.iter().filter(|sample| sample.collection().is_some()) {
        match sample.ask(&client, "Strict").await? {
            Answer::Taken(warnings) => ensure!(warnings.is_empty(), "{}: {warnings:?}", sample.title()),
            Answer::Refused(_, words) => bail!("{}: {words}", sample.title()),
        }
        ensure!(sample.judge() == (vec![], vec![]), "{}: {:?}", sample.title(), sample.judge());
        taken += 1;
    }
    println!("{taken} objects of the examples taken");
    ensure!(taken >= 5, "only {taken} objects of our kinds among the examples");
    Ok(())
}

#[tokio::test]
async fn an_unknown_field_is_refused_strictly_and_otherwise_warned_of_as_the_programs_do() -> Result<()> {
    let (_plane, client) = server().await?;
    let mut sample = samples("hub/api/tests/samples/good")?
        .into_iter()
        .find(|sample| sample.path.ends_with("ingress.yaml"))
        .context("no ingress.yaml")?;
    sample.value["spec"]["listeners"][0]["udp"]["prot"] = 1.into();
    let field = "spec.listeners[0].udp.prot";
    match sample.ask(&client, "Warn").await? {
        Answer::Taken(warnings) => {
            println!("server: {warnings:?}, programs: {:?}", sample.judge().1);
            ensure!(warnings.iter().any(|warning| warning.contains(field)), "{warnings:?}");
        }
        refused => bail!("{refused:?}"),
    }
    let (violations, warnings) = sample.judge();
    ensure!(violations.is_empty() && warnings.len() == 1 && warnings[0].contains(field), "{warnings:?}");
    match sample.ask(&client, "Strict").await? {
        Answer::Refused(_, words) => ensure!(words.contains(field), "{words}"),
        taken => bail!("{taken:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn converted_objects_are_taken_by_a_strict_server() -> Result<()> {
    let (_plane, client) = server().await?;
    let mut taken = 0;
    for mut sample in samples("hub/cli/tests/convert")? {
        let converted = convert(sample.value.clone());
        sample.value = converted.map_err(|why| anyhow!("{}: {why:?}", sample.title()))?.object;
        match sample.ask(&client, "Strict").await? {
            Answer::Taken(warnings) => ensure!(warnings.is_empty(), "{}: {warnings:?}", sample.title()),
            Answer::Refused(_, words) => bail!("{}: {words}", sample.title()),
        }
        taken += 1;
    }
    ensure!(taken == 20, "{taken} converted objects were taken");
    Ok(())
}
