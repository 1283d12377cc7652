//! The images: the same inputs give the same bytes, and they contain only what the programs need.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portreeve_agent::envoy::VERSION;
use portreeve_keeper::envoy::{Bootstrap, Family};
use portreeve_tests::images::{self, Images};
use portreeve_tests::l7mp;
use portreeve_tests::process::run;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// One image: its archive and its expected content.
struct Expected<'a> {
    archive: &'a Path,
    user: &'a str,
    command: Value,
    /// All expected programs, without libraries.
    programs: &'static [&'static str],
    tag: String,
}

const HUB: &str = "/usr/local/bin/portreeve-hub";
const AGENT: &str = "/usr/local/bin/portreeve-agent";
const ENVOY: &str = "/usr/local/bin/envoy";

fn expected(images: &Images) -> [Expected<'_>; 4] {
    let ours = env!("CARGO_PKG_VERSION");
    let both = format!("{ours}-envoy{VERSION}");
    let sidecar = "envoy -c /etc/envoy/bootstrap.yaml --disable-hot-restart --concurrency 1 --drain-time-s 1";
    let sidecar = sidecar.split(' ').collect::<Vec<_>>().into();
    let of = |archive, user, command, programs: &'static [_], tag| Expected {
        archive,
        user,
        command,
        programs,
        tag,
    };
    [
        of(&images.hub, "65532:65532", json!(["portreeve-hub"]), &[HUB], ours.to_owned()),
        of(&images.agent, "0:0", json!(["portreeve-agent"]), &[AGENT], ours.to_owned()),
        of(&images.gateway, "101:101", json!(["portreeve-agent", "gateway"]), &[ENVOY, AGENT], both),
        of(&images.sidecar, "101:101", sidecar, &[ENVOY], format!("envoy{VERSION}")),
    ]
}

fn config(archive: &Path) -> Result<Value> {
    let manifest = images::manifest(archive)?;
    let name = manifest["Config"].as_str().context("a configuration")?;
    Ok(serde_json::from_str(&images::member(archive, name)?)?)
}

fn layers(archive: &Path) -> Result<Vec<String>> {
    let manifest = images::manifest(archive)?;
    Ok(serde_json::from_value(manifest["Layers"].clone())?)
}

/// Returns the image's file system: all layers combined.
fn unpacked(archive: &Path) -> Result<TempDir> {
    let (held, root) = (tempfile::tempdir()?, tempfile::tempdir()?);
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(held.path()))?;
    for layer in layers(archive)? {
        let layer = held.path().join(layer);
        run(Command::new("tar")
            .arg("--keep-directory-symlink")
            .arg("-xpf")
            .arg(layer)
            .arg("-C")
            .arg(root.path()))?;
    }
    Ok(root)
}

/// Returns every executable regular file, without libraries.
fn programs(root: &Path) -> Result<BTreeSet<String>> {
    let found =
        run(Command::new("find").arg(root).args(["-type", "f", "-perm", "/111", "-printf", "/%P\n"]))?;
    let library = |path: &&str| path.starts_with("/usr/lib/") && path.contains(".so.");
    Ok(found.lines().filter(|path| !library(path)).map(str::to_owned).collect())
}

/// Returns a program's output when only the image's files exist.
fn run_inside(root: &Path, words: &[&str]) -> Result<String> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--root"]).arg(root).args(words);
    run(command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
}

#[test]
fn an_image_holds_its_programs_and_no_shell() -> Result<()> {
    let images = images::built()?;
    for image in expected(&images) {
        let (root, config) = (unpacked(image.archive)?, config(image.archive)?);
        let wanted: BTreeSet<String> = image.programs.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(programs(root.path())?, wanted, "{}", image.archive.display());
        assert_eq!(config["config"]["User"], image.user, "{config}");
        let words = ["Entrypoint", "Cmd"].map(|part| config["config"][part].as_array().cloned());
        assert_eq!(Value::from(words.into_iter().flatten().flatten().collect::<Vec<_>>()), image.command);
        let name = images::reference(image.archive)?;
        assert!(name.ends_with(&format!(":{}", image.tag)), "{name}");
        let said = &config["config"]["Labels"]["dev.portreeve.packages"];
        assert!(said.as_str().is_some_and(|packages| packages.contains("libc6=")), "{config}");
    }
    Ok(())
}

#[test]
fn programs_start_with_nothing_but_their_image() -> Result<()> {
    let images = images::built()?;
    for image in expected(&images) {
        let root = unpacked(image.archive)?;
        for program in image.programs {
            let words = run_inside(root.path(), &[program, "--version"])?;
            let version = if program.ends_with("envoy") { VERSION } else { env!("CARGO_PKG_VERSION") };
            assert!(words.contains(version), "{program}: {words}");
        }
    }
    let hub = unpacked(&images.hub)?;
    assert!(run_inside(hub.path(), &["/usr/local/bin/portreeve-hub", "--help"])?.contains("--listen"));
    let sidecar = unpacked(&images.sidecar)?;
    let validate = ["/usr/local/bin/envoy", "--mode", "validate", "-c", "/etc/envoy/bootstrap.yaml"];
    run_inside(sidecar.path(), &validate)?;
    Ok(())
}

#[test]
fn nothing_in_an_image_can_be_changed_but_by_root() -> Result<()> {
    let images = images::built()?;
    for image in expected(&images) {
        let held = tempfile::tempdir()?;
        run(Command::new("tar").arg("-xf").arg(image.archive).arg("-C").arg(held.path()))?;
        for layer in layers(image.archive)? {
            let listing =
                run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(held.path().join(layer)))?;
            for line in listing.lines() {
                let mut words = line.split_whitespace();
                let (mode, owner) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                assert_eq!(owner, "0/0", "{line}");
                // A link has no mode of its own. Everything else is readable by all, and writable only by root.
                let modes = ["drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"];
                assert!(modes.contains(&mode) || mode.starts_with('l'), "{line}");
            }
        }
    }
    Ok(())
}

/// Returns the files of a tar archive, each with its pax records.
fn files_of(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).trim_end_matches(['\0', ' ']).to_owned();
    let (mut files, mut at, mut records) = (Vec::new(), 0, Vec::new());
    while archive[at] != 0 {
        let header = &archive[at..at + 512];
        let size = usize::from_str_radix(&text(&header[124..136]), 8)?;
        let body = &archive[at + 512..at + 512 + size];
        match header[156] {
            b'x' => records = body.to_vec(),
            _ => files.push((text(&header[..100]), std::mem::take(&mut records))),
        }
        at += 512 + size.next_multiple_of(512);
    }
    Ok(files)
}

#[test]
fn agents_program_may_be_given_low_ports_and_no_other_file_has_a_right() -> Result<()> {
    let images = images::built()?;
    // The value written by `setcap cap_net_bind_service+p`: revision 2 without the effective bit. With that bit, a
    // program doesn't start in a container that lacks the capability.
    let value = [[0, 0, 0, 2], [0, 4, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    let record = [b"57 SCHILY.xattr.security.capability=", &*value, b"\n"].concat();
    for image in expected(&images) {
        let held = tempfile::tempdir()?;
        run(Command::new("tar").arg("-xf").arg(image.archive).arg("-C").arg(held.path()))?;
        let layers = layers(image.archive)?.into_iter().map(|layer| fs::read(held.path().join(layer)));
        let files = layers.map(|layer| files_of(&layer?)).collect::<Result<Vec<_>>>()?;
        for (name, records) in files.into_iter().flatten() {
            let wanted = if format!("/{name}") == AGENT { &*record } else { &[] };
            assert_eq!(records, wanted, "{name} of {}", image.archive.display());
        }
    }
    Ok(())
}

#[test]
fn equal_layers_are_shared() -> Result<()> {
    let images = images::built()?;
    let [hub, agent, gateway, sidecar] =
        [&images.hub, &images.agent, &images.gateway, &images.sidecar].map(|archive| layers(archive));
    let (hub, agent, gateway, sidecar) = (hub?, agent?, gateway?, sidecar?);
    assert!([&agent, &gateway, &sidecar].iter().all(|layers| layers[0] == hub[0]), "the root");
    assert_eq!(gateway[1], sidecar[1], "Envoy");
    assert_eq!(gateway[2], agent[1], "the agent's program");
    Ok(())
}

/// Builds all images with a separate cache, and so with a new root file system, from a copy of the programs.
fn build_anew(images: &Images, mask: &str, zone: &str) -> Result<(TempDir, String)> {
    let elsewhere = tempfile::tempdir()?;
    let [programs, cache, out] = ["programs", "cache", "out"].map(|name| elsewhere.path().join(name));
    fs::create_dir(&programs)?;
    for program in ["portreeve-hub", "portreeve-agent"] {
        fs::copy(images.programs.join(program), programs.join(program))?;
        fs::set_permissions(programs.join(program), fs::Permissions::from_mode(0o700))?;
    }
    let mut build = images::build(&programs, &out);
    build.arg("--envoy").arg(&images.envoy);
    let mut masked = Command::new("sh");
    masked.args(["-c", "umask $0 && exec \"$@\"", mask]).arg(build.get_program()).args(build.get_args());
    let words = run(masked.env("XDG_CACHE_HOME", &cache).env("TZ", zone).env("LANG", "C.UTF-8"))?;
    Ok((elsewhere, words))
}

#[test]
fn the_same_inputs_make_the_same_bytes() -> Result<()> {
    let images = images::built()?;
    let (one, words) = build_anew(&images, "022", "UTC")?;
    println!("{words}");
    let (other, again) = build_anew(&images, "077", "Asia/Tokyo")?;
    assert_eq!(words, again);
    for image in expected(&images) {
        let file = Path::new("out").join(image.archive.file_name().context("a name")?);
        assert_eq!(
            digest(&one.path().join(&file))?,
            digest(&other.path().join(&file))?,
            "{}",
            file.display()
        );
        assert!(words.contains(&images::reference(image.archive)?), "{words}");
    }
    Ok(())
}

#[test]
fn without_an_envoy_the_pinned_one_is_taken() -> Result<()> {
    let (images, out) = (images::built()?, tempfile::tempdir()?);
    let mut build = images::build(&images.programs, out.path());
    let words = run(build.args(["--repository", "registry.example/p", "--tag", "mine", "sidecar"]))?;
    assert!(words.starts_with("registry.example/p/sidecar:mine sha256:"), "{words}");
    let built = out.path().join("sidecar.tar");
    assert_eq!(images::reference(&built)?, "registry.example/p/sidecar:mine");
    assert_eq!(layers(&built)?, layers(&images.sidecar)?);
    assert!(!out.path().join("hub.tar").exists());
    Ok(())
}

#[test]
fn image_of_l7mp_holds_the_keeper_node_and_the_pinned_package() -> Result<()> {
    l7mp::script()?;
    let (images, out) = (images::built()?, tempfile::tempdir()?);
    println!("{}", run(images::build(&images.programs, out.path()).arg("l7mp"))?);
    let built = out.path().join("l7mp.tar");
    let (root, config) = (unpacked(&built)?, config(&built)?);
    assert_eq!(programs(root.path())?, ["/usr/bin/node", AGENT].map(str::to_owned).into());
    let tag = format!(":{}-l7mp0.5.7", env!("CARGO_PKG_VERSION"));
    assert!(images::reference(&built)?.ends_with(&tag), "{}", images::reference(&built)?);
    let said = config["config"]["Labels"]["dev.portreeve.packages"].as_str().unwrap_or_default();
    assert!(said.contains("libc6=") && said.contains("nodejs="), "{said}");
    let command = config["config"]["Cmd"].as_array().context("a command")?;
    let script = command.last().and_then(Value::as_str).context("a script")?;
    let proxy = script.replace("l7mp-proxy.js", "l7mp.js");
    let load = format!("const {{L7mp}} = require('{proxy}'); console.log(typeof L7mp, process.version)");
    let words = run_inside(root.path(), &["/usr/bin/node", "-e", &load])?;
    assert!(
        root.path().join(script.trim_start_matches('/')).is_file() && words.starts_with("function v"),
        "{words}"
    );
    Ok(())
}

fn digest(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[test]
fn a_second_call_builds_nothing() -> Result<()> {
    let first = images::built()?;
    let made = fs::metadata(&first.gateway)?.modified()?;
    let begun = std::time::Instant::now();
    assert_eq!(images::built()?, first);
    println!("found in {:?}", begun.elapsed());
    assert_eq!(fs::metadata(&first.gateway)?.modified()?, made);
    Ok(())
}

#[test]
fn the_manifests_name_the_tags_that_are_built() -> Result<()> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kustomization.yaml"))?;
    let kustomization: Value = serde_yaml::from_str(&text)?;
    let images = images::built()?;
    for (part, archive) in [("hub", &images.hub), ("agent", &images.agent), ("gateway", &images.gateway)] {
        let all = kustomization["images"].as_array().context("images")?;
        let one = all.iter().find(|image| image["name"] == format!("portreeve-{part}").as_str());
        let one = one.with_context(|| format!("no image portreeve-{part} in {text}"))?;
        let [name, tag] = ["newName", "newTag"].map(|field| one[field].as_str().unwrap_or_default());
        let built = images::reference(archive)?;
        assert!(built.ends_with(&format!("/{name}:{tag}")), "{name}:{tag} is not {built}");
    }
    Ok(())
}

#[test]
fn the_sidecars_component_names_the_image_and_has_its_bootstrap() -> Result<()> {
    let read = |file: &str| fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR")));
    let component: Value = serde_yaml::from_str(&read("deploy/components/sidecar/kustomization.yaml")?)?;
    let [name, tag] = ["newName", "newTag"].map(|field| component["images"][0][field].as_str());
    let named = format!("/{}:{}", name.context("a name")?, tag.context("a tag")?);
    let built = images::reference(&images::built()?.sidecar)?;
    ensure!(built.ends_with(&named), "{named} is not {built}");
    assert_eq!(read("deploy/components/sidecar/bootstrap.yaml")?, read("images/bootstrap.yaml")?);
    Ok(())
}

#[test]
fn the_sidecars_bootstrap_is_that_of_a_gateway_without_admin() -> Result<()> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../images/bootstrap.yaml"))?;
    let ours = Bootstrap {
        node_id: "sidecar".into(),
        node_cluster: "portreeve".into(),
        ads_socket: PathBuf::from("/run/portreeve/agent.sock"),
        admin_socket: PathBuf::from("/unused"),
        health_listener: Some(1233),
        wildcard: Family::V4,
    };
    let mut wanted = ours.render()?;
    wanted.as_object_mut().context("an object")?.remove("admin");
    assert_eq!(serde_yaml::from_str::<Value>(&text)?, wanted);
    Ok(())
}

#[test]
fn missing_tools_are_named_with_the_command_that_brings_them() -> Result<()> {
    let path = tempfile::tempdir()?;
    for tool in ["bash", "dirname", "tar", "flock", "realpath"] {
        let found = run(Command::new("sh").args(["-c", "command -v \"$0\"", tool]))?;
        std::os::unix::fs::symlink(found.trim(), path.path().join(tool))?;
    }
    let mut build = images::build(Path::new("/"), path.path());
    let error = run(build.env("PATH", path.path())).err().context("built without its tools")?.to_string();
    let wanted = "images/build needs the packages apt dpkg: apt-get install --no-install-recommends apt dpkg";
    ensure!(error.contains(wanted), "{error}");
    Ok(())
}
