//! Samples of each version are accepted as they are, and written back unchanged (C1).

use std::num::NonZeroU16;

use portreeve_api::c::aggregation::Aggregation;
use portreeve_api::c::envoy_config::{EnvoyApi, Serialization};
use portreeve_api::c::epic::{EDS_IMAGE, Epic};
use portreeve_api::c::group::ENVOY_IMAGE;
use portreeve_api::c::lb_service_group::LBServiceGroup;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::port::{Port, Transport};
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_api::c::service_group::ServiceGroup;
use portreeve_api::c::service_prefix::ServicePrefix;
use portreeve_api::c::tunnel::{self, Tunnel};
use portreeve_api::c::tunnel_key::TunnelKey;
use portreeve_api::c::{account::Account, endpoint::Endpoint};
use serde_json::{Value, json};

use super::{FILES, broken_rules, definition, judge, objects, sample, schema, with};

fn port(name: &str, transport: Transport, port: u16) -> Port {
    Port { name: name.into(), transport, port: NonZeroU16::new(port).unwrap() }
}

#[test]
fn every_sample_is_accepted_and_written_back_unchanged() {
    let mut count = 0;
    for file in FILES {
        for mut value in objects(file) {
            let title = format!("{file}: {} {}", value["kind"], value["metadata"]["name"]);
            assert_eq!(broken_rules(&value, Some(&value)), "", "{title}");
            let judged = judge(value.clone()).unwrap();
            assert_eq!(
                (judged.warnings, judged.violations, judged.reasons),
                (vec![], vec![], vec![]),
                "{title}"
            );
            // The API server adds the only field that an object may lack.
            if value.get("spec").is_none() {
                value["spec"] = json!({});
            }
            assert_eq!(judged.written, value, "{title}");
            count += 1;
        }
    }
    assert_eq!(count, 16);
}

#[test]
fn unknown_fields_are_warned_of_with_their_path() {
    let table = [
        ("EPIC", "/spec/base/nics", "spec.base.nics"),
        ("Account", "/spec/group", "spec.group"),
        (
            "ServiceGroup",
            "/spec/envoy-template/envoyResources/clusters/0/type",
            "spec.envoy-template.envoyResources.clusters[0].type",
        ),
        ("LoadBalancer", "/spec/public-ports/0/weight", "spec.public-ports[0].weight"),
        ("RemoteEndpoint", "/spec/load-balancer", "spec.load-balancer"),
        ("ServicePrefix", "/spec/public-pool", "spec.public-pool"),
        ("ServicePrefix", "/extra", "extra"),
    ];
    for (kind, pointer, path) in table {
        let judged = judge(with(sample("e1.yaml", kind), pointer, json!(1))).unwrap();
        assert_eq!(judged.warnings, [format!("{path}: unknown field, ignored")], "{kind}");
        assert_eq!(judged.violations, [], "{kind}");
    }
}

#[test]
fn settings_of_an_empty_spec_are_the_defaults() {
    let form = Epic::parse(sample("document.yaml", "EPIC")).unwrap().0.form().unwrap();
    assert_eq!((form.eds_image.as_str(), form.ingress_nics), (EDS_IMAGE, vec!["enp1s0".to_owned()]));
    assert_eq!((form.epic_address, form.epic_port.get()), (None, 6080));
    let form = Epic::parse(sample("e1.yaml", "EPIC")).unwrap().0.form().unwrap();
    assert_eq!((form.ingress_nics.len(), form.epic_address), (2, Some([192, 168, 1, 40].into())));
}

#[test]
fn account_has_its_namespace_wherever_it_is() {
    for (file, namespace, id) in [
        ("document.yaml", "epic-sample", NonZeroU16::new(1)),
        ("e1.yaml", "epic-sample", NonZeroU16::new(1)),
        ("later.yaml", "epic-root", None),
    ] {
        let form = Account::parse(sample(file, "Account")).unwrap().0.form().unwrap();
        assert_eq!((form.namespace.as_str(), form.group_id), (namespace, id), "{file}");
    }
}

#[test]
fn group_of_either_kind_has_one_form() {
    let group = ServiceGroup::parse(sample("e1.yaml", "ServiceGroup")).unwrap().0.form().unwrap();
    assert_eq!((group.can_be_shared, group.envoy_image.as_str()), (true, "registry.example/envoy:1"));
    assert_eq!(
        (group.account, group.service_prefix),
        (Ok(Some("sample".into())), Ok(Some("non-default".into())))
    );
    let template = group.envoy_template.unwrap();
    assert_eq!((template.serialization(), template.envoy_api()), (Serialization::Yaml, EnvoyApi::V2));
    let group = LBServiceGroup::parse(sample("later.yaml", "LBServiceGroup")).unwrap().0.form().unwrap();
    assert_eq!((group.can_be_shared, group.envoy_image.as_str()), (false, ENVOY_IMAGE));
    assert_eq!((group.account, group.service_prefix), (Ok(Some("root".into())), Ok(Some("default".into()))));
    let template = group.envoy_template.unwrap();
    assert_eq!((template.serialization(), template.envoy_api()), (Serialization::B64json, EnvoyApi::V3));
    let bare = with(sample("e1.yaml", "ServiceGroup"), "/spec/envoy-template", Value::Null);
    assert_eq!(ServiceGroup::parse(bare).unwrap().0.form().unwrap().envoy_template, None);
    let template = LoadBalancer::parse(sample("e1.yaml", "LoadBalancer"))
        .unwrap()
        .0
        .form()
        .unwrap()
        .envoy_template
        .unwrap();
    assert_eq!((template.serialization(), template.envoy_api()), (Serialization::Json, EnvoyApi::V2));
}

#[test]
fn load_balancers_of_each_version_have_one_form() {
    let read = |file: &str| LoadBalancer::parse(sample(file, "LoadBalancer")).unwrap().0.form().unwrap();
    let form = read("document.yaml");
    assert_eq!((form.group, form.service_prefix), (Ok(Some("sample".into())), Ok(None)));
    assert_eq!((form.public_address, form.service_id), (Some([192, 168, 77, 2].into()), NonZeroU16::new(1)));
    assert_eq!(form.ports, [port("", Transport::Tcp, 8888)]);
    assert_eq!((form.tunnel_key, form.true_ingress, form.replicas), (None, true, 1));
    let form = read("e1.yaml");
    assert_eq!(
        (form.group, form.service_prefix),
        (Ok(Some("sample".into())), Ok(Some("non-default".into())))
    );
    let ports =
        [port("http", Transport::Tcp, 80), port("dns", Transport::Udp, 53), port("", Transport::Tcp, 53)];
    assert_eq!((form.public_address, form.ports), (None, ports.to_vec()));
    let key = form.tunnel_key.unwrap();
    assert_eq!(key, TunnelKey::from(std::array::from_fn(|at| u8::try_from(at).unwrap())));
    assert_eq!(
        (key.to_string().as_str(), format!("{key:?}").contains("AAEC")),
        ("AAECAwQFBgcICQoLDA0ODw==", false)
    );
    assert_eq!(form.upstream_clusters, ["uid-ns-web"]);
    let form = read("later.yaml");
    assert_eq!((form.group, form.ports), (Ok(Some("sample".into())), vec![]));
    assert_eq!((form.true_ingress, form.replicas), (false, 2));
}

#[test]
fn tunnels_of_status_and_spec_are_read_alike() {
    let tunnel = |node: [u8; 4], epic: [u8; 4], port: u16, id: u32| Tunnel {
        node: node.into(),
        epic_address: epic.into(),
        epic_port: port.try_into().unwrap(),
        id: id.try_into().unwrap(),
    };
    let (near, far, epic) = ([192, 168, 1, 16], [192, 168, 1, 25], [192, 168, 1, 40]);
    let document = LoadBalancer::parse(sample("document.yaml", "LoadBalancer")).unwrap().0;
    let expected = [tunnel(near, epic, 6080, 2), tunnel(far, epic, 6080, 1)];
    assert_eq!(document.tunnels(), expected.into());
    let later = LoadBalancer::parse(sample("later.yaml", "LoadBalancer")).unwrap().0;
    let expected = [tunnel(far, epic, 6081, 9), tunnel(far, [192, 168, 1, 41], 6080, 10)];
    assert_eq!(later.tunnels(), expected.into());
    // The later form of the status has the same tunnels.
    let mut both = document.clone();
    let status = document.status.as_ref().unwrap().gue_tunnel_endpoints.as_ref().unwrap();
    both.spec.gue_tunnel_endpoints = Some(tunnel::in_spec(status));
    assert_eq!(both.tunnels(), document.tunnels());
    both.status = None;
    assert_eq!(both.tunnels(), document.tunnels());
    let written = serde_json::to_value(&both.spec).unwrap();
    let end = json!({"epic-address": "192.168.1.40", "epic-port": {"port": 6080, "protocol": "UDP", "appProtocol": "gue"}, "tunnel-id": 2});
    assert_eq!(
        written["gue-tunnel-endpoints"]["192.168.1.16"],
        json!({"epic-endpoints": {"192.168.1.40": end}})
    );
}

#[test]
fn id_of_a_broken_tunnel_is_still_taken() {
    for (pointer, value, tunnels) in [
        ("/status/gue-tunnel-endpoints/192.168.1.16/epic-address", json!("none"), 1),
        ("/status/gue-tunnel-endpoints/192.168.1.16/epic-address", Value::Null, 1),
        ("/status/gue-tunnel-endpoints/192.168.1.16/epic-port/port", json!(0), 1),
        ("/status/gue-tunnel-endpoints/192.168.1.16/epic-port", Value::Null, 2),
    ] {
        let object = with(sample("document.yaml", "LoadBalancer"), pointer, value);
        let object = LoadBalancer::parse(object).unwrap().0;
        let ids: Vec<u32> = object.tunnel_ids().into_iter().map(u32::from).collect();
        assert_eq!((ids, object.tunnels().len()), (vec![1, 2], tunnels), "{pointer}");
    }
    let none = with(
        sample("document.yaml", "LoadBalancer"),
        "/status/gue-tunnel-endpoints/192.168.1.16/tunnel-id",
        json!(0),
    );
    assert_eq!(LoadBalancer::parse(none).unwrap().0.tunnel_ids().len(), 1);
}

#[test]
fn endpoints_of_both_kinds_have_one_form() {
    let document = Endpoint::parse(sample("document.yaml", "Endpoint")).unwrap().0.form().unwrap();
    assert_eq!(
        (document.address, document.node_address),
        ([10, 244, 1, 5].into(), Some([192, 168, 1, 25].into()))
    );
    assert_eq!(document.port, port("second", Transport::Tcp, 8080));
    assert_eq!((document.cluster, document.load_balancer), (None, Ok(Some("sample2-acnodal".into()))));
    let e1 = RemoteEndpoint::parse(sample("e1.yaml", "RemoteEndpoint")).unwrap().0.form().unwrap();
    assert_eq!((e1.address, e1.node_address), (document.address, document.node_address));
    assert_eq!(
        (e1.cluster.as_deref(), e1.load_balancer),
        (Some("uid-ns-web"), Ok(Some("sample-web".into())))
    );
    let later = RemoteEndpoint::parse(sample("later.yaml", "RemoteEndpoint")).unwrap().0.form().unwrap();
    assert_eq!((later.node_address, later.port), (None, port("", Transport::Udp, 53)));
}

#[test]
fn pools_of_prefixes_are_parsed() {
    let forms: Vec<_> = objects("e1.yaml")
        .into_iter()
        .filter(|object| object["kind"] == "ServicePrefix")
        .map(|object| ServicePrefix::parse(object).unwrap().0.form().unwrap())
        .collect();
    let read = |at: usize| (forms[at].subnet.to_string(), forms[at].pool.to_string(), forms[at].gateway);
    let gateway = Some([192, 168, 77, 1].into());
    assert_eq!(read(0), ("192.168.77.0/24".into(), "192.168.77.2-192.168.77.8".into(), gateway));
    assert_eq!(read(1), ("fd00:77::/64".into(), "fd00:77::10-fd00:77::1f".into(), None));
    assert_eq!(
        (forms[0].aggregation, forms[1].aggregation),
        (Aggregation::Default, Aggregation::Length(128))
    );
    assert_eq!(forms[1].multus_bridge, "multus0");
}

#[test]
fn defaults_of_the_definitions_are_those_of_e1() {
    let gue = json!({"port": 6080, "protocol": "UDP", "appProtocol": "gue"});
    let table = [
        ("EPIC", "/properties/spec", json!({})),
        ("EPIC", "/properties/spec/properties/base/properties/gue-ingress-nics", json!(["enp1s0"])),
        (
            "EPIC",
            "/properties/spec/properties/base/properties/gue-endpoint/properties/epic-port",
            gue.clone(),
        ),
        ("Account", "/properties/spec", json!({})),
        ("ServiceGroup", "/properties/spec/properties/can-be-shared", json!(false)),
        (
            "ServiceGroup",
            "/properties/spec/properties/envoy-image",
            json!("registry.gitlab.com/acnodal/epic/envoy:latest"),
        ),
        ("LBServiceGroup", "/properties/spec/properties/can-be-shared", json!(false)),
        ("ServicePrefix", "/properties/spec/properties/aggregation", json!("default")),
        ("ServicePrefix", "/properties/spec/properties/multus-bridge", json!("multus0")),
        (
            "LoadBalancer",
            "/properties/status/properties/gue-tunnel-endpoints/additionalProperties/properties/epic-port",
            gue,
        ),
        // Without it the document's objects are read back unchanged.
        ("EPIC", "/properties/spec/properties/eds-image", Value::Null),
        ("LoadBalancer", "/properties/spec/properties/true-ingress", Value::Null),
    ];
    for (kind, pointer, default) in table {
        assert_eq!(schema(kind).pointer(pointer).unwrap()["default"], default, "{kind} {pointer}");
    }
}

#[test]
fn required_fields_are_those_of_both_versions() {
    for (kind, required) in [
        ("EPIC", json!(null)),
        ("Account", json!(null)),
        ("ServiceGroup", json!(null)),
        ("LBServiceGroup", json!(null)),
        ("LoadBalancer", json!(["public-address", "public-ports"])),
        ("Endpoint", json!(["address", "port"])),
        ("RemoteEndpoint", json!(["address", "cluster", "port"])),
        ("ServicePrefix", json!(["pool", "subnet"])),
    ] {
        assert_eq!(schema(kind)["properties"]["spec"]["required"], required, "{kind}");
    }
}

#[test]
fn columns_are_those_of_e1() {
    let columns = |kind: &str| -> Vec<String> {
        let columns = definition(kind)["spec"]["versions"][0]["additionalPrinterColumns"].clone();
        columns.as_array().unwrap().iter().map(|one| one["jsonPath"].as_str().unwrap().to_owned()).collect()
    };
    let labels = ".metadata.labels.owning-";
    let expected =
        [".spec.public-address", &format!("{labels}servicegroup"), &format!("{labels}serviceprefix")];
    assert_eq!(columns("LoadBalancer")[..3], expected);
    let spec = [".spec.address", ".spec.node-address", ".spec.port.port", ".spec.port.protocol"];
    assert_eq!(columns("RemoteEndpoint")[0], format!("{labels}loadbalancer"));
    assert_eq!(columns("RemoteEndpoint")[1..5], spec);
    assert_eq!(columns("Endpoint")[..5], [".spec.load-balancer"].into_iter().chain(spec).collect::<Vec<_>>());
}
