//! Reads pods as the registered kinds need them ([`PodReader`]).

use portreeve_api::pod::{self, Interest, Pod};
use portreeve_api::pod_document::PodDocument;

use crate::kinds;
use crate::settings::{Joiners, Settings};

/// Reduces pods to what the registered kinds and the settings need.
#[derive(Clone, Debug)]
pub struct PodReader {
    interest: Interest,
    /// The attribute with the name of the cluster that a pod joins.
    attribute: String,
    joiners: Joiners,
}

// === impl PodReader ===

impl PodReader {
    /// Creates a reader for hubs with these settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            interest: kinds::interest(settings),
            attribute: pod::annotation_attribute(&settings.cluster_name_annotation),
            joiners: settings.cluster_namespaces.clone(),
        }
    }

    /// Reduces a pod; see [`Pod::from_kube`]. The annotation with the name of a cluster is left out if the pod's namespace
    /// may not join that cluster.
    pub fn read(&self, pod: PodDocument) -> Option<Pod> {
        let mut pod = Pod::from_kube_with(pod, &self.interest)?;
        if pod.extra.get(&self.attribute).is_some_and(|cluster| !self.joiners.admit(cluster, &pod.namespace))
        {
            pod.extra.remove(&self.attribute);
        }
        Some(pod)
    }

    /// Returns whether a pod that was read joins a cluster.
    pub fn joins(&self, pod: &Pod) -> bool {
        pod.extra.contains_key(&self.attribute)
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::d::CLUSTER_NAME_ANNOTATION;
    use serde_json::json;

    use super::*;

    /// The cluster that a pod of a namespace joins.
    fn joined(settings: &Settings, namespace: &str, annotation: &str) -> Option<String> {
        let annotations = json!({annotation: "bar", "other": "x"});
        let meta = json!({"name": "p", "uid": "u", "namespace": namespace, "annotations": annotations});
        let pod = serde_json::from_value(json!({"metadata": meta})).unwrap();
        let pod = PodReader::new(settings).read(pod).unwrap();
        assert!(!pod.extra.contains_key("annotation:other"));
        pod.extra.get(&format!("annotation:{annotation}")).cloned()
    }

    #[test]
    fn pods_join_by_the_annotation_that_the_flag_names() {
        let original = Settings::default();
        assert_eq!(joined(&original, "ns", "cluster-name.envoy.uw.io").as_deref(), Some("bar"));
        assert_eq!(joined(&original, "ns", "example.com/cluster"), None);
        let other = Settings { cluster_name_annotation: "example.com/cluster".into(), ..Settings::default() };
        assert_eq!(joined(&other, "ns", "example.com/cluster").as_deref(), Some("bar"));
        assert_eq!(joined(&other, "ns", "cluster-name.envoy.uw.io"), None);
    }

    #[test]
    fn only_pods_of_the_given_namespaces_join() {
        for (flag, namespace, joins) in [
            ("", "any", true),
            ("a,b", "b", true),
            ("a,b", "c", false),
            ("bar=a", "a", true),
            ("bar=a", "b", false),
            ("foo=a", "b", true),
            ("foo=a,b", "b", true),
            ("foo=a,b", "a", false),
            ("bar=a,b", "b", false),
        ] {
            let settings = Settings { cluster_namespaces: flag.parse().unwrap(), ..Settings::default() };
            let found = joined(&settings, namespace, CLUSTER_NAME_ANNOTATION);
            assert_eq!(found.is_some(), joins, "{flag} {namespace}");
        }
    }
}
