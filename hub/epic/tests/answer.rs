//! Answers: each row of the table in seed C.5, and errors.
#![allow(clippy::unwrap_used, reason = "a test ends where its own input can't be read")]

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use portreeve_epic::answer::{self, Answer, ERROR_HEADER, MAX_ERROR};
use portreeve_epic::path::Target;
use portreeve_epic::request::NewCluster;
use serde_json::{Value, json};

const ACCOUNT: &str = "/api/epic/accounts/a";
const GROUP: &str = "/api/epic/accounts/a/groups/g";
const SERVICE: &str = "/api/epic/accounts/a/services/s";
const CLUSTER: &str = "/api/epic/accounts/a/services/s/clusters/c";
const ENDPOINT: &str = "/api/epic/accounts/a/services/s/endpoints/e";

fn at(path: &str) -> Target {
    Target::parse(path).unwrap()
}

fn object(kind: &str) -> Value {
    json!({"apiVersion": "epic.acnodal.io/v1", "kind": kind, "metadata": {"name": "x"}, "spec": {}})
}

fn header(answer: &Answer, name: &http::HeaderName) -> Option<String> {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn get_answers_with_links_and_the_whole_object() {
    let services = format!("{GROUP}/services");
    let (endpoints, clusters) = (format!("{SERVICE}/endpoints"), format!("{SERVICE}/clusters"));
    for (row, answer, body) in [
        (
            "GET /accounts/A",
            answer::account(&at(ACCOUNT), object("Account")),
            json!({"link": {"self": ACCOUNT}, "account": object("Account")}),
        ),
        (
            "GET /accounts/A/groups/G",
            answer::group(&at(GROUP), object("ServiceGroup")),
            json!({
                "link": {"self": GROUP, "account": ACCOUNT, "create-service": services},
                "group": object("ServiceGroup")
            }),
        ),
        (
            "GET /accounts/A/services/S",
            answer::service(&at(SERVICE), "g", object("LoadBalancer")),
            json!({
                "link": {"self": SERVICE, "group": GROUP, "create-endpoint": endpoints, "create-cluster": clusters},
                "service": object("LoadBalancer")
            }),
        ),
        (
            "GET …/clusters/C",
            answer::cluster(&at(CLUSTER)),
            json!({"link": {"self": CLUSTER, "service": SERVICE}}),
        ),
        (
            "GET …/endpoints/E",
            answer::endpoint(&at(ENDPOINT), object("RemoteEndpoint")),
            json!({"link": {"self": ENDPOINT, "service": SERVICE}, "endpoint": object("RemoteEndpoint")}),
        ),
    ] {
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &body), "{row}");
        assert_eq!((&answer.location, &answer.error), (&None, &None), "{row}");
    }
}

#[test]
fn post_answers_with_the_location() {
    for path in [SERVICE, CLUSTER, ENDPOINT] {
        let answer = answer::created(&at(path));
        assert_eq!((answer.status, &answer.body), (StatusCode::FOUND, &json!({})));
        assert_eq!(header(&answer, &LOCATION).as_deref(), Some(path));
    }
    for path in [SERVICE, CLUSTER] {
        let answer = answer::exists(&at(path));
        let message = format!("{path} exists already: GET it, or create it with another name");
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(answer.body, json!({"message": message, "link": {"self": path}}));
        assert_eq!(header(&answer, &LOCATION).as_deref(), Some(path));
    }
}

#[test]
fn duplicate_endpoint_is_named_at_the_messages_end() {
    let answer = answer::duplicate_endpoint(&at(ENDPOINT), object("RemoteEndpoint"));
    assert_eq!((answer.status, answer.location.as_deref()), (StatusCode::CONFLICT, Some(ENDPOINT)));
    assert_eq!(
        answer.body,
        json!({
            "message": "service a/s: duplicate endpoint: e",
            "link": {"self": ENDPOINT},
            "endpoint": object("RemoteEndpoint")
        })
    );
}

#[test]
fn delete_answers_with_a_message() {
    for (answer, status) in
        [(answer::message("text"), StatusCode::OK), (answer::clusters_left("text"), StatusCode::CONFLICT)]
    {
        assert_eq!((answer.status, &answer.body), (status, &json!({"message": "text"})));
        assert_eq!((&answer.location, &answer.error), (&None, &None));
    }
}

#[test]
fn errors_are_a_text_in_the_body_and_in_a_header() {
    let bad = NewCluster::parse(b"{}").unwrap_err();
    let forbidden = "this user has no right to /api/epic/accounts/a: use one of a Secret in the account's namespace or in \
                     namespace epic";
    for (answer, status, text) in [
        (answer::bad_request(&bad), 400, "cluster-id: is required and must not be empty"),
        (answer::unauthorized("no credentials"), 401, "no credentials"),
        (answer::forbidden(&at(ACCOUNT)), 403, forbidden),
        (answer::not_found(at(GROUP)), 404, "/api/epic/accounts/a/groups/g not found"),
        (
            answer::too_many_requests(Duration::from_millis(1)),
            429,
            "too many requests: send the next one after Retry-After",
        ),
        (answer::internal("no address left"), 500, "no address left"),
        (answer::error(StatusCode::METHOD_NOT_ALLOWED, "PUT"), 405, "PUT"),
    ] {
        assert_eq!((answer.status.as_u16(), &answer.body), (status, &json!({"error": text})));
        assert_eq!(header(&answer, &ERROR_HEADER).as_deref(), Some(text));
        assert_eq!(header(&answer, &CONTENT_TYPE).as_deref(), Some("application/json"));
        assert_eq!(header(&answer, &WWW_AUTHENTICATE).is_some(), status == 401);
        assert_eq!(header(&answer, &RETRY_AFTER).is_some(), status == 429);
        assert_eq!(answer.location, None);
    }
}

#[test]
fn wait_is_rounded_up_to_whole_seconds() {
    for (milliseconds, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
        let answer = answer::too_many_requests(Duration::from_millis(milliseconds));
        assert_eq!(header(&answer, &RETRY_AFTER).as_deref(), Some(seconds));
    }
}

#[test]
fn error_that_no_header_can_hold_is_cut_and_cleaned() {
    let text = format!("é\r\nSet-Cookie: x\0{}", "y".repeat(1_000_000));
    let answer = answer::internal(text);
    let header = header(&answer, &ERROR_HEADER).unwrap();
    assert!(header.starts_with("???Set-Cookie: x?yyy"), "{header}");
    assert_eq!(header.len(), MAX_ERROR);
    assert_eq!(answer.body["error"].as_str().map(|text| text.chars().count()), Some(MAX_ERROR));
}

#[test]
fn cluster_with_any_name_has_a_location() {
    let cluster =
        Target::Cluster { account: "a".into(), service: "s".into(), cluster: "é/ +\u{2028}".into() };
    let location = header(&answer::created(&cluster), &LOCATION).unwrap();
    assert_eq!(Target::parse(&location), Some(cluster));
}

fn tunnel(id: u32) -> Value {
    json!({"epic-address": "192.168.1.25", "epic-port": {"port": 6080, "protocol": "UDP", "appProtocol": "gue"}, "tunnel-id": id})
}

#[test]
fn service_has_its_tunnels_in_both_forms() {
    let status = json!({"192.168.1.40": tunnel(4), "192.168.1.41": tunnel(5)});
    let later = json!({
        "192.168.1.40": {"epic-endpoints": {"192.168.1.25": tunnel(4)}},
        "192.168.1.41": {"epic-endpoints": {"192.168.1.25": tunnel(5)}}
    });
    let own = json!({"192.168.1.99": {"epic-endpoints": {}}});
    for (in_spec, expected) in
        [(None, &later), (Some(json!(null)), &later), (Some(json!({})), &later), (Some(own.clone()), &own)]
    {
        let mut stored = json!({"spec": {"service-id": 3}, "status": {"gue-tunnel-endpoints": status}});
        if let Some(in_spec) = in_spec {
            stored["spec"]["gue-tunnel-endpoints"] = in_spec;
        }
        let answer = answer::service(&at(SERVICE), "g", stored);
        let service = &answer.body["service"];
        assert_eq!(&service["spec"]["gue-tunnel-endpoints"], expected);
        assert_eq!(service["status"]["gue-tunnel-endpoints"], status, "as stored");
        assert_eq!(service["spec"]["service-id"], 3);
    }
}

#[test]
fn service_without_tunnels_that_can_be_read_is_answered_as_stored() {
    for stored in [
        json!({}),
        json!(null),
        json!([1]),
        json!({"spec": {}}),
        json!({"spec": {}, "status": null}),
        json!({"spec": {}, "status": {"gue-tunnel-endpoints": null}}),
        json!({"spec": {}, "status": {"gue-tunnel-endpoints": {}}}),
        json!({"spec": {}, "status": {"gue-tunnel-endpoints": {"n": 7, "m": {"tunnel-id": "x"}}}}),
        json!({"spec": 7, "status": {"gue-tunnel-endpoints": {"n": tunnel(1)}}}),
        json!({"status": {"gue-tunnel-endpoints": {"n": tunnel(1)}}}),
    ] {
        assert_eq!(answer::service(&at(SERVICE), "g", stored.clone()).body["service"], stored);
    }
}
