//! Compiles the descriptors of the Envoy messages that `portreeve translate` prints. They come from the protobuf files
//! in the package envoy-types, which its Rust types are generated from too.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;

/// Every message that the agent sends, including those inside an `Any`. A test prints all of them.
const ROOTS: [&str; 6] = [
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/filters/udp/udp_proxy/v3/udp_proxy.proto",
];

/// A further root, which the others don't import.
const UDP_ROUTE: &str = "envoy/extensions/filters/udp/udp_proxy/v3/route.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let protos = package("envoy-types")?.join("proto");
    let directories = std::fs::read_dir(&protos)?.map(|entry| Ok(entry?.path()));
    let includes = directories.collect::<std::io::Result<Vec<PathBuf>>>()?;
    let mut files = protox::compile(ROOTS.into_iter().chain([UDP_ROUTE]), includes)?;
    files.file.iter_mut().for_each(|file| file.source_code_info = None);
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("envoy.binpb");
    Ok(std::fs::write(out, files.encode_to_vec())?)
}

/// Returns the directory of a package that this one depends on.
fn package(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    // The packages are already there. Cargo may only go online if it needs more of the lock file.
    let told = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let packages = told["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == name)
        .find_map(|package| package["manifest_path"].as_str());
    let directory = manifest.and_then(|path| Path::new(path).parent());
    Ok(directory.ok_or_else(|| format!("cargo metadata names no package {name}"))?.to_owned())
}

fn metadata(more: &[&str]) -> Result<serde_json::Value, Box<dyn Error>> {
    let mut command = Command::new(std::env::var_os("CARGO").ok_or("no CARGO")?);
    command.args(["metadata", "--format-version", "1", "--filter-platform", &std::env::var("TARGET")?]);
    let output = command.args(more).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
