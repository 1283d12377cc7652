//! The web service's paths: [`Target::parse`] and its inverse, `Target`'s [`fmt::Display`] (seed C.5).

use std::fmt;

use portreeve_api::c::names::is_account;
use portreeve_api::c::schema::MAX_CLUSTER;
use portreeve_api::identifiers::is_dns_subdomain;

use crate::escape::{escape, unescape};

/// The path that all others are below.
pub const ROOT: &str = "/api/epic";

/// The path of the health check, with or without [`ROOT`] before it.
const HEALTH: &str = "/healthz";

/// Maximum length of a path in bytes. The longest cluster name takes 12 KiB when all of it is escaped.
pub const MAX_PATH: usize = 16 * 1024;

/// The thing that a request is about. Its text is the whole path, without scheme and host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// `/accounts/A`: an account.
    Account {
        /// The account's name. Its objects are in namespace `epic-<account>`.
        account: String,
    },
    /// `/accounts/A/groups/G`: a group of load balancers.
    Group {
        /// The account's name.
        account: String,
        /// The group's name.
        group: String,
    },
    /// `/accounts/A/groups/G/services`: where the group's load balancers are created.
    Services {
        /// The account's name.
        account: String,
        /// The group's name.
        group: String,
    },
    /// `/accounts/A/services/S`: a load balancer.
    Service {
        /// The account's name.
        account: String,
        /// The load balancer's name.
        service: String,
    },
    /// `/accounts/A/services/S/clusters`: where the load balancer's upstream clusters are added.
    Clusters {
        /// The account's name.
        account: String,
        /// The load balancer's name.
        service: String,
    },
    /// `/accounts/A/services/S/clusters/C`: an upstream cluster of the load balancer.
    Cluster {
        /// The account's name.
        account: String,
        /// The load balancer's name.
        service: String,
        /// The cluster's name, see [`is_cluster`]. In the path it is escaped like Go's `url.QueryEscape` does.
        cluster: String,
    },
    /// `/accounts/A/services/S/endpoints`: where the load balancer's endpoints are created.
    Endpoints {
        /// The account's name.
        account: String,
        /// The load balancer's name.
        service: String,
    },
    /// `/accounts/A/services/S/endpoints/E`: an endpoint of the load balancer.
    Endpoint {
        /// The account's name.
        account: String,
        /// The load balancer's name.
        service: String,
        /// The endpoint's name.
        endpoint: String,
    },
    /// `/healthz`: whether the service is up. It belongs to no account, and load balancers ask it without credentials.
    Health,
}

/// Returns whether an upstream cluster can have this name: 1 to [`MAX_CLUSTER`] characters without control characters,
/// and neither `.` nor `..`, which clients remove from paths.
pub fn is_cluster(name: &str) -> bool {
    let dots = matches!(name, "." | "..");
    !name.is_empty() && !dots && name.chars().count() <= MAX_CLUSTER && !name.contains(char::is_control)
}

// === impl Target ===

impl Target {
    /// Reads a path without its query. Returns `None` for paths that lead nowhere, and for names that no object can have.
    ///
    /// Nothing is normalized: a path with an empty segment, `.` or `..` leads nowhere.
    pub fn parse(path: &str) -> Option<Self> {
        if path.len() > MAX_PATH {
            return None;
        }
        if path == HEALTH {
            return Some(Self::Health);
        }
        let below = path.strip_prefix(ROOT)?.strip_prefix('/')?;
        let segments = below.split('/').map(unescape).collect::<Option<Vec<String>>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Self::of_segments(&segments).filter(Self::can_exist)
    }

    fn of_segments(segments: &[&str]) -> Option<Self> {
        let below = match segments {
            ["healthz"] => return Some(Self::Health),
            ["accounts", below @ ..] => below,
            _ => return None,
        };
        let own = |name: &&str| (*name).to_owned();
        Some(match below {
            [account] => Self::Account { account: own(account) },
            [account, "groups", group] => Self::Group { account: own(account), group: own(group) },
            [account, "groups", group, "services"] => {
                Self::Services { account: own(account), group: own(group) }
            }
            [account, "services", service, below @ ..] => {
                Self::below_service(own(account), own(service), below)?
            }
            _ => return None,
        })
    }

    fn below_service(account: String, service: String, below: &[&str]) -> Option<Self> {
        Some(match below {
            [] => Self::Service { account, service },
            ["clusters"] => Self::Clusters { account, service },
            ["clusters", cluster] => Self::Cluster { account, service, cluster: (*cluster).to_owned() },
            ["endpoints"] => Self::Endpoints { account, service },
            ["endpoints", endpoint] => Self::Endpoint { account, service, endpoint: (*endpoint).to_owned() },
            _ => return None,
        })
    }

    fn can_exist(&self) -> bool {
        let names = match self {
            Self::Account { .. } | Self::Health => true,
            Self::Group { group, .. } | Self::Services { group, .. } => is_dns_subdomain(group),
            Self::Service { service, .. }
            | Self::Clusters { service, .. }
            | Self::Endpoints { service, .. } => is_dns_subdomain(service),
            Self::Cluster { service, cluster, .. } => is_dns_subdomain(service) && is_cluster(cluster),
            Self::Endpoint { service, endpoint, .. } => {
                is_dns_subdomain(service) && is_dns_subdomain(endpoint)
            }
        };
        names && self.account().is_none_or(is_account)
    }

    /// Returns the name of the account that the target belongs to; `None` for the health check.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Account { account }
            | Self::Group { account, .. }
            | Self::Services { account, .. }
            | Self::Service { account, .. }
            | Self::Clusters { account, .. }
            | Self::Cluster { account, .. }
            | Self::Endpoints { account, .. }
            | Self::Endpoint { account, .. } => Some(account),
            Self::Health => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(account) = self.account() else { return write!(f, "{ROOT}{HEALTH}") };
        write!(f, "{ROOT}/accounts/{}", escape(account))?;
        match self {
            Self::Account { .. } | Self::Health => Ok(()),
            Self::Group { group, .. } => write!(f, "/groups/{}", escape(group)),
            Self::Services { group, .. } => write!(f, "/groups/{}/services", escape(group)),
            Self::Service { service, .. } => write!(f, "/services/{}", escape(service)),
            Self::Clusters { service, .. } => write!(f, "/services/{}/clusters", escape(service)),
            Self::Cluster { service, cluster, .. } => {
                write!(f, "/services/{}/clusters/{}", escape(service), escape(cluster))
            }
            Self::Endpoints { service, .. } => write!(f, "/services/{}/endpoints", escape(service)),
            Self::Endpoint { service, endpoint, .. } => {
                write!(f, "/services/{}/endpoints/{}", escape(service), escape(endpoint))
            }
        }
    }
}
