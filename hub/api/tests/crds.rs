//! `deploy/crds` matches the definitions generated from the types. `UPDATE=1 cargo test -p portreeve-api --test crds`
//! rewrites the files.
#![allow(clippy::unwrap_used, reason = "a test ends where its files are missing")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use portreeve_api::crds;
use serde_json::Value;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds")
}

fn generated() -> BTreeMap<String, String> {
    crds::to_yaml().unwrap().into_iter().collect()
}

fn written() -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory()).unwrap().map(Result::unwrap);
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(read).filter(|(name, _)| name != "kustomization.yaml").collect()
}

/// Collects every schema node of a definition with its path.
fn nodes(path: String, schema: &Value, out: &mut Vec<(String, Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        nodes(format!("{path}.{name}"), property, out);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            nodes(format!("{path}.{key}"), &schema[key], out);
        }
    }
    out.push((path, schema.clone()));
}

fn all_nodes() -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for crd in crds::all() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        nodes(crd.spec.names.kind, &schema["openAPIV3Schema"], &mut out);
    }
    out
}

#[test]
fn the_written_definitions_are_the_generated_ones() {
    let generated = generated();
    if std::env::var_os("UPDATE").is_some() {
        for (name, text) in &generated {
            fs::write(directory().join(name), text).unwrap();
        }
    }
    assert_eq!(written(), generated, "run with UPDATE=1 to rewrite deploy/crds");
}

#[test]
fn every_schema_node_has_a_type_and_none_is_nullable() {
    // API B's parts may be names or definitions, which a schema can't say, so the hub checks them.
    let open = |path: &str| {
        let [kind, "spec", field, ..] = path.split('.').collect::<Vec<_>>()[..] else { return false };
        let scalar =
            ["updateOwners", "linkedVirtualService", "serviceName", "destinationRef", "rulelist", "position"];
        ["VirtualService", "Target", "Route", "Rule"].contains(&kind)
            && field != "listeners"
            && !scalar.contains(&field)
    };
    for (path, node) in all_nodes() {
        let names_or_definitions = path == "Route.spec.destination" || path.ends_with("gress.items");
        let number_or_name = node["x-kubernetes-int-or-string"] == true;
        assert!(
            node["type"].is_string() || names_or_definitions || number_or_name,
            "{path} has no type: {node}"
        );
        assert_eq!(node["nullable"], Value::Null, "{path}");
        // The schema doesn't list Envoy's own fields.
        let foreign = path.starts_with("NodeProxy.spec.envoy.extraBootstrap") || open(&path);
        let allowed = node["x-kubernetes-preserve-unknown-fields"] == true;
        assert!(!allowed || foreign, "{path}");
    }
}

#[test]
fn every_field_is_explained() {
    let fields = all_nodes().into_iter().filter(|(path, _)| {
        // The API server allows no description of an object's metadata.
        let implied = [".items", ".additionalProperties", ".metadata"];
        path.contains('.') && !implied.iter().any(|end| path.ends_with(end))
    });
    let silent: Vec<_> =
        fields.filter(|(_, node)| !node["description"].is_string()).map(|(path, _)| path).collect();
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn kinds_have_their_documented_names() {
    let names: Vec<_> = crds::all()
        .into_iter()
        .map(|crd| {
            let short = crd.spec.names.short_names.unwrap_or_default().join(",");
            let version = &crd.spec.versions[0];
            assert!(
                version.subresources.as_ref().is_some_and(|s| s.status.is_some()),
                "{}",
                crd.spec.names.kind
            );
            (crd.metadata.name.unwrap(), version.name.clone(), crd.spec.scope, short)
        })
        .collect();
    // `kubectl get vsvc` shows one kind only, and in alerts and documents that is API A's.
    let expected = [
        ("virtualservices.servicemesh.l7mp.io", "v1", "Namespaced", "vsvc"),
        ("nodeproxies.portreeve.dev", "v1alpha1", "Cluster", "npx"),
        ("ingresslisteners.ingresslistener.envoy.uw.systems", "v1alpha1", "Namespaced", "il"),
        ("egresslisteners.egresslistener.envoy.uw.systems", "v1alpha1", "Namespaced", "el"),
        ("virtualservices.l7mp.io", "v1", "Namespaced", ""),
        ("targets.l7mp.io", "v1", "Namespaced", "tr"),
        ("routes.l7mp.io", "v1", "Namespaced", ""),
        ("rules.l7mp.io", "v1", "Namespaced", ""),
        ("epics.epic.acnodal.io", "v1", "Namespaced", ""),
        ("accounts.epic.acnodal.io", "v1", "Namespaced", ""),
        ("servicegroups.epic.acnodal.io", "v1", "Namespaced", "sg,sgs"),
        ("lbservicegroups.epic.acnodal.io", "v1", "Namespaced", "lbsg,lbsgs"),
        ("loadbalancers.epic.acnodal.io", "v1", "Namespaced", "lb,lbs"),
        ("endpoints.epic.acnodal.io", "v1", "Namespaced", ""),
        ("remoteendpoints.epic.acnodal.io", "v1", "Namespaced", "rep,reps"),
        ("serviceprefixes.epic.acnodal.io", "v1", "Namespaced", "sp,sps"),
        ("nodereports.portreeve.dev", "v1alpha1", "Cluster", "nr"),
    ];
    let expected = expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    assert_eq!(names, expected);
}
