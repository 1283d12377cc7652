//! The pods, addresses or objects that are selected ([`Selection`]).

use std::collections::BTreeMap;

use portreeve_api::model::{Requirement, Selector, Test};
use portreeve_api::refs::ObjectRef;
use portreeve_api::{pod, selector};
use portreeve_xds::Name;

/// The attribute of a pod or NodeProxy with the name by which [`Selection::Named`] finds its proxy. No label's key has a colon.
pub const PROXY_NAME_ATTRIBUTE: &str = "proxy-name:";

/// Where the selectors of namespaced objects look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SelectorScope {
    /// In the object's own namespace.
    #[default]
    Namespace,
    /// In every namespace, as the replaced control planes did.
    Cluster,
}

/// A set of proxies or endpoints, shared by all objects with the same selection.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// Pods that meet all requirements.
    Pods(PodSelection),
    /// The entries in a Service's EndpointSlices: pods, and addresses that belong to no pod.
    Service {
        /// The Service's namespace.
        namespace: Name,
        /// The Service's name.
        name: Name,
    },
    /// The objects that are endpoints themselves and belong to the given object.
    Objects(ObjectRef),
    /// Proxies by their own name: the namespace's pods whose proxies have it, and the NodeProxies that have it.
    Named {
        /// The namespace of the pods.
        namespace: Name,
        /// The name.
        proxy_name: String,
    },
}

/// Requirements on pods. A pod must meet all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSelection {
    /// The namespace of the pods. `None`: all namespaces.
    pub namespace: Option<Name>,
    /// The requirements on labels and fields.
    pub selector: Selector,
    /// An annotation and its value.
    pub annotation: Option<(String, String)>,
    /// The Service, by namespace and name, whose EndpointSlices list the pod.
    pub service: Option<(Name, Name)>,
    /// Whether pods that take no traffic because they are not ready are members too, as the senders of connections are.
    pub unready: bool,
}

// === impl Selection ===

impl Selection {
    /// Selects the pods with all of these labels, in `namespace` or in every namespace.
    pub fn of_labels(labels: &BTreeMap<String, String>, namespace: &str, scope: SelectorScope) -> Self {
        let namespace = match scope {
            SelectorScope::Namespace => Some(Name::from(namespace)),
            SelectorScope::Cluster => None,
        };
        let selector = selector::from_map(labels);
        Self::Pods(PodSelection { namespace, selector, ..PodSelection::default() })
    }

    /// The canonical, unique name: `<namespace or *>/<requirements>`, the same after `@peers/` if pods that are not ready are
    /// members, `@service/<namespace>/<name>`, `@objects/<reference>` or `@named/<namespace>/<name>`. It is also the name of
    /// the Group.
    pub fn name(&self) -> Name {
        match self {
            Self::Pods(pods) => {
                let namespace = pods.namespace.as_deref().unwrap_or("*");
                let peers = if pods.unready { "@peers/" } else { "" };
                format!("{peers}{namespace}/{}", pods.requirements().canonical()).into()
            }
            Self::Service { namespace, name } => format!("@service/{namespace}/{name}").into(),
            Self::Objects(owner) => format!("@objects/{owner}").into(),
            Self::Named { namespace, proxy_name } => format!("@named/{namespace}/{proxy_name}").into(),
        }
    }

    /// Describes the selection in messages, such that "no pod matches" can precede it.
    pub fn title(&self) -> String {
        match self {
            Self::Pods(PodSelection { namespace: None, annotation: Some((key, value)), .. }) => {
                format!("the annotation {key}: {value} in any namespace")
            }
            _ => self.name().to_string(),
        }
    }

    /// The namespace whose pods can match. `None`: all namespaces.
    pub fn namespace(&self) -> Option<&Name> {
        match self {
            Self::Pods(pods) => pods.namespace.as_ref(),
            Self::Service { namespace, .. } | Self::Named { namespace, .. } => Some(namespace),
            Self::Objects(_) => None,
        }
    }

    /// Whether pods that are not ready are members.
    pub fn has_unready(&self) -> bool {
        matches!(self, Self::Pods(pods) if pods.unready)
    }

    /// The cluster whose members are selected: those pods of all namespaces, also of other Kubernetes clusters, that have its
    /// name in an annotation. `None` for every other selection.
    pub fn cluster(&self) -> Option<&str> {
        let Self::Pods(pods) = self else { return None };
        let (key, cluster) = pods.annotation.as_ref()?;
        (*pods == PodSelection::of_cluster(key, cluster, pods.unready)).then_some(cluster)
    }

    /// Whether a pod of another namespace that meets the requirements is worth naming: somebody may have meant it.
    pub fn may_mean_elsewhere(&self) -> bool {
        !matches!(self, Self::Named { .. })
    }

    /// The requirements on the attributes of a pod (see [`pod::Pod::attributes`]) or of a NodeProxy. No pod meets the requirements of
    /// [`Selection::Objects`].
    pub fn requirements(&self) -> Selector {
        let only = |requirement| Selector { labels: vec![requirement], fields: Vec::new() };
        match self {
            Self::Pods(pods) => pods.requirements(),
            Self::Service { namespace, name } => only(in_service(namespace, name)),
            Self::Objects(owner) => only(Requirement::is_in("object:", [owner.to_string()])),
            Self::Named { proxy_name, .. } => {
                only(Requirement::is_in(PROXY_NAME_ATTRIBUTE, [proxy_name.as_str()]))
            }
        }
    }
}

// === impl PodSelection ===

impl PodSelection {
    /// Selects the pods of all namespaces that join a cluster by the annotation `key`: those that take traffic, or with
    /// `unready` all that have an address.
    pub fn of_cluster(key: &str, cluster: &str, unready: bool) -> Self {
        Self { annotation: Some((key.to_owned(), cluster.to_owned())), unready, ..Self::default() }
    }

    /// Expresses all requirements as a selector on a pod's attributes.
    fn requirements(&self) -> Selector {
        let mut labels = self.selector.labels.clone();
        labels.extend(
            self.selector
                .fields
                .iter()
                .map(|field| Requirement { key: pod::field_attribute(&field.key), ..field.clone() }),
        );
        labels.extend(
            self.annotation
                .iter()
                .map(|(key, value)| Requirement::is_in(pod::annotation_attribute(key), [value.as_str()])),
        );
        labels.extend(self.service.iter().map(|(namespace, name)| in_service(namespace, name)));
        Selector { labels, fields: Vec::new() }
    }
}

fn in_service(namespace: &str, name: &str) -> Requirement {
    Requirement { key: pod::service_attribute(namespace, name), test: Test::Exists }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn selections_of_labels_have_the_names_that_running_agents_know() {
        let of = |scope| Selection::of_labels(&labels(&[("b", "2"), ("a", "x y")]), "ns", scope).name();
        assert_eq!(&*of(SelectorScope::Namespace), "ns/a=x%20y,b=2");
        assert_eq!(&*of(SelectorScope::Cluster), "*/a=x%20y,b=2");
    }

    #[test]
    fn no_two_selections_share_a_name() {
        let plain = PodSelection { namespace: Some("ns".into()), ..PodSelection::default() };
        let field = Requirement::is_in("spec.nodeName", ["n"]);
        let of_field = Selector { labels: Vec::new(), fields: vec![field] };
        let owner = ObjectRef::namespaced(&portreeve_api::a::virtual_service::KIND, "ns", "call");
        let all = [
            Selection::Pods(plain.clone()),
            Selection::Pods(PodSelection { selector: of_field, ..plain.clone() }),
            Selection::Pods(PodSelection { annotation: Some(("k".into(), "v".into())), ..plain.clone() }),
            Selection::Pods(PodSelection {
                selector: selector::from_map(&labels(&[("k", "v")])),
                ..plain.clone()
            }),
            Selection::Pods(PodSelection { service: Some(("ns".into(), "k".into())), ..plain.clone() }),
            Selection::Pods(PodSelection { unready: true, ..plain }),
            Selection::Named { namespace: "ns".into(), proxy_name: "k".into() },
            Selection::Service { namespace: "ns".into(), name: "k".into() },
            Selection::Objects(owner),
        ];
        let names: std::collections::BTreeSet<Name> = all.iter().map(Selection::name).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
    }
}
