//! Compiles the descriptors of Envoy's messages. They come from the protobuf files in the package envoy-types, which its
//! Rust types are generated from too.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;

/// What a cluster, a listener, a route, an assignment, a runtime or a secret may hold. `portreeve translate` prints these
/// messages too. A test prints all that the agent sends.
const ROOTS: [&str; 6] = [
    "config/cluster/v3/cluster",
    "config/endpoint/v3/endpoint",
    "config/listener/v3/listener",
    "config/route/v3/route",
    "service/runtime/v3/rtds",
    "extensions/transport_sockets/tls/v3/tls",
];

/// The extensions that a template may use, below `envoy/extensions`. Files that others import are not repeated.
const EXTENSIONS: [&str; 46] = [
    "access_loggers/file/v3/file",
    "access_loggers/grpc/v3/als",
    "access_loggers/stream/v3/stream",
    "compression/brotli/compressor/v3/brotli",
    "compression/gzip/compressor/v3/gzip",
    "compression/gzip/decompressor/v3/gzip",
    "filters/http/buffer/v3/buffer",
    "filters/http/compressor/v3/compressor",
    "filters/http/cors/v3/cors",
    "filters/http/csrf/v3/csrf",
    "filters/http/decompressor/v3/decompressor",
    "filters/http/ext_authz/v3/ext_authz",
    "filters/http/fault/v3/fault",
    "filters/http/grpc_http1_bridge/v3/config",
    "filters/http/grpc_stats/v3/config",
    "filters/http/grpc_web/v3/grpc_web",
    "filters/http/header_mutation/v3/header_mutation",
    "filters/http/header_to_metadata/v3/header_to_metadata",
    "filters/http/health_check/v3/health_check",
    "filters/http/ip_tagging/v3/ip_tagging",
    "filters/http/jwt_authn/v3/config",
    "filters/http/local_ratelimit/v3/local_rate_limit",
    "filters/http/ratelimit/v3/rate_limit",
    "filters/http/rbac/v3/rbac",
    "filters/http/router/v3/router",
    "filters/listener/http_inspector/v3/http_inspector",
    "filters/listener/proxy_protocol/v3/proxy_protocol",
    "filters/listener/tls_inspector/v3/tls_inspector",
    "filters/network/connection_limit/v3/connection_limit",
    "filters/network/direct_response/v3/config",
    "filters/network/echo/v3/echo",
    "filters/network/ext_authz/v3/ext_authz",
    "filters/network/http_connection_manager/v3/http_connection_manager",
    "filters/network/local_ratelimit/v3/local_rate_limit",
    "filters/network/ratelimit/v3/rate_limit",
    "filters/network/rbac/v3/rbac",
    "filters/network/redis_proxy/v3/redis_proxy",
    "filters/network/tcp_proxy/v3/tcp_proxy",
    "filters/udp/udp_proxy/v3/route",
    "filters/udp/udp_proxy/v3/udp_proxy",
    "retry/host/omit_canary_hosts/v3/omit_canary_hosts",
    "retry/host/previous_hosts/v3/previous_hosts",
    "retry/priority/previous_priorities/v3/previous_priorities_config",
    "transport_sockets/proxy_protocol/v3/upstream_proxy_protocol",
    "transport_sockets/raw_buffer/v3/raw_buffer",
    "upstreams/http/v3/http_protocol_options",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let protos = package("envoy-types")?.join("proto");
    let directories = std::fs::read_dir(&protos)?.map(|entry| Ok(entry?.path()));
    let includes = directories.collect::<std::io::Result<Vec<PathBuf>>>()?;
    let roots = ROOTS.map(|root| format!("envoy/{root}.proto"));
    let extensions = EXTENSIONS.map(|extension| format!("envoy/extensions/{extension}.proto"));
    // Each on its own: in a file of `envoy.extensions.filters.http`, the name `common.ratelimit` would else be looked up in
    // `envoy.extensions.filters.common`, which only other files import.
    let mut all = protox::compile([&roots[0]], &includes)?;
    for root in roots[1..].iter().chain(&extensions) {
        let mut files = protox::compile([root], &includes)?.file;
        files.retain(|file| !all.file.iter().any(|known| known.name == file.name));
        all.file.extend(files);
    }
    all.file.iter_mut().for_each(|file| file.source_code_info = None);
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("envoy.binpb");
    Ok(std::fs::write(out, all.encode_to_vec())?)
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
