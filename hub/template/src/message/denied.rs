//! What a template of an account may not have: code, files and the environment of the Envoy ([`message`], [`field`],
//! [`text`]), and what the hub doesn't serve ([`unserved`]).

use serde_json::Value;

use super::problem::Problem;

const CODE: &str = "runs code";
const FILE: &str = "reads or writes files";
const ENVIRONMENT: &str = "reads the Envoy's environment";
const SOCKET: &str = "opens a Unix socket of the node";
const HIDDEN: &str = "hides its content from these checks";

/// Beginnings of the names of denied messages. Most have no descriptor here, but the reason is better than "not known".
const MESSAGES: [(&str, &str); 21] = [
    ("envoy.extensions.filters.http.lua.", CODE),
    ("envoy.extensions.filters.http.wasm.", CODE),
    ("envoy.extensions.filters.http.golang.", CODE),
    ("envoy.extensions.filters.http.dynamic_modules.", CODE),
    ("envoy.extensions.filters.http.file_server.", FILE),
    ("envoy.extensions.filters.http.file_system_buffer.", FILE),
    ("envoy.extensions.filters.http.grpc_json_transcoder.", FILE),
    ("envoy.extensions.filters.http.tap.", FILE),
    ("envoy.extensions.filters.network.wasm.", CODE),
    ("envoy.extensions.filters.network.dynamic_modules.", CODE),
    ("envoy.extensions.filters.listener.dynamic_modules.", CODE),
    ("envoy.extensions.access_loggers.wasm.", CODE),
    ("envoy.extensions.dynamic_modules.", CODE),
    ("envoy.extensions.wasm.", CODE),
    ("envoy.extensions.formatter.file_content.", FILE),
    ("envoy.extensions.transport_sockets.tls.v3.TlsKeyLog", FILE),
    ("envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials.StsService", FILE),
    ("envoy.config.core.v3.WatchedDirectory", FILE),
    ("envoy.config.core.v3.Pipe", SOCKET),
    ("udpa.type.v1.TypedStruct", HIDDEN),
    ("xds.type.v3.TypedStruct", HIDDEN),
];

/// Denied fields: the message, the field and the reason.
const FIELDS: [(&str, &str, &str); 6] = [
    ("envoy.config.core.v3.ConfigSource", "path", FILE),
    ("envoy.config.core.v3.ConfigSource", "path_config_source", FILE),
    ("envoy.config.core.v3.DataSource", "filename", FILE),
    ("envoy.config.core.v3.DataSource", "watched_directory", FILE),
    ("envoy.config.core.v3.DataSource", "environment_variable", ENVIRONMENT),
    ("envoy.config.core.v3.HealthCheck", "event_log_path", FILE),
];

/// Fields that make Envoy ask for resources that the hub doesn't serve, and what to write in their place.
const UNSERVED: [(&str, &str); 3] = [
    ("config_discovery", "the filter's typed_config"),
    ("scoped_routes", "a route_config"),
    ("vhds", "the virtual_hosts"),
];

/// Operators of access logs and headers that read outside of Envoy.
const OPERATORS: [(&str, &str); 2] = [("%ENVIRONMENT(", ENVIRONMENT), ("%FILE_CONTENT(", FILE)];

/// Files that access logs may be written to.
const STREAMS: [&str; 2] = ["/dev/stdout", "/dev/stderr"];

/// Returns an error if a message of this name is denied.
pub fn message(name: &str) -> Result<(), Problem> {
    match MESSAGES.iter().find(|(denied, _)| name.starts_with(denied)) {
        Some((_, reason)) => Err(Problem::Denied(reason)),
        None => Ok(()),
    }
}

/// Returns an error if an `Any` may not have this type. `google.protobuf.Struct` is a message of other fields too.
pub fn any(name: &str) -> Result<(), Problem> {
    match name {
        "google.protobuf.Struct" => Err(Problem::Denied(HIDDEN)),
        name => message(name),
    }
}

/// Returns an error if a field is denied.
pub fn field(message: &str, field: &str, value: &Value) -> Result<(), Problem> {
    if message == "envoy.extensions.access_loggers.file.v3.FileAccessLog" && field == "path" {
        let stream = value.as_str().is_some_and(|path| STREAMS.contains(&path));
        return if stream { Ok(()) } else { Err(Problem::Denied(FILE)) };
    }
    let found = FIELDS.iter().find(|(of, denied, _)| *of == message && *denied == field);
    found.map_or(Ok(()), |(.., reason)| Err(Problem::Denied(reason)))
}

/// Returns an error if a field makes Envoy ask for what the hub doesn't serve.
pub fn unserved(field: &str) -> Result<(), Problem> {
    let found = UNSERVED.iter().find(|(unserved, _)| *unserved == field);
    found.map_or(Ok(()), |(_, instead)| Err(Problem::NotServed(instead)))
}

/// Returns an error if a text has an operator that reads outside of Envoy.
pub fn text(text: &str) -> Result<(), Problem> {
    let found = OPERATORS.iter().find(|(operator, _)| text.contains(operator));
    found.map_or(Ok(()), |(_, reason)| Err(Problem::Denied(reason)))
}
