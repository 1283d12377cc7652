//! Golden tables: what the samples make (seed C.3 "Templates", C.6, C16).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by it")]

mod support;

use std::fmt::Write as _;

use portreeve_template::{Rendered, Resource, render};
use serde_json::Value;
use support::{descriptors, facts, port, sample};

/// The resources as text: their names and places, and their content as Envoy reads it.
fn printed(rendered: &Rendered) -> String {
    let mut text = String::new();
    let lists =
        [&rendered.clusters, &rendered.endpoints, &rendered.listeners, &rendered.routes, &rendered.runtimes];
    for resource in lists.into_iter().flatten() {
        let Resource { name, type_url, value, from } = resource;
        let value: Value = descriptors().json(type_url, value).unwrap();
        writeln!(text, "# {from}: {name}").unwrap();
        writeln!(text, "{}", serde_yaml::to_string(&value).unwrap()).unwrap();
    }
    for secret in &rendered.secrets {
        writeln!(text, "# {}: {} {:?}", secret.from, secret.name, secret.reference).unwrap();
    }
    for socket in &rendered.sockets {
        writeln!(text, "# {} {}:{} of {}", socket.protocol, socket.address, socket.port, socket.listener)
            .unwrap();
    }
    for upstream in &rendered.upstreams {
        writeln!(text, "# {}: EDS {} as {}", upstream.name, upstream.is_eds, upstream.eds_service_name)
            .unwrap();
    }
    text
}

/// Compares with a file. `UPDATE=1` writes it.
fn compare(name: &str, found: &str) {
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, wanted, "{path}: run with UPDATE=1 if the change is meant");
}

#[test]
fn http_template_of_api_v2_weighs_its_clusters() {
    let facts = facts(&["web-1", "web-2", "web-3"]);
    compare("v2", &printed(&render(&sample("v2"), &facts, descriptors()).unwrap()));
}

#[test]
fn template_with_inline_endpoints_has_one_cluster() {
    let mut facts = facts(&["web-1"]);
    facts.ports = vec![port("", 5353, "")];
    compare("inline", &printed(&render(&sample("inline"), &facts, descriptors()).unwrap()));
}

#[test]
fn template_of_api_v3_has_routes_runtime_and_secrets() {
    compare("v3", &printed(&render(&sample("v3"), &facts(&["web-1"]), descriptors()).unwrap()));
}

#[test]
fn without_an_upstream_cluster_there_are_no_clusters_endpoints_and_listeners() {
    let rendered = render(&sample("v3"), &facts(&[]), descriptors()).unwrap();
    assert!(rendered.listeners.is_empty() && rendered.clusters.is_empty() && rendered.endpoints.is_empty());
    assert!(rendered.sockets.is_empty() && rendered.upstreams.is_empty());
    assert_eq!((rendered.routes.len(), rendered.runtimes.len(), rendered.secrets.len()), (1, 1, 1));
}

#[test]
fn equal_templates_and_facts_make_equal_bytes() {
    let facts = facts(&["web-1", "web-2"]);
    for name in ["v2", "v3"] {
        let first = render(&sample(name), &facts, descriptors()).unwrap();
        for _ in 0..20 {
            assert_eq!(render(&sample(name), &facts, descriptors()).unwrap(), first);
        }
    }
}

#[test]
fn a_template_without_resources_makes_none() {
    let none = portreeve_api::c::envoy_config::EnvoyConfigSpec::default();
    assert_eq!(render(&none, &facts(&["web-1"]), descriptors()).unwrap(), Rendered::default());
}
