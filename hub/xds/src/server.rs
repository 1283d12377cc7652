//! The gRPC services: aggregated discovery and the per-type services, in both variants, over any [`Source`].

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

use crate::envoy::EnvoyType;
use crate::frames::Frames;
use crate::limits::{Limits, Permits};
use crate::message::{Node, Variant};
use crate::peer::Peer;
use crate::requests::Requests;
use crate::resource::ResourceType;
use crate::source::{Hello, Source};
use crate::spanned::Spanned;
use crate::stream::{Opening, Stream};
use crate::wire::RequestDecoder;

/// Returns the xDS services of `source`. Other services can be added to the routes.
///
/// Aggregated discovery is always served; CDS, EDS, LDS, RDS and SDS are served if `T` has Envoy's type. `Fetch` calls get
/// UNIMPLEMENTED.
pub fn routes<T: ResourceType, S: Source<T>>(source: Arc<S>, limits: Limits) -> Routes {
    let shared = Arc::new(Shared { source, limits, permits: Permits::default(), next: AtomicU64::new(1) });
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

/// State of a server that its services share.
struct Shared<S> {
    source: Arc<S>,
    limits: Limits,
    permits: Permits,
    /// Number of the next stream.
    next: AtomicU64,
}

// === impl Shared ===

impl<S> Shared<S> {
    /// Starts a stream. The response headers go out at once; all other work happens as the response body is read.
    fn stream<T: ResourceType>(
        &self,
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
        let permit = self.permits.take(self.limits.max_streams)?;
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!("xds", %peer, stream);
        let hello = Hello {
            stream,
            node: Node::default(),
            peer,
            variant,
            headers: parts.headers,
            aggregated: only.is_none(),
            authority: parts.uri.authority().map(ToString::to_string),
            fresh: false,
        };
        let decoder = RequestDecoder::<T>::new(variant, self.limits.load);
        let inbound = Requests::new(body, decoder, self.limits.max_request);
        let opening = Opening {
            source: self.source.clone(),
            limits: self.limits,
            only,
            hello,
            inbound,
            held: (permit, guard),
        };
        let responses = futures::stream::unfold(Stream::Opening(Box::new(opening)), Stream::step);
        let mut response =
            http::Response::new(Body::new(Frames::new(Spanned::new(span, Box::pin(responses)))));
        let content = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, content);
        Ok(response)
    }
}

/// One gRPC service.
trait Service: Send + Sync + 'static {
    const NAME: &'static str;
    /// The type of a per-type service; `None` for aggregated discovery.
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

/// The tower service of one gRPC service.
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
