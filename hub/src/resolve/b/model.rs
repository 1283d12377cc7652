//! From the forms of API B to the model of Plans.

use std::num::NonZeroU32;

use portreeve_api::b::form;
use portreeve_api::model::{Address, HeaderField, Options, Protocol, Retry, Rewrite, Socket, Source};

/// Returns a protocol with its settings.
pub(super) fn socket(form: &form::Socket) -> Socket {
    Socket {
        connect: form.connect.map(address),
        bind: form.bind.map(address),
        path: form.path.clone(),
        filename: form.filename.clone(),
        transport: form.transport.as_ref().map(|transport| Box::new(socket(transport))),
        header: form.header.iter().map(header).collect(),
        settings: form.settings.clone(),
        ..Socket::new(protocol(form.protocol), form.port)
    }
}

/// Returns a protocol.
pub(super) fn protocol(protocol: form::Protocol) -> Protocol {
    match protocol {
        form::Protocol::Udp => Protocol::Udp,
        form::Protocol::Tcp => Protocol::Tcp,
        form::Protocol::Http => Protocol::Http,
        form::Protocol::WebSocket => Protocol::Websocket,
        form::Protocol::UnixDomainSocket => Protocol::Unix,
        form::Protocol::JsonSocket => Protocol::JsonSocket,
        form::Protocol::Sync => Protocol::Sync,
        form::Protocol::Echo => Protocol::Echo,
        form::Protocol::Discard => Protocol::Discard,
        form::Protocol::Logger => Protocol::Logger,
        form::Protocol::Stdio => Protocol::Stdio,
        form::Protocol::JsonEncap => Protocol::JsonEncap,
        form::Protocol::JsonDecap => Protocol::JsonDecap,
        form::Protocol::Metric => Protocol::Metric,
        form::Protocol::Prometheus => Protocol::Prometheus,
        form::Protocol::L7mpController => Protocol::L7mpController,
    }
}

/// Returns the settings of a listener's sessions.
pub(super) fn options(form: &form::Options) -> Options {
    let form::Options { track, remove_orphan_sessions } = *form;
    Options { idle_timeout: None, remove_orphan_sessions, track }
}

/// Returns a change to a session's metadata.
pub(super) fn rewrite(form: &form::Rewrite) -> Rewrite {
    Rewrite { path: form.path.clone(), value_json: form.value_json.clone() }
}

/// Returns the retries of a route. The model has no number 0: without a retry, the policy is `never`.
pub(super) fn retry(form: &form::Retry) -> Retry {
    let attempts = NonZeroU32::new(form.retries);
    let on = if attempts.is_some() { form.on.clone() } else { "never".to_owned() };
    Retry { on: Some(on), attempts, timeout: Some(form.timeout) }
}

/// Returns an endpoint's address.
pub(super) fn source(form: &form::Source) -> Source {
    match form {
        form::Source::Ip(ip) => Source::of_ip(*ip),
        form::Source::Host(name) => Source::Host(name.clone()),
        form::Source::File(path) => Source::File(path.clone()),
    }
}

fn address(form: form::Address) -> Address {
    Address { ip: form.ip, port: form.port }
}

fn header(form: &form::HeaderField) -> HeaderField {
    match form.clone() {
        form::HeaderField::Path { from, to } => {
            HeaderField { from: Some(from), to: Some(to), key: None, value: None }
        }
        form::HeaderField::Set { key, value } => {
            HeaderField { from: None, to: None, key: Some(key), value: Some(value) }
        }
    }
}
