//! The objects of `deploy/examples/seed-d-tcp` and `seed-d-http` on real Envoys. The Secrets are those that cert-manager makes of
//! the examples' Certificates.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_api::pod::PROXY_NAME_ANNOTATION;
use portreeve_tests::certs::{Authority, Leaf};
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::greeter::Greeter;
use portreeve_tests::grpc::{Caller, Clock};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::{definitions, kustomize, manifest, wait};
use serde_json::{Value, json};

/// More than Envoy's default limit of a request, 15 s, and a message each second.
const LONG: u32 = 18;

/// Returns the objects of an example's file.
fn example(path: &str) -> Result<Vec<Value>> {
    kustomize::objects(&std::fs::read_to_string(kustomize::deploy().join("examples").join(path))?)
}

fn one<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind).with_context(|| format!("no {kind}"))
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {value}"))
}

/// Returns the Secret that an issuer makes of a Certificate.
fn issued(authority: &Authority, certificate: &Value) -> Result<Value> {
    let spec = &certificate["spec"];
    let names: Vec<&str> =
        spec["dnsNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let organization = spec.pointer("/subject/organizations/0").and_then(Value::as_str);
    let leaf = Leaf { organization, ..Leaf::new(text_at(spec, "/commonName")?, &names) };
    let signed = authority.issue(&leaf)?;
    let data = json!({"tls.crt": signed.certificate, "tls.key": signed.key, "ca.crt": authority.pem()});
    Ok(json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "stringData": data,
        "metadata": {"name": text_at(spec, "/secretName")?, "namespace": "default"}}))
}

/// Starts a town whose hub may read Secrets, and the authority of its certificates.
async fn start() -> Result<(Town, Authority)> {
    let town = Town::start(1).await?;
    let binding = kustomize::deploy().join("components/secrets/binding.yaml");
    town.apply(&std::fs::read_to_string(binding)?).await?;
    Ok((town, Authority::new("sys-foo")?))
}

/// Applies an example's listener, and the Secret of its certificate.
async fn apply(town: &Town, authority: &Authority, path: &str) -> Result<()> {
    let objects = example(path)?;
    let secret = issued(authority, one(&objects, "Certificate")?)?;
    let listener =
        objects.iter().find(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Listener")));
    for object in [&secret, listener.context("no listener")?] {
        town.apply(&serde_yaml::to_string(object)?).await?;
    }
    Ok(())
}

/// Creates pod `j` with the annotations of an example's Deployment, without an Envoy.
async fn pod(town: &Town, j: u8, path: &str) -> Result<Worker> {
    let worker = town.worker(1, j, "", false).await?;
    let objects = example(path)?;
    let annotations = one(&objects, "Deployment")?.pointer("/spec/template/metadata/annotations").cloned();
    for (key, value) in annotations.as_ref().and_then(Value::as_object).context("no annotations")? {
        worker.annotate(key, value.as_str()).await?;
    }
    Ok(worker)
}

/// Like [`pod`], with an Envoy that has the sidecar component's name.
async fn with_sidecar(town: &Town, j: u8, path: &str) -> Result<Worker> {
    let mut worker = pod(town, j, path).await?;
    town.start_sidecar_as(&mut worker, 0, "sidecar")?;
    Ok(worker)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// Connects from a pod and speaks first. Returns whether the application answers. Its name is that of the pod `w1-1`.
fn served(worker: &Worker, to: SocketAddr) -> Result<bool> {
    worker.netns.enter(|| {
        let Ok(mut stream) = TcpStream::connect_timeout(&to, BOUND) else { return Ok(false) };
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut line = String::new();
        let read = stream.write_all(b"hello\n").and_then(|()| BufReader::new(stream).read_line(&mut line));
        Ok(read.is_ok() && line == "w1-1\n")
    })?
}

#[tokio::test(flavor = "multi_thread")]
async fn bar_serves_alice_and_bob_and_no_pod_without_their_certificates() -> Result<()> {
    let (town, authority) = start().await?;
    for name in ["bar", "alice", "bob"] {
        apply(&town, &authority, &format!("seed-d-tcp/{name}.yaml")).await?;
    }
    let bar = with_sidecar(&town, 1, "seed-d-tcp/bar.yaml").await?;
    let alice = with_sidecar(&town, 2, "seed-d-tcp/alice.yaml").await?;
    let bob = with_sidecar(&town, 3, "seed-d-tcp/bob.yaml").await?;
    let application = Greeter::start(&bar.netns, &bar.name, loopback(80))?;
    listeners(&bar.admin, &["ingress"], BOUND).await?;
    for client in [&alice, &bob] {
        listeners(&client.admin, &["egress"], BOUND).await?;
        let answered = || served(client, loopback(8080)).is_ok_and(|served| served);
        wait::wait_until(&format!("bar's answer to {}", client.name), BOUND, answered)?;
    }
    // Of the cluster bar-peers too, but without an Envoy or a certificate.
    let carol = pod(&town, 4, "seed-d-tcp/alice.yaml").await?;
    let before = application.accepted();
    for _ in 0..10 {
        ensure!(!served(&carol, SocketAddr::new(bar.ip(), 8080))?, "carol has no certificate");
    }
    ensure!(application.accepted() == before, "the application saw a connection of carol's");
    // A certificate of the same authority with another subject.
    let other = json!({"spec": {"secretName": "alice-tls", "commonName": "cluster.aws.io/carol",
        "subject": {"organizations": ["cert-manager"]}}});
    town.apply(&serde_yaml::to_string(&issued(&authority, &other)?)?).await?;
    let refused = || served(&alice, loopback(8080)).is_ok_and(|served| !served);
    wait::wait_until("the end of alice's admission", BOUND, refused)?;
    ensure!(served(&bob, loopback(8080))?, "bob is served as before");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_are_balanced_and_their_streams_last_longer_than_fifteen_seconds() -> Result<()> {
    let (town, authority) = start().await?;
    for name in ["grpc-server", "grpc-client"] {
        apply(&town, &authority, &format!("seed-d-http/{name}.yaml")).await?;
    }
    let first = with_sidecar(&town, 1, "seed-d-http/grpc-server.yaml").await?;
    // Also without aggregated discovery.
    let mut second = pod(&town, 2, "seed-d-http/grpc-server.yaml").await?;
    town.start_former_sidecar(&mut second, 0, "grpc-server")?;
    let mut client = pod(&town, 3, "seed-d-http/grpc-client.yaml").await?;
    town.start_former_sidecar(&mut client, 0, "grpc-client")?;
    let clock = |worker: &Worker| Clock::start(&worker.netns, &worker.name, loopback(8090));
    let _clocks = [clock(&first)?, clock(&second)?];
    for (worker, listener) in [(&first, "ingress"), (&second, "ingress"), (&client, "egress")] {
        listeners(&worker.admin, &[listener], BOUND).await?;
    }
    let wanted = BTreeSet::from([first.name.clone(), second.name.clone()]);
    let balanced = || async {
        let Ok(caller) = Caller::connect(&client.netns, loopback(8090)).await else { return false };
        let mut names = BTreeSet::new();
        for _ in 0..20 {
            names.extend(caller.call(1).await.unwrap_or_default());
        }
        names == wanted
    };
    wait::until("answers of both servers on one connection", BOUND, balanced).await?;
    let caller = Caller::connect(&client.netns, loopback(8090)).await?;
    let begun = Instant::now();
    let messages = caller.call(LONG).await?;
    println!("{} messages in {:?}", messages.len(), begun.elapsed());
    ensure!(begun.elapsed() > Duration::from_secs(15), "the stream was too short for this test");
    ensure!(messages.iter().all(|name| *name == messages[0]), "{messages:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_are_taken_by_a_strict_server_that_has_cert_managers_kinds() -> Result<()> {
    let control = ControlPlane::start().await?;
    let client = control.client()?;
    control.install_crds().await?;
    let kinds = manifest::apply(&client, &definitions::text()?).await?;
    manifest::established(&client, &kinds, BOUND).await?;
    for name in ["seed-d-tcp", "seed-d-http"] {
        let text = kustomize::text(&kustomize::deploy().join("examples").join(name))?;
        let objects = kustomize::objects(&text)?;
        let deployments: Vec<_> = objects.iter().filter(|object| object["kind"] == "Deployment").collect();
        ensure!(!deployments.is_empty(), "no Deployment in {name}");
        for deployment in deployments {
            let sidecar = text_at(deployment, "/spec/template/spec/initContainers/0/restartPolicy")?;
            ensure!(sidecar == "Always", "no sidecar in {deployment}");
            is_named_for_a_listener(&objects, deployment)?;
        }
        let stored = manifest::apply_strictly(&client, &text).await?;
        println!("{name}: {} objects", stored.len());
    }
    let map = kustomize::deploy().join("examples/seed-d-bootstrap/config-map.yaml");
    manifest::apply_strictly(&client, &std::fs::read_to_string(map)?).await.map(drop)
}

/// Requires a listener of the example that has the name of the Deployment's proxies.
fn is_named_for_a_listener(objects: &[Value], deployment: &Value) -> Result<()> {
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    let name = annotations[PROXY_NAME_ANNOTATION].as_str().context("no name for the proxy")?;
    ensure!(objects.iter().any(|object| object["spec"]["nodename"] == name), "no listener for {name}");
    Ok(())
}
