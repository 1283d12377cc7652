//! Calls of the services: their admission, what the source learns, and their end.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use portreeve_xds::EnvoyType::{Cluster, Endpoint};
use portreeve_xds::wire::{ClientCodec, MessageCodec};
use portreeve_xds::{Event, Limits, ResourceType, Variant, View};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::stand::{ADS_DELTA, Caller, One, Stand, call, clusters, node, request, subscribe, until, within};

const CDS_DELTA: &str = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters";
const CDS_FETCH: &str = "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters";
const ADS_SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

#[tokio::test]
async fn node_comes_from_the_first_request_of_any_type_and_the_peer_from_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    let mut caller = Caller::ads(&stand.sock).await;
    let mut sender = node("n1").unwrap();
    let text = Value { kind: Some(Kind::StringValue("v".into())) };
    let number = Value { kind: Some(Kind::NumberValue(1.0)) };
    sender.metadata = Some(Struct { fields: [("k".into(), text), ("n".into(), number)].into() });
    let mut first = subscribe(Endpoint, &["cluster-00000".into()]);
    first.node = Some(sender);
    caller.send(first).await;
    assert_eq!(caller.acked().await.resources.len(), 1);
    let hello = stand.source.heard().hellos.remove(0);
    assert_eq!((hello.node.id.as_str(), hello.variant), ("n1", Variant::Delta));
    assert_eq!(hello.node.metadata.into_iter().collect::<Vec<_>>(), [("k".into(), "v".into())]);
    assert_eq!(hello.peer.pid, Some(std::process::id() as i32));
    until("the ACK", || matches!(stand.source.heard().events[..], [(_, Event::Acked { ty: Endpoint, .. })]))
        .await;
    drop(caller);
    until("the end", || stand.source.heard().closed == [hello.stream]).await;
    stand.stop().await;
}

#[tokio::test]
async fn nothing_is_answered_before_the_source_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let source = One { ready: Semaphore::new(0), ..One::new(View::new(clusters(1, 10))) };
    let stand = Stand::start(dir.path(), source);
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    until("the hello", || stand.source.heard().hellos.len() == 1).await;
    let early = tokio::time::timeout(Duration::from_millis(50), caller.responses.message()).await;
    assert!(early.is_err(), "answered too early: {early:?}");
    stand.source.ready.add_permits(1);
    assert_eq!(caller.next().await.resources.len(), 1);
    stand.stop().await;
}

#[tokio::test]
async fn refusal_by_headers_comes_before_the_body_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    let (_requests, outbound) = mpsc::channel(1);
    let mut call = tonic::Request::new(ReceiverStream::new(outbound));
    call.metadata_mut().insert("x-refuse", "yes".parse().unwrap());
    let refused = within("the refusal", request(&stand.sock, ADS_DELTA, call, ClientCodec::default())).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    assert!(stand.source.heard().hellos.is_empty());
    stand.stop().await;
}

#[tokio::test]
async fn expired_stream_is_answered_and_then_ends_with_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let lasts = Some(Duration::from_millis(100));
    let stand = Stand::start(dir.path(), One { lasts, ..One::new(View::new(clusters(1, 10))) });
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    let status = caller.end().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("expired"), "{status:?}");
    until("the end", || stand.source.heard().closed.len() == 1).await;
    stand.stop().await;
}

#[tokio::test]
async fn refusal_of_the_source_ends_the_stream_with_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = Some(Status::permission_denied("not a pod of this node"));
    let stand = Stand::start(dir.path(), One { refuse, ..One::new(View::new(clusters(1, 10))) });
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    let status = caller.end().await;
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "not a pod of this node"));
    assert!(stand.source.heard().closed.is_empty(), "it was never opened");
    stand.stop().await;
}

#[tokio::test]
async fn stream_over_the_limit_is_refused_and_a_place_is_free_again_after_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_streams: 1, ..Limits::default() };
    let stand = Stand::limited(dir.path(), One::new(View::new(clusters(1, 10))), limits);
    let mut first = Caller::ads(&stand.sock).await;
    first.send(subscribe(Cluster, &[])).await;
    first.acked().await;
    let second = Caller::path(&stand.sock, crate::stand::ADS_DELTA).await.err().unwrap();
    assert_eq!(second.code(), Code::ResourceExhausted);
    drop(first);
    until("the end of the first", || stand.source.heard().closed.len() == 1).await;
    let mut third = Caller::ads(&stand.sock).await;
    third.send(subscribe(Cluster, &[])).await;
    assert_eq!(third.next().await.resources.len(), 1);
    stand.stop().await;
}

#[tokio::test]
async fn stream_without_a_first_request_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { first_request: Duration::from_millis(20), ..Limits::default() };
    let stand = Stand::limited(dir.path(), One::new(View::new(clusters(1, 10))), limits);
    let mut caller = Caller::ads(&stand.sock).await;
    assert_eq!(caller.end().await.code(), Code::DeadlineExceeded);
    stand.stop().await;
}

#[tokio::test]
async fn closed_view_ends_its_streams_with_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    caller.acked().await;
    stand.source.view.close("the pod has gone");
    let status = caller.end().await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the pod has gone"));
    assert_eq!(stand.source.view.streams(), 0);
    stand.stop().await;
}

#[tokio::test]
async fn per_type_service_serves_its_type_alone() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(2, 10))));
    let mut caller = Caller::path(&stand.sock, CDS_DELTA).await.unwrap();
    caller.send(subscribe(Cluster, &[])).await;
    assert_eq!(caller.acked().await.resources.len(), 2);
    caller.send(subscribe(Endpoint, &["cluster-00000".into()])).await;
    assert_eq!(caller.next().await.removed_resources, ["cluster-00000"]);
    stand.stop().await;
}

#[tokio::test]
async fn state_of_the_world_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(2, 10))));
    let (requests, outbound) = mpsc::channel::<DiscoveryRequest>(4);
    let codec = MessageCodec::<DiscoveryRequest, DiscoveryResponse>::default();
    let type_url = Cluster.type_url().to_string();
    requests.send(DiscoveryRequest { type_url, ..Default::default() }).await.unwrap();
    let mut responses = call(&stand.sock, ADS_SOTW, outbound, codec).await.unwrap();
    let response = within("the set", responses.message()).await.unwrap().unwrap();
    assert_eq!((response.resources.len(), response.version_info.len()), (2, 16));
    assert_eq!(
        (response.resources[0].type_url.as_str(), &response.resources[0].value[..]),
        (Cluster.type_url(), &b"config"[..])
    );
    stand.stop().await;
}

#[tokio::test]
async fn fetch_is_unimplemented() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    let status = Caller::path(&stand.sock, CDS_FETCH).await.err().unwrap();
    assert_eq!(status.code(), Code::Unimplemented);
    stand.stop().await;
}
