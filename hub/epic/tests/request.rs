//! Bodies: what is read from those that clients send, and why others are refused.

use portreeve_api::c::endpoint_name::remote_endpoint_name;
use portreeve_api::c::schema::{MAX_CLUSTER, MAX_PORTS};
use portreeve_epic::request::{BadRequest, MAX_BODY, NewCluster, NewEndpoint, NewService};
use serde_json::{Value, json};

/// What PureLB's allocator sends (seed C.5 step 1).
const PURELB_SERVICE: &str = r#"{"service": {
    "metadata": {"name": "web", "namespace": "", "creationTimestamp": null},
    "spec": {"display-name": "default/web", "public-ports": [
        {"name": "http", "protocol": "TCP", "appProtocol": "x/y", "port": 80, "targetPort": "web", "nodePort": 30080},
        {"protocol": "", "port": 53, "targetPort": 0}], "service-id": 0},
    "status": {"gue-tunnel-endpoints": null}}}"#;

/// What PureLB's node agent sends (seed C.5 step 3).
const PURELB_ENDPOINT: &str = r#"{"Endpoint": {"metadata": {"creationTimestamp": null}, "spec": {"cluster": "c",
    "address": "10.244.1.5", "Port": {"name": "http", "port": 8080, "protocol": "TCP"}, "node-address": "192.168.1.40"}}}"#;

fn service(spec: &Value) -> Result<NewService, BadRequest> {
    NewService::parse(json!({"service": {"metadata": {"name": "web"}, "spec": spec}}).to_string().as_bytes())
}

fn endpoint(spec: &Value) -> Result<NewEndpoint, BadRequest> {
    NewEndpoint::parse(json!({"endpoint": {"spec": spec}}).to_string().as_bytes())
}

/// Swaps the case of all keys of a JSON text without escapes.
fn with_other_keys(text: &str, change: impl Fn(&str) -> String) -> String {
    let parts: Vec<&str> = text.split('"').collect();
    let is_key =
        |at: usize| at % 2 == 1 && parts.get(at + 1).is_some_and(|next| next.trim_start().starts_with(':'));
    let parts: Vec<String> = (0..parts.len())
        .map(|at| if is_key(at) { change(parts[at]) } else { parts[at].to_owned() })
        .collect();
    parts.join("\"")
}

#[test]
fn service_of_purelb_is_read() {
    let read = NewService::parse(PURELB_SERVICE.as_bytes()).unwrap();
    assert_eq!((read.name.as_str(), read.public_address), ("web", None));
    assert_eq!(read.display_name.as_deref(), Some("default/web"));
    assert_eq!(
        json!(read.public_ports),
        json!([
            {"name": "http", "protocol": "TCP", "appProtocol": "x/y", "port": 80, "targetPort": "web", "nodePort": 30080},
            {"protocol": "", "port": 53, "targetPort": 0}
        ])
    );
}

#[test]
fn service_needs_only_a_name() {
    for body in [
        r#"{"service": {"metadata": {"name": "web"}}}"#,
        r#"{"service": {"metadata": {"name": "web"}, "spec": null}}"#,
        r#"{"service": {"metadata": {"name": "web"}, "spec": {"public-ports": []}}}"#,
        r#"{"service": {"metadata": {"name": "web"}, "spec": {"public-ports": null, "public-address": ""}}}"#,
        r#"{"service": {"metadata": {"name": "web"}, "spec": {"tunnel-key": 7, "service-id": "x"}}, "x": [[]]}"#,
    ] {
        let read = NewService::parse(body.as_bytes()).unwrap();
        assert_eq!((read.public_ports.len(), read.public_address), (0, None), "{body}");
    }
    let address = service(&json!({"public-address": "192.168.77.2"})).unwrap().public_address;
    assert_eq!(address, Some("192.168.77.2".parse().unwrap()));
}

#[test]
fn endpoint_of_purelb_is_read() {
    let read = NewEndpoint::parse(PURELB_ENDPOINT.as_bytes()).unwrap();
    assert_eq!(
        json!(read.spec),
        json!({"cluster": "c", "address": "10.244.1.5", "node-address": "192.168.1.40",
            "port": {"name": "http", "port": 8080, "protocol": "TCP"}})
    );
    assert_eq!(read.form.node_address, Some("192.168.1.40".parse().unwrap()));
    let name = remote_endpoint_name("uid", &read.form);
    assert!(name.starts_with("10-244-1-5-8080-tcp-"), "{name}");
}

#[test]
fn endpoint_without_a_node_address_has_no_tunnel() {
    for node in [json!(null), json!("")] {
        let spec = json!({"cluster": "c", "address": "2001:db8::1", "port": {"port": 53, "protocol": "udp"}, "node-address": node});
        assert_eq!(endpoint(&spec).unwrap().form.node_address, None);
    }
}

#[test]
fn keys_match_in_any_case_at_every_depth() {
    let (as_service, as_endpoint) =
        (NewService::parse(PURELB_SERVICE.as_bytes()), NewEndpoint::parse(PURELB_ENDPOINT.as_bytes()));
    let title = |key: &str| format!("{}{}", key[..1].to_uppercase(), &key[1..]);
    let changes: [&dyn Fn(&str) -> String; 3] =
        [&|key| key.to_uppercase(), &|key| key.to_lowercase(), &title];
    for change in changes {
        assert_eq!(NewService::parse(with_other_keys(PURELB_SERVICE, change).as_bytes()), as_service);
        assert_eq!(NewEndpoint::parse(with_other_keys(PURELB_ENDPOINT, change).as_bytes()), as_endpoint);
        let body = with_other_keys(r#"{"cluster-id": "C"}"#, change);
        assert_eq!(NewCluster::parse(body.as_bytes()).unwrap().cluster, "C");
    }
}

#[test]
fn last_of_several_keys_counts() {
    for (body, cluster) in [
        (r#"{"cluster-id": "a", "Cluster-Id": "b"}"#, "b"),
        (r#"{"Cluster-Id": "b", "cluster-id": "a"}"#, "a"),
        (r#"{"cluster-id": "a", "cluster-id": "c"}"#, "c"),
        (r#"{"CLUSTER-ID": 7, "cluster-id": "a b/ü"}"#, "a b/ü"),
    ] {
        assert_eq!(NewCluster::parse(body.as_bytes()).unwrap().cluster, cluster, "{body}");
    }
}

#[test]
fn wrong_service_is_refused_with_its_field() {
    let ports = |port: Value| json!({"public-ports": [{"port": 1}, port]});
    let many: Vec<Value> = (0..=MAX_PORTS).map(|port| json!({"port": port})).collect();
    for (spec, field) in [
        (json!("x"), "service.spec"),
        (json!({"public-ports": {}}), "service.spec.public-ports"),
        (json!({"public-ports": many}), "service.spec.public-ports"),
        (ports(json!(null)), "service.spec.public-ports[1].port"),
        (ports(json!(80)), "service.spec.public-ports[1]"),
        (ports(json!({})), "service.spec.public-ports[1].port"),
        (ports(json!({"port": 0})), "service.spec.public-ports[1].port"),
        (ports(json!({"port": 65_536})), "service.spec.public-ports[1].port"),
        (ports(json!({"port": -1})), "service.spec.public-ports[1].port"),
        (ports(json!({"port": 4_294_967_376_u64})), "service.spec.public-ports[1].port"),
        (ports(json!({"port": "80"})), "service.spec.public-ports[1].port"),
        (ports(json!({"port": 80.5})), "service.spec.public-ports[1].port"),
        (ports(json!({"port": 1})), "service.spec.public-ports[1]"),
        (ports(json!({"port": 2, "protocol": "SCTP"})), "service.spec.public-ports[1].protocol"),
        (ports(json!({"port": 2, "name": "n".repeat(64)})), "service.spec.public-ports[1].name"),
        (ports(json!({"port": 2, "nodePort": 65_536})), "service.spec.public-ports[1].nodePort"),
        (ports(json!({"port": 2, "targetPort": []})), "service.spec.public-ports[1].targetPort"),
        (
            ports(json!({"port": 2, "appProtocol": "a".repeat(254)})),
            "service.spec.public-ports[1].appProtocol",
        ),
        (json!({"public-address": "<nil>"}), "service.spec.public-address"),
        (json!({"public-address": 7}), "service.spec.public-address"),
        (json!({"display-name": "d".repeat(254)}), "service.spec.display-name"),
    ] {
        let error = service(&spec).unwrap_err();
        assert_eq!(error.field, field, "{error}");
        assert!(!error.message.is_empty() && error.to_string().len() < 300, "{error}");
    }
}

#[test]
fn service_with_a_name_that_no_object_can_have_is_refused() {
    for name in ["", "Web", "a/b", "../x", "a b", "-a", "a.", "a\0", "é", &"a".repeat(254)] {
        let body = json!({"service": {"metadata": {"name": name}}}).to_string();
        assert_eq!(NewService::parse(body.as_bytes()).unwrap_err().field, "service.metadata.name", "{name}");
    }
    for body in
        ["{}", r#"{"service": null}"#, r#"{"service": {}}"#, r#"{"service": {"metadata": {"name": null}}}"#]
    {
        assert_eq!(NewService::parse(body.as_bytes()).unwrap_err().field, "service.metadata.name", "{body}");
    }
    assert_eq!(NewService::parse(br#"{"service": []}"#).unwrap_err().field, "service");
}

#[test]
fn wrong_endpoint_is_refused_with_its_field() {
    let good =
        json!({"cluster": "c", "address": "10.0.0.1", "port": {"port": 1}, "node-address": "10.0.0.2"});
    assert!(endpoint(&good).is_ok());
    for (key, value, field) in [
        ("cluster", json!(null), "cluster"),
        ("cluster", json!(""), "cluster"),
        ("cluster", json!(".."), "cluster"),
        ("cluster", json!("c".repeat(MAX_CLUSTER + 1)), "cluster"),
        ("address", json!(null), "address"),
        ("address", json!(""), "address"),
        ("address", json!("10.0.0.256"), "address"),
        ("address", json!("1".repeat(1000)), "address"),
        ("address", json!(["10.0.0.1"]), "address"),
        ("address", json!("127.0.0.1"), "address"),
        ("address", json!("::ffff:127.0.0.1"), "address"),
        ("address", json!("::1"), "address"),
        ("address", json!("0.0.0.0"), "address"),
        ("address", json!("169.254.169.254"), "address"),
        ("address", json!("fe80::1"), "address"),
        ("address", json!("224.0.0.1"), "address"),
        ("address", json!("255.255.255.255"), "address"),
        ("node-address", json!("node-1"), "node-address"),
        ("port", json!(null), "port"),
        ("port", json!(80), "port"),
        ("port", json!({}), "port.port"),
        ("port", json!({"port": 0}), "port.port"),
        ("port", json!({"port": 1, "protocol": "ICMP"}), "port.protocol"),
    ] {
        let mut spec = good.clone();
        spec[key] = value;
        let error = endpoint(&spec).unwrap_err();
        assert_eq!(error.field, format!("endpoint.spec.{field}"), "{error}");
    }
}

#[test]
fn cluster_without_a_usable_id_is_refused() {
    let long = json!({"cluster-id": "c".repeat(MAX_CLUSTER + 1)}).to_string();
    for body in [
        "{}",
        r#"{"cluster-id": null}"#,
        r#"{"cluster-id": ""}"#,
        r#"{"cluster-id": 7}"#,
        r#"{"cluster-id": "."}"#,
        r#"{"cluster-id": "a\u0000"}"#,
        r#"{"cluster-id": "a\r\nX: y"}"#,
        r#"{"cluster_id": "a"}"#,
        &long,
    ] {
        assert_eq!(NewCluster::parse(body.as_bytes()).unwrap_err().field, "cluster-id", "{body}");
    }
    let longest = "ü".repeat(MAX_CLUSTER);
    let body = json!({"cluster-id": longest}).to_string();
    assert_eq!(NewCluster::parse(body.as_bytes()).unwrap().cluster, longest);
}

#[test]
fn body_that_is_not_a_json_object_is_refused() {
    let deep = format!("{{\"service\":{}", "[".repeat(100_000));
    let deep_object = "{\"service\":".repeat(50_000);
    let huge = format!("{{\"cluster-id\": \"{}\"}}", "c".repeat(MAX_BODY));
    let bodies: [&[u8]; 14] = [
        b"",
        b" ",
        b"null",
        b"7",
        b"[]",
        b"\"cluster-id\"",
        b"{",
        b"{\"cluster-id\": \"c\"} x",
        b"{\"cluster-id\": \"\xff\"}",
        b"{\"cluster-id\": \"\\ud800\"}",
        b"\xef\xbb\xbf{}",
        deep.as_bytes(),
        deep_object.as_bytes(),
        huge.as_bytes(),
    ];
    for body in bodies {
        let fields = [
            NewService::parse(body).unwrap_err().field,
            NewCluster::parse(body).unwrap_err().field,
            NewEndpoint::parse(body).unwrap_err().field,
        ];
        assert_eq!(fields, ["request body"; 3], "{:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
    }
}

#[test]
fn largest_service_fits() {
    let (name, long) = ("n".repeat(63), "a".repeat(253));
    let port = |port: usize| json!({"name": name, "appProtocol": long, "targetPort": long, "port": port + 1, "protocol": "UDP", "nodePort": 65_535});
    let ports: Vec<Value> = (0..MAX_PORTS).map(port).collect();
    assert_eq!(service(&json!({"public-ports": ports})).unwrap().public_ports.len(), MAX_PORTS);
}
