//! An OpenTelemetry collector on a real socket inside a namespace, which decodes spans with OpenTelemetry's own
//! library. Entry point: [`Collector::start`].

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::netns::Netns;

/// A running collector, which ends on drop.
pub struct Collector {
    address: SocketAddr,
    taken: Taken,
    /// Ends the thread on drop.
    _stop: oneshot::Sender<()>,
}

/// The received spans.
type Taken = Arc<Mutex<Vec<Received>>>;

/// A span with the name of its service.
#[derive(Clone, Debug)]
pub struct Received {
    /// The service's name.
    pub service: String,
    /// The decoded span.
    pub span: Span,
}

struct Desk(Taken);

// === impl Collector ===

impl Collector {
    /// Listens on a free port of `address` inside `namespace`.
    ///
    /// # Errors
    /// Returns an error if there is no such address.
    pub fn start(namespace: &Netns, address: IpAddr) -> Result<Self> {
        let listener = namespace.enter(|| TcpListener::bind((address, 0)))??;
        listener.set_nonblocking(true)?;
        let (address, taken) = (listener.local_addr()?, Taken::default());
        let (stop, stopped) = oneshot::channel();
        let desk = Desk(taken.clone());
        namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(listener, desk, stopped))
        })?;
        Ok(Self { address, taken, _stop: stop })
    }

    /// Returns the flag that makes a program send its spans here.
    pub fn flag(&self) -> String {
        format!("--otlp-endpoint=http://{}", self.address)
    }

    /// Returns all spans received so far.
    pub fn spans(&self) -> Vec<Received> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, desk: Desk, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    let stop = async { drop(stopped.await) };
    let server = Server::builder().add_service(TraceServiceServer::new(desk));
    server.serve_with_incoming_shutdown(incoming, stop).await.map_err(io::Error::other)
}

// === impl Received ===

impl Received {
    /// Returns the value of the span's attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        text(&self.span.attributes, name)
    }
}

#[tonic::async_trait]
impl TraceService for Desk {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of in request.into_inner().resource_spans {
            let attributes = of.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name").unwrap_or_default().to_owned();
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let received = spans.map(|span| Received { service: service.clone(), span });
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(received);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    match attributes.iter().find(|pair| pair.key == name)?.value.as_ref()? {
        AnyValue { value: Some(Value::StringValue(text)) } => Some(text),
        _ => None,
    }
}
