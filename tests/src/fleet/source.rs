//! The simulated API server: HTTP/1.1 on loopback, over a [`Store`]. Entry point: [`Source::start`].
//!
//! It answers lists in pages, watches, and writes of objects and statuses. Every definition of a kind is installed, and
//! kinds without objects are empty.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::stream::{self, Stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::request::Request;
use super::store::{Event, Refusal, Store, key_of};

/// Number of events in one chunk of a watch.
const CHUNK: usize = 200;
/// How often a watch without events gets a bookmark.
const BOOKMARK: Duration = Duration::from_secs(10);
/// How long a watch lasts if the client doesn't say.
const LASTS: u64 = 290;
/// The collection of the definitions of kinds, each of which is installed.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// The collection of events, which are not kept.
const EVENTS: &str = "events.events.k8s.io";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running API server. It ends on drop.
pub struct Source {
    /// Its objects.
    pub store: Arc<Store>,
    /// Its address.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

/// The position of a watch.
struct Cursor {
    store: Arc<Store>,
    request: Request,
    revision: u64,
    ends: Instant,
}

// === impl Source ===

impl Source {
    /// Starts an API server with the objects of a store.
    ///
    /// # Errors
    /// Returns an error if no port can be opened.
    pub async fn start(store: Store) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, store) = (listener.local_addr()?, Arc::new(store));
        let mut task = JoinSet::new();
        task.spawn(serve(listener, store.clone()));
        Ok(Self { store, address, _task: task })
    }

    /// Returns a kubeconfig for it.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }
}

async fn serve(listener: TcpListener, store: Arc<Store>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Each event is sent at once, as the real API server does.
        let _ = stream.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(stream, store.clone()));
    }
}

async fn connection(stream: TcpStream, store: Arc<Store>) {
    let answering = service_fn(move |request| answer(request, store.clone()));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answering);
    // A client that closes its connection is no error.
    drop(connection.await);
}

async fn answer(request: hyper::Request<Incoming>, store: Arc<Store>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let parsed = Request::parse(head.uri.path(), head.uri.query().unwrap_or_default());
    let Some(asked) = parsed else { return Ok(failure(StatusCode::NOT_FOUND, "NotFound")) };
    let object = match body.collect().await {
        Ok(body) => serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    Ok(match head.method {
        Method::GET if asked.collection == DEFINITIONS => definition(&asked),
        Method::GET if !asked.name.is_empty() => {
            let found = store.get(&asked.collection, &asked.key());
            found.map_or_else(|| refused(Refusal::Missing), |found| told(StatusCode::OK, &found))
        }
        Method::GET if asked.is_watch() => watch(store, asked),
        Method::GET => list(&store, &asked),
        Method::POST if asked.collection == EVENTS => told(StatusCode::CREATED, &object),
        Method::POST => done(StatusCode::CREATED, store.write(&asked.collection, placed(object, &asked))),
        Method::PUT => done(StatusCode::OK, store.write(&asked.collection, object)),
        Method::PATCH => {
            let at = (asked.collection.as_str(), asked.key());
            done(StatusCode::OK, store.patch((at.0, &at.1), asked.of_status, object))
        }
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    })
}

/// Returns the definition of any kind.
fn definition(asked: &Request) -> Response<Body> {
    let meta = json!({"name": asked.name, "resourceVersion": "1"});
    let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": meta});
    told(StatusCode::OK, &object)
}

/// Returns a page of a list. A continuation is the revision of the first page and the last key.
fn list(store: &Store, asked: &Request) -> Response<Body> {
    let token = asked.parameter("continue");
    let (first, after) = token.split_once(' ').unwrap_or_default();
    let limit = asked.number("limit").map_or(usize::MAX, |limit| limit as usize);
    let page = store.page(&asked.collection, &asked.prefix(), after, limit);
    let revision = first.parse().unwrap_or(page.revision);
    let last = page.items.last().filter(|_| page.more);
    let next = last.map(|(key, ..)| format!("{revision} {key}")).unwrap_or_default();
    let meta = json!({"resourceVersion": revision.to_string(), "continue": next});
    let mut text =
        format!(r#"{{"apiVersion":"{}","kind":"List","metadata":{meta},"items":["#, asked.api_version);
    for (place, (_, revision, item)) in page.items.iter().enumerate() {
        text.push_str(if place > 0 { "," } else { "" });
        text.push_str(&store.render(item, *revision));
    }
    text.push_str("]}");
    response(StatusCode::OK, text)
}

fn watch(store: Arc<Store>, asked: Request) -> Response<Body> {
    let lasts = asked.number("timeoutSeconds").unwrap_or(LASTS);
    let revision = asked.number("resourceVersion").unwrap_or_default();
    let ends = Instant::now() + Duration::from_secs(lasts);
    let chunks = chunks(Cursor { store, request: asked, revision, ends });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// Returns the chunks of a watch, until its end.
fn chunks(cursor: Cursor) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let next = |cursor: Option<Cursor>| async move {
        let mut cursor = cursor?;
        let (text, goes_on) = cursor.next().await?;
        Some((Ok(Frame::data(Bytes::from(text))), goes_on.then_some(cursor)))
    };
    stream::unfold(Some(cursor), next)
}

// === impl Cursor ===

impl Cursor {
    /// Waits for events. Returns them and whether the watch goes on; `None` at its end.
    async fn next(&mut self) -> Option<(String, bool)> {
        let mut newest = self.store.newest();
        let bookmark = Instant::now() + BOOKMARK;
        loop {
            // What comes later than this wakes the wait below.
            let now = *newest.borrow_and_update();
            let Some(events) = self.store.events(&self.request.collection, self.revision, CHUNK) else {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
                    "reason": "Expired", "message": "too old resource version"});
                return Some((format!("{}\n", json!({"type": "ERROR", "object": status})), false));
            };
            let text = self.render(&events);
            self.revision = events.last().map_or(self.revision, |event| event.revision);
            if !text.is_empty() {
                return Some((text, true));
            }
            if !events.is_empty() {
                continue;
            }
            self.revision = self.revision.max(now);
            tokio::select! {
                changed = newest.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep_until(bookmark) => return Some((self.bookmark(), true)),
            }
        }
    }

    fn render(&self, events: &[Event]) -> String {
        let prefix = self.request.prefix();
        let mut text = String::new();
        for event in events.iter().filter(|event| event.key.starts_with(&prefix)) {
            let object = self.store.render(&event.item, event.revision);
            text.push_str(&format!("{{\"type\":\"{}\",\"object\":{object}}}\n", event.verb.text()));
        }
        text
    }

    fn bookmark(&self) -> String {
        let meta = json!({"resourceVersion": self.revision.to_string()});
        let object = json!({"apiVersion": self.request.api_version, "kind": "Bookmark", "metadata": meta});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object}))
    }
}

/// Returns the object with the namespace of the request.
fn placed(mut object: Value, asked: &Request) -> Value {
    if !asked.namespace.is_empty() {
        object["metadata"]["namespace"] = asked.namespace.clone().into();
    }
    if object["metadata"]["uid"].is_null() {
        object["metadata"]["uid"] = key_of(&object).into();
    }
    object
}

fn done(status: StatusCode, outcome: Result<Arc<Value>, Refusal>) -> Response<Body> {
    outcome.map_or_else(refused, |object| told(status, &object))
}

fn refused(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::Missing => failure(StatusCode::NOT_FOUND, "NotFound"),
        Refusal::Conflict => failure(StatusCode::CONFLICT, "Conflict"),
    }
}

fn failure(status: StatusCode, reason: &str) -> Response<Body> {
    let code = status.as_u16();
    let object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": reason});
    told(status, &object)
}

fn told(status: StatusCode, object: &Value) -> Response<Body> {
    response(status, object.to_string())
}

fn response(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
