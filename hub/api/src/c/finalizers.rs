//! The finalizers that EPIC's programs put on their objects, see [`Finalized`] (C13).

/// Kinds of objects that are cleaned up after before they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalized {
    /// LoadBalancers.
    LoadBalancer,
    /// RemoteEndpoints, and Endpoints of the document form.
    Endpoint,
}

const LOAD_BALANCER: [&str; 3] = [
    "loadbalancer-finalizer.controller-manager.acnodal.io",
    "loadbalancerReconciler.xdsController.epic.acnodal.io",
    "lb.controller-manager.acnodal.io/finalizer",
];
const ENDPOINT: [&str; 3] = [
    "remoteendpoint-finalizer.controller-manager.acnodal.io",
    "remoteendpoint-finalizer.xds-controller.acnodal.io",
    "remoteendpoint.controller-manager.epic.acnodal.io/finalizer",
];

/// The end of a load balancer's finalizers for each EPIC node: `<node>` is before it.
const OF_NODE: &str = ".lb.controller-manager.acnodal.io/finalizer";

// === impl Finalized ===

impl Finalized {
    /// Returns the finalizer that the product puts on new objects: the first that EPIC had (C13).
    pub fn ours(self) -> &'static str {
        self.known()[0]
    }

    /// Returns whether a finalizer is one of EPIC's, of any version.
    pub fn knows(self, finalizer: &str) -> bool {
        let of_node = self == Self::LoadBalancer
            && finalizer.strip_suffix(OF_NODE).is_some_and(|node| !node.is_empty());
        of_node || self.known().contains(&finalizer)
    }

    /// Returns the finalizers of an object with the product's among them; `None` if it has one of EPIC's already (C13).
    pub fn with_ours(self, finalizers: &[String]) -> Option<Vec<String>> {
        let has_one = finalizers.iter().any(|one| self.knows(one));
        (!has_one).then(|| finalizers.iter().cloned().chain([self.ours().to_owned()]).collect())
    }

    fn known(self) -> &'static [&'static str] {
        match self {
            Self::LoadBalancer => &LOAD_BALANCER,
            Self::Endpoint => &ENDPOINT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finalizer_of_epic_is_known_and_ours_is_added_to_others_alone() {
        let table = [
            (Finalized::LoadBalancer, "loadbalancer-finalizer.controller-manager.acnodal.io", true),
            (Finalized::LoadBalancer, "loadbalancerReconciler.xdsController.epic.acnodal.io", true),
            (Finalized::LoadBalancer, "lb.controller-manager.acnodal.io/finalizer", true),
            (Finalized::LoadBalancer, "gw-1.lb.controller-manager.acnodal.io/finalizer", true),
            (Finalized::LoadBalancer, ".lb.controller-manager.acnodal.io/finalizer", false),
            (Finalized::LoadBalancer, "xlb.controller-manager.acnodal.io/finalizer", false),
            (Finalized::LoadBalancer, "remoteendpoint-finalizer.xds-controller.acnodal.io", false),
            (Finalized::LoadBalancer, "foregroundDeletion", false),
            (Finalized::Endpoint, "remoteendpoint-finalizer.controller-manager.acnodal.io", true),
            (Finalized::Endpoint, "remoteendpoint-finalizer.xds-controller.acnodal.io", true),
            (Finalized::Endpoint, "remoteendpoint.controller-manager.epic.acnodal.io/finalizer", true),
            (Finalized::Endpoint, "gw-1.lb.controller-manager.acnodal.io/finalizer", false),
            (Finalized::Endpoint, "", false),
        ];
        for (kind, finalizer, known) in table {
            assert_eq!(kind.knows(finalizer), known, "{kind:?} {finalizer}");
            let all = ["a.example/first", finalizer].map(str::to_owned);
            let added = kind.with_ours(&all);
            assert_eq!(added.is_none(), known, "{kind:?} {finalizer}");
            let ours = [all[0].as_str(), finalizer, kind.ours()].map(str::to_owned);
            assert_eq!(added.unwrap_or_else(|| ours.to_vec()), ours, "{kind:?} {finalizer}");
        }
    }

    #[test]
    fn ours_is_the_first_of_each_kind() {
        assert_eq!(Finalized::LoadBalancer.ours(), "loadbalancer-finalizer.controller-manager.acnodal.io");
        assert_eq!(Finalized::Endpoint.ours(), "remoteendpoint-finalizer.controller-manager.acnodal.io");
    }
}
