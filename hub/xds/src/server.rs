//! The gRPC services: aggregated discovery and the per-type services, in both variants, over any [`Source`].

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::{TcpConnectInfo, UdsConnectInfo};
use tonic::{Status, Streaming};

use crate::budget::{Budget, Load};
use crate::envoy::EnvoyType;
use crate::frames::Frames;
use crate::message::{Event, Node, Variant};
use crate::resource::ResourceType;
use crate::stream::{Opening, Stream};
use crate::unix::Pass;
use crate::view::View;
use crate::wire::RequestDecoder;

/// What a source holds for a stream from its first byte to its end.
pub type StreamGuard = Box<dyn Any + Send>;

/// Where the views come from, and who hears what streams tell.
pub trait Source<T: ResourceType>: Send + Sync + 'static {
    /// Looks at a call's headers before anything of its body is read: a stranger's first request costs no memory then.
    ///
    /// # Errors
    /// The call is refused with this status.
    fn glance(&self, _headers: &http::HeaderMap) -> Result<(), Status> {
        Ok(())
    }

    /// Lets a peer begin a stream, before anything of it is read: a refused one costs nothing but the answer.
    ///
    /// # Errors
    /// The status that the peer is answered with.
    fn admit(&self, _peer: &Peer) -> Result<StreamGuard, Status> {
        Ok(Box::new(()))
    }

    /// Finds the view of a new stream, once its first request is there. It may wait, until the state is complete for
    /// one thing: nothing is answered before. An error ends the stream with that status.
    fn open(&self, hello: Hello) -> impl Future<Output = Result<Arc<View<T>>, Status>> + Send;

    /// Hears an ACK, a NACK or a foreign type. Called on the stream's task: must not block.
    fn event(&self, stream: &StreamInfo, event: &Event<T>);

    /// Hears that an opened stream has ended.
    fn closed(&self, stream: &StreamInfo);

    /// The budget that an opened stream shares with others of its peer; asked once. `None` leaves the stream's own limit
    /// ([`Limits::load`]).
    fn budget(&self, _stream: &StreamInfo) -> Option<Arc<Budget>> {
        None
    }

    /// Hears that a stream ends because it asked for more names than it may have; `text` says how many.
    fn exhausted(&self, _stream: &StreamInfo, _text: &str) {}

    /// Until when an opened stream may last (its credentials, for one); asked once. Then it ends with UNAVAILABLE, so
    /// that the client comes again.
    fn until(&self, _stream: &StreamInfo) -> Option<Instant> {
        None
    }
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Process, over a Unix socket; 0 when it has no number here (another pid namespace), none when it is gone.
    pub pid: Option<i32>,
    /// The same process, held when the connection was accepted: its number may become another's, this does not.
    /// None where the kernel has no such handles (before 6.5).
    pub pidfd: Option<Arc<OwnedFd>>,
    /// User, over a Unix socket.
    pub uid: Option<u32>,
    /// Group, over a Unix socket.
    pub gid: Option<u32>,
    /// Address, over TCP.
    pub remote: Option<SocketAddr>,
    /// What the gate gave, on a socket that has one.
    pub pass: Option<Pass>,
}

/// What is known of a stream when it opens.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Unique in this process.
    pub stream: u64,
    /// From the first request, whatever its type.
    pub node: Node,
    /// The connection's other end.
    pub peer: Peer,
    /// The variant that the client chose.
    pub variant: Variant,
    /// The request's headers (`authorization`, for one).
    pub headers: http::HeaderMap,
    /// The client has nothing yet, see [`Request::begins_anew`](crate::Request::begins_anew).
    pub fresh: bool,
}

/// A stream, for as long as it lives.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Unique in this process.
    pub id: u64,
    /// From the first request.
    pub node: Node,
    /// The connection's other end.
    pub peer: Peer,
    /// The variant that the client chose.
    pub variant: Variant,
}

/// What a server lets in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams at a time; one more is answered with RESOURCE_EXHAUSTED.
    pub max_streams: usize,
    /// Longest request, bytes.
    pub max_request: usize,
    /// How long a stream may be open without a first request.
    pub first_request: Duration,
    /// Names that one stream may have the server remember; one more ends it with RESOURCE_EXHAUSTED.
    pub load: Load,
}

impl Limits {
    /// 1,024 streams, 16 MiB, 10 s, 100,000 names of 8 MiB together (about 35 MB of memory; the largest Envoys have some
    /// ten thousand clusters).
    pub const DEFAULT: Self = Self {
        max_streams: 1024,
        max_request: 16 << 20,
        first_request: Duration::from_secs(10),
        load: Load { names: 100_000, bytes: 8 << 20 },
    };
}

impl Default for Limits {
    /// [`Limits::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The services over `source`, to which others can be added.
///
/// Aggregated discovery always; CDS, EDS, LDS, RDS and SDS where `T` has Envoy's type. `Fetch` calls are UNIMPLEMENTED.
pub fn routes<T: ResourceType, S: Source<T>>(source: Arc<S>, limits: Limits) -> Routes {
    let shared = Arc::new(Shared { source, limits, open: Arc::default(), next: AtomicU64::new(1) });
    let routes = Routes::new(Door::<T, S, Ads>::new(&shared));
    let routes = add::<T, S, Cds>(routes, &shared);
    let routes = add::<T, S, Eds>(routes, &shared);
    let routes = add::<T, S, Lds>(routes, &shared);
    let routes = add::<T, S, Rds>(routes, &shared);
    add::<T, S, Sds>(routes, &shared).prepare()
}

fn add<T: ResourceType, S: Source<T>, P: Service>(routes: Routes, shared: &Arc<Shared<S>>) -> Routes {
    match P::only::<T>() {
        Some(_) => routes.add_service(Door::<T, S, P>::new(shared)),
        None => routes,
    }
}

/// What all streams of a server share.
pub(crate) struct Shared<S> {
    pub(crate) source: Arc<S>,
    pub(crate) limits: Limits,
    open: Arc<AtomicUsize>,
    next: AtomicU64,
}

/// One of the streams that are let in at a time.
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Peer ===

impl Peer {
    /// The other end of the connection that a request came over.
    pub fn of(extensions: &http::Extensions) -> Self {
        if let Some(peer) = extensions.get::<Self>() {
            return peer.clone();
        }
        let unix = extensions.get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        Self {
            pid: unix.and_then(|cred| cred.pid()),
            uid: unix.map(|cred| cred.uid()),
            gid: unix.map(|cred| cred.gid()),
            remote: extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr),
            ..Self::default()
        }
    }
}

// === impl Shared ===

impl<S> Shared<S> {
    /// Starts a stream. The headers go out at once; everything else happens as the response is read.
    fn stream<T: ResourceType>(
        self: &Arc<Self>,
        req: http::Request<Body>,
        variant: Variant,
        only: Option<T>,
    ) -> Result<http::Response<Body>, Status>
    where
        S: Source<T>,
    {
        self.source.glance(req.headers())?;
        let (parts, body) = req.into_parts();
        let peer = Peer::of(&parts.extensions);
        let guard = self.source.admit(&peer)?;
        let permit = self.admit()?;
        let hello = Hello {
            stream: self.next.fetch_add(1, Ordering::Relaxed),
            node: Node::default(),
            peer,
            variant,
            headers: parts.headers,
            fresh: false,
        };
        let decoder = RequestDecoder::<T>::new(variant, self.limits.load);
        let inbound = Streaming::new_request(decoder, body, None, Some(self.limits.max_request));
        let opening = Opening { shared: self.clone(), only, hello, inbound, held: (permit, guard) };
        let responses = futures::stream::unfold(Stream::Opening(Box::new(opening)), Stream::step);
        let mut response = http::Response::new(Body::new(Frames::new(Box::pin(responses))));
        let content = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, content);
        Ok(response)
    }

    fn admit(&self) -> Result<Permit, Status> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.open.clone());
        if before >= self.limits.max_streams {
            return Err(Status::resource_exhausted("too many streams"));
        }
        Ok(permit)
    }
}

/// One gRPC service.
trait Service: Send + Sync + 'static {
    const NAME: &'static str;
    /// The type of a per-type service.
    const TYPE: Option<EnvoyType>;

    fn only<T: ResourceType>() -> Option<T> {
        Self::TYPE.and_then(|ty| T::from_type_url(ty.type_url()))
    }
}

macro_rules! services {
    ($($service:ident = $name:literal, $ty:expr;)*) => {$(
        struct $service;
        impl Service for $service {
            const NAME: &'static str = $name;
            const TYPE: Option<EnvoyType> = $ty;
        }
    )*};
}

services! {
    Ads = "envoy.service.discovery.v3.AggregatedDiscoveryService", None;
    Cds = "envoy.service.cluster.v3.ClusterDiscoveryService", Some(EnvoyType::Cluster);
    Eds = "envoy.service.endpoint.v3.EndpointDiscoveryService", Some(EnvoyType::Endpoint);
    Lds = "envoy.service.listener.v3.ListenerDiscoveryService", Some(EnvoyType::Listener);
    Rds = "envoy.service.route.v3.RouteDiscoveryService", Some(EnvoyType::Route);
    Sds = "envoy.service.secret.v3.SecretDiscoveryService", Some(EnvoyType::Secret);
}

/// The tower service behind one gRPC service.
struct Door<T, S, P> {
    shared: Arc<Shared<S>>,
    kind: PhantomData<fn() -> (T, P)>,
}

// === impl Door ===

impl<T, S, P> Door<T, S, P> {
    fn new(shared: &Arc<Shared<S>>) -> Self {
        Self { shared: shared.clone(), kind: PhantomData }
    }
}

impl<T, S, P> Clone for Door<T, S, P> {
    fn clone(&self) -> Self {
        Self::new(&self.shared)
    }
}

impl<T, S, P: Service> NamedService for Door<T, S, P> {
    const NAME: &'static str = P::NAME;
}

impl<T: ResourceType, S: Source<T>, P: Service> tower::Service<http::Request<Body>> for Door<T, S, P> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: http::Request<Body>) -> Self::Future {
        let method = req.uri().path().rsplit('/').next().unwrap_or_default();
        let variant = match method {
            _ if method.starts_with("Delta") => Variant::Delta,
            _ if method.starts_with("Stream") => Variant::Sotw,
            _ => {
                let refused = Status::unimplemented("only streams are served").into_http();
                return std::future::ready(Ok(refused));
            }
        };
        let response = self.shared.stream(req, variant, P::only::<T>());
        std::future::ready(Ok(response.unwrap_or_else(Status::into_http)))
    }
}
