//! Objects of the l7mp mesh in a folder: Services that list pods, and NodeProxies that are l7mp proxies.

use std::fs;

use portreeve_api::PlanType;
use portreeve_api::refs::ObjectRef;
use tempfile::TempDir;

use super::super::Folder;
use crate::index::Index;
use crate::settings::Settings;

const NODES: [&str; 2] = ["here", "there"];

/// An l7mp on the nodes with this label, and a VirtualService for it with endpoints of the Service `s`.
fn mk_files(label: &str) -> String {
    let nodes = NODES.map(|name| {
        format!("{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{at: {name}}}}}}}\n")
    });
    format!(
        "{}---\n\
         {{apiVersion: portreeve.dev/v1alpha1, kind: NodeProxy, metadata: {{name: mesh}},\n \
          spec: {{nodeSelector: {{{label}}}, labels: {{app: gw}}, l7mp: {{}}}}}}\n---\n\
         {{apiVersion: l7mp.io/v1, kind: VirtualService, metadata: {{name: call}}, spec: {{selector: {{matchLabels: {{app: gw}}}},\n \
          listener: {{spec: {{UDP: {{port: 1, connect: {{address: 10.0.0.1, port: 2}}}}}}, rules: [{{action: {{route: {{destination:\n \
          {{spec: {{UDP: {{port: 3}}}}, endpoints: [{{selector: {{matchService: s}}}}]}}}}}}}}]}}}}}}\n---\n\
         {{apiVersion: v1, kind: Service, metadata: {{name: s}}, spec: {{selector: {{app: w}}, ports: [{{port: 3}}]}}}}\n---\n\
         {{apiVersion: v1, kind: Pod, metadata: {{name: w, uid: w, labels: {{app: w}}}}, spec: {{nodeName: there, containers: [{{name: c}}]}},\n \
          status: {{podIP: 10.0.0.9}}}}\n",
        nodes.join("---\n")
    )
}

/// Reads the files into an index.
fn load(text: &str, index: &mut Index) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("all.yaml"), text).unwrap();
    let reading = Folder::new(dir.path()).read(0);
    assert!(reading.complaints.is_empty(), "{:?}", reading.complaints);
    reading.objects.reset(index, 0);
}

/// Returns the numbers of NodeProxies, Plans and slices that a node gets.
fn sent(index: &Index, node: &str) -> [usize; 3] {
    let all = index.all_of(&node.into()).upsert;
    [PlanType::NodeProxy, PlanType::Plan, PlanType::Slice]
        .map(|ty| all.iter().filter(|one| one.0 == ty).count())
}

fn warnings(index: &Index) -> usize {
    let call = ObjectRef::namespaced(&portreeve_api::b::virtual_service::KIND, "default", "call");
    index.judged(&call).unwrap().warnings.len()
}

#[test]
fn service_of_a_folder_lists_its_pods_and_l7mp_gets_the_plan() {
    let mut index = Index::new(Settings::default(), 0);
    load(&mk_files("at: here"), &mut index);
    assert_eq!((sent(&index, "here"), sent(&index, "there")), ([1, 1, 1], [0, 0, 0]));
    load(&mk_files("at: here").replace("selector: {app: w}", "selector: {app: other}"), &mut index);
    let endpoints = |index: &Index| {
        let all = index.all_of(&"here".into()).upsert;
        let slices = all.iter().filter(|one| one.0 == PlanType::Slice);
        slices.filter(|(_, slice)| slice.body().windows(8).any(|part| part == b"10.0.0.9")).count()
    };
    assert_eq!(endpoints(&index), 0, "it lists no pod any more");
    load(&mk_files("at: here"), &mut index);
    assert_eq!(endpoints(&index), 1);
}

#[test]
fn peer_of_l7mps_on_several_nodes_is_waited_for() {
    let mut index = Index::new(Settings::default(), 0);
    load(&mk_files("at: here"), &mut index);
    assert_eq!(warnings(&index), 0);
    load(&mk_files(""), &mut index);
    assert_eq!(warnings(&index), 1);
    load(&mk_files("at: there"), &mut index);
    assert_eq!(warnings(&index), 0);
    load(&mk_files("").replace("l7mp: {}", "envoy: {}"), &mut index);
    assert_eq!(warnings(&index), 0, "Envoys take no such VirtualService");
}
