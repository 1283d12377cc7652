//! Manifests in place of an API server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use portreeve_hub::files::{Folder, Reading};
use portreeve_hub::index::Index;
use portreeve_hub::selection::SelectorScope;

const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: n1}}";

fn proxy(selector: &str) -> String {
    format!(
        "{{apiVersion: portreeve.dev/v1alpha1, kind: NodeProxy, metadata: {{name: gw}}, spec: {{labels: {{app: gw}}, \
         allowedNamespaces: {{from: Selector, selector: {selector}}}}}}}"
    )
}

fn service(namespace: &str) -> String {
    let endpoint = "{name: e, host: {address: 10.0.0.9}, port: 9}";
    format!(
        "{{apiVersion: servicemesh.l7mp.io/v1, kind: VirtualService, metadata: {{name: call{namespace}}}, spec: {{selector: \
         {{app: gw}}, listeners: [{{name: l, udp: {{port: 2000, cluster: {{name: c, service_discovery: strictdns, \
         endpoints: [{endpoint}]}}}}}}]}}}}"
    )
}

/// Whether the node is sent the object, which names its namespace so.
fn is_taken(selector: &str, namespace: &str, more: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let documents = [NODE.to_owned(), proxy(selector), service(namespace), more.to_owned()];
    fs::write(dir.path().join("all.yaml"), documents.join("\n---\n")).unwrap();
    let Reading { objects, complaints, .. } = Folder::new(dir.path()).read(1);
    assert!(complaints.is_empty(), "{complaints:?}");
    let mut index = Index::new(SelectorScope::Namespace, 0);
    objects.reset(&mut index, 1);
    index.census().plans == 1 && index.all_of(&"n1".into()).upsert.len() == 2
}

#[test]
fn namespaces_have_their_names_as_labels_and_more_where_the_files_say_so() {
    let (named, red) = ("{matchLabels: {kubernetes.io/metadata.name: a}}", "{matchLabels: {team: red}}");
    let absent = "{matchExpressions: [{key: team, operator: DoesNotExist}]}";
    let labelled = "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}";
    let table = [
        (named, ", namespace: a", "", true),
        (named, ", namespace: a", labelled, true),
        (named, "", "", false),
        ("{matchLabels: {kubernetes.io/metadata.name: default}}", "", "", true),
        (red, ", namespace: a", "", false),
        (red, ", namespace: a", labelled, true),
        (red, "", labelled, false),
        (absent, ", namespace: a", "", true),
        (absent, ", namespace: a", labelled, false),
    ];
    for (selector, namespace, more, expected) in table {
        assert_eq!(is_taken(selector, namespace, more), expected, "{selector} {namespace:?} {more}");
    }
}
