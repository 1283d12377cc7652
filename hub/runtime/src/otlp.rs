//! The part of OpenTelemetry's protocol that carries spans (OTLP over gRPC, opentelemetry-proto 1.x). Entry point:
//! [`Client::send`].
//!
//! The messages have a dozen fields, so they are written out here. A test decodes them with OpenTelemetry's own library.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use http::Uri;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::span::Span;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// SPAN_KIND_INTERNAL.
const INTERNAL: i32 = 1;

/// STATUS_CODE_ERROR.
const FAILED: i32 = 2;

/// A collector's address: `http://host:port` with its OTLP port for gRPC. TLS is not supported: collectors run nearby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// A client of a collector.
pub struct Client {
    grpc: Grpc<Channel>,
    resource: ResourceMessage,
    /// The last request failed.
    failing: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportResponse {}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<ResourceMessage>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceMessage {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<SpanMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<StatusMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusMessage {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

// === impl Endpoint ===

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
        match (uri.scheme_str(), uri.port_u16()) {
            (Some("http"), Some(_)) => Ok(Self(uri)),
            _ => Err(format!("{text:?} is not of the form http://host:port")),
        }
    }
}

// === impl Client ===

impl Client {
    /// A client of the collector at `endpoint`. It connects with the first spans. `component` and `instance` become
    /// `service.name` and `service.instance.id`.
    pub fn new(endpoint: &Endpoint, component: &str, instance: &str) -> Self {
        let channel =
            tonic::transport::Endpoint::from(endpoint.0.clone()).connect_timeout(TIMEOUT).connect_lazy();
        let version = env!("CARGO_PKG_VERSION");
        let name = format!("portreeve-{component}");
        let service = [("name", &*name), ("instance.id", instance), ("version", version)];
        let attributes = service.map(|(key, value)| pair(&format!("service.{key}"), value)).into();
        Self { grpc: Grpc::new(channel), resource: ResourceMessage { attributes }, failing: false }
    }

    /// Sends spans. Spans that the collector does not take are lost. The first loss in a row is logged.
    pub async fn send(&mut self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len();
        let silent = |_| tonic::Status::deadline_exceeded(format!("no answer within {TIMEOUT:?}"));
        let answer = tokio::time::timeout(TIMEOUT, self.export(spans)).await.map_err(silent);
        let error = answer.flatten().err();
        let failed = error.is_some();
        match error {
            Some(error) if !self.failing => {
                tracing::warn!(
                    error = error.message(),
                    count,
                    "the collector does not take spans: they are lost"
                );
            }
            None if self.failing => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        self.failing = failed;
    }

    async fn export(&mut self, spans: Vec<Span>) -> Result<(), tonic::Status> {
        let spans = spans.into_iter().map(message).collect();
        let (resource, scope_spans) = (Some(self.resource.clone()), vec![ScopeSpans { spans }]);
        let request = ExportRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] };
        let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        self.grpc.ready().await.map_err(unavailable)?;
        let codec: ProstCodec<ExportRequest, ExportResponse> = ProstCodec::default();
        self.grpc.unary(Request::new(request), PathAndQuery::from_static(EXPORT), codec).await?;
        Ok(())
    }
}

fn message(span: Span) -> SpanMessage {
    let failed = |message| StatusMessage { message, code: FAILED };
    SpanMessage {
        trace_id: span.trace.0.into(),
        span_id: span.id.0.into(),
        parent_span_id: span.parent.map(|parent| parent.0.into()).unwrap_or_default(),
        name: span.name.into(),
        kind: INTERNAL,
        start_time_unix_nano: nanos(span.begun),
        // The clock may have been set back.
        end_time_unix_nano: nanos(span.ended.max(span.begun)),
        attributes: span.attributes.iter().map(|(key, value)| pair(key, value)).collect(),
        status: span.failure.map(failed),
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { string_value: Some(value.to_owned()) }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{Step, TraceId};

    #[test]
    fn endpoint_is_plain_http_with_a_port_and_parses_its_own_text() {
        for text in ["http://collector.tracing:4317/", "http://127.0.0.1:4317/", "http://[::1]:4317/"] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "collector:4317", "https://collector:4317", "http://collector", "grpc://a:1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn unavailable_collector_blocks_nothing_and_is_tried_again() {
        let (now, trace) = (SystemTime::now(), TraceId::of("a", 1));
        let spans =
            || vec![Span::new(trace, None, Step { name: "apply", place: "", begun: now, ended: now })];
        // The port was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = format!("http://{address}").parse().unwrap();
        let mut client = Client::new(&endpoint, "test", "one");
        for failing in [true, true] {
            client.send(spans()).await;
            assert_eq!(client.failing, failing);
        }
    }

    #[test]
    fn span_that_ends_before_it_begins_takes_no_time() {
        let (now, trace) = (SystemTime::now(), TraceId::of("a", 1));
        let before = now - Duration::from_secs(1);
        let span =
            message(Span::new(trace, None, Step { name: "apply", place: "", begun: now, ended: before }));
        assert_eq!(span.start_time_unix_nano, span.end_time_unix_nano);
        assert!(span.start_time_unix_nano > 1_600_000_000_000_000_000 && span.parent_span_id.is_empty());
    }
}
