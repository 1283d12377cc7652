//! The machine's DNS configuration: an agent serves without it, and follows its changes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use portreeve_tests::dns::Dns;
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{path, wait};
use tempfile::TempDir;

/// The labels of the gateways.
const GATEWAY: &str = "app: envoy-ingress";
/// The port of every app.
const APP: u16 = 6000;
/// The codes of SERVFAIL and REFUSED.
const CODES: [u8; 2] = [2, 5];

/// A town of one node with a gateway, whose agent has `etc` as its /etc; a DNS server; and two pods with echoes.
struct Scene {
    town: Town,
    dns: Dns,
    etc: TempDir,
    workers: Vec<Worker>,
    _apps: Vec<Echo>,
}

// === impl Scene ===

impl Scene {
    /// Creates the scene with these files in /etc.
    async fn start(files: &[(&str, &[u8])]) -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        let dns = Dns::start_at(town.bed.root(), 53)?;
        let etc = tempfile::tempdir()?;
        for (name, content) in files {
            fs::write(etc.path().join(name), content)?;
        }
        town.start_hub()?;
        town.start_agent_with_etc(0, etc.path())?;
        town.gateways().await?;
        let (mut workers, mut apps) = (Vec::new(), Vec::new());
        for j in 1..=2 {
            let worker = town.worker(1, j, "app: worker", false).await?;
            apps.push(Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), APP))?);
            workers.push(worker);
        }
        Ok(Self { town, dns, etc, workers, _apps: apps })
    }

    /// Waits until only this worker answers datagrams to a port of the gateway.
    fn leads(&self, port: u16, worker: usize) -> Result<()> {
        let target = SocketAddr::new(self.town.nodes[0].address(), port);
        let report = path::opens(self.town.bed.root(), target, &self.workers[worker].name, BOUND)?;
        println!("port {port}: {report}");
        Ok(())
    }

    /// Waits until the agent logs (again) that it can't resolve this name.
    fn fails(&self, host: &str) -> Result<()> {
        let agent = self.town.nodes[0].agent.as_ref().context("the agent runs")?;
        let of_host = format!("host=\"{host}\"");
        let count =
            || agent.log().lines().filter(|l| l.contains("can't resolve") && l.contains(&of_host)).count();
        let before = count();
        wait::wait_until(&format!("{host} can't be resolved"), BOUND, || count() > before)
    }

    /// Replaces a file of /etc atomically by a link.
    fn link(&self, name: &str, target: &Path) -> Result<()> {
        let new = self.etc.path().join("new");
        symlink(target, &new)?;
        Ok(fs::rename(new, self.etc.path().join(name))?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_serves_without_a_resolv_conf_and_follows_both_files_when_they_change() -> Result<()> {
    let scene = Scene::start(&[]).await?;
    let (dns, name, etc) = (&scene.dns, "voice.example", scene.etc.path());
    let [first, second] = [0, 1].map(|worker| scene.workers[worker].ip());
    dns.set(name, &[first]);
    let address = second.to_string();
    let service = Service::new("s", GATEWAY).udp("address", 5001, &[Host::At(&address)], APP).udp(
        "name",
        5002,
        &[Host::At(name)],
        APP,
    );
    scene.town.apply(&service.yaml()).await?;
    scene.leads(5001, 1)?;
    scene.fails(name)?;
    fs::write(
        etc.join("resolv.conf"),
        format!("; odd\r\nnameserver\r\nnameserver {}\r\n", dns.address().ip()),
    )?;
    scene.leads(5002, 0)?;
    // Like systemd-resolved: a link to a file elsewhere. There is no server at this address.
    let files = tempfile::tempdir_in(etc)?;
    let folder = Path::new("/etc").join(files.path().file_name().context("a name")?);
    fs::write(files.path().join("nobody"), "nameserver 10.77.0.3\n")?;
    fs::write(
        files.path().join("there"),
        format!("nameserver 10.77.0.3\nnameserver {}\n", dns.address().ip()),
    )?;
    scene.link("resolv.conf", &folder.join("nobody"))?;
    scene.fails(name)?;
    dns.set(name, &[second]);
    scene.fails(name)?;
    scene.leads(5002, 0)?;
    scene.link("resolv.conf", &folder.join("there"))?;
    scene.leads(5002, 1)?;
    fs::write(etc.join("hosts"), format!("# ours\n{first} {name}\n"))?;
    scene.leads(5002, 0)?;
    fs::remove_file(etc.join("hosts"))?;
    scene.leads(5002, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn name_is_found_by_a_server_that_refuses_the_clusters_domain() -> Result<()> {
    let odd = b"\0\0\nnameserver fe80::1%eth0\nnameserver 10.77.0.1\noptions timeout:x\n".as_slice();
    let hosts = b"bad line\n10.77.0.250 unused\n";
    let scene = Scene::start(&[("resolv.conf", odd), ("hosts", hosts)]).await?;
    for (worker, code) in CODES.into_iter().enumerate() {
        let name = format!("voice{code}.example");
        scene.dns.refuse("cluster.local", code);
        scene.dns.set(&name, &[scene.workers[worker].ip()]);
        let port = 5001 + u16::from(code);
        let service = Service::new(&format!("s{code}"), GATEWAY).udp("l", port, &[Host::At(&name)], APP);
        scene.town.apply(&service.yaml()).await?;
        scene.leads(port, worker)?;
        // An error for the names with search domains never means that the name is gone.
        scene.dns.forget(&name);
        scene.fails(&name)?;
        scene.leads(port, worker)?;
    }
    Ok(())
}
