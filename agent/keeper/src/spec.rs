//! What a keeper is to run, and its file. Entry points: [`Order::new`] and [`Order::read`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portreeve_api::own::node_proxy::MAX_NAME;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::dir::Dir;
use crate::envoy::extra::{self, ExtraError};
use crate::envoy::{Bootstrap, BootstrapError, Family};

/// Arguments of Envoy with which, given by hand, there is no hot restart.
const KEEPERS_OWN: [&str; 9] = [
    "--base-id",
    "--use-dynamic-base-id",
    "--restart-epoch",
    "--disable-hot-restart",
    "--socket-path",
    "--parent-shutdown-time-s",
    "--concurrency",
    "--cpuset-threads",
    "--mode",
];

/// One supervised proxy, as its agent wants it.
///
/// A field that is added later is left out of the JSON while it has its default: the hash of an old spec must not change, for
/// a changed hash restarts the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The proxy's name, also that of the keeper's directory: `[a-z0-9.-]`, 63 characters at most.
    pub name: String,
    /// Envoy's binary, absolute.
    pub envoy: PathBuf,
    /// `node.id` of the bootstrap.
    pub node_id: String,
    /// `node.cluster` of the bootstrap.
    pub node_cluster: String,
    /// The Unix socket that serves ADS.
    pub ads_socket: PathBuf,
    /// Envoy's worker threads.
    pub concurrency: u32,
    /// Further arguments of Envoy, after all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_args: Vec<String>,
    /// The TCP port that answers connects and `GET /healthcheck`, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_listener: Option<u16>,
    /// How long Envoy's listeners drain before it ends, in seconds.
    pub drain_s: u32,
    /// The families that the health listener binds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wildcard: Family,
    /// Bytes of Envoy's heap at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// A JSON object that is merged into the bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_bootstrap: Option<String>,
}

/// A [`Spec`] under the hash that its agent gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Equal hashes are the same order, whatever each side knows of the fields.
    pub hash: String,
    /// What to run.
    pub spec: Spec,
}

/// Why a spec cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The name cannot be a directory's.
    #[error("{0:?} is no proxy's name: 1 to 63 of [a-z0-9.-], beginning and ending with a letter or digit")]
    Name(String),
    /// Envoy's path is relative or not UTF-8.
    #[error("{}: Envoy's path must be absolute and UTF-8", .0.display())]
    Envoy(PathBuf),
    /// The sockets' paths do not fit.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// What is to be merged into the bootstrap.
    #[error(transparent)]
    Extra(#[from] ExtraError),
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no order.
    #[error("{path}: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whether `name` may name a proxy, and so a directory and a part of abstract names.
pub fn is_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = [name.bytes().next(), name.bytes().next_back()];
    name.len() <= MAX_NAME
        && edges.into_iter().all(|edge| edge.is_some_and(alphanumeric))
        && name.bytes().all(|byte| alphanumeric(byte) || byte == b'-' || byte == b'.')
}

// === impl Spec ===

impl Spec {
    /// The bootstrap of this spec's Envoy, whose admin socket is in `dir`.
    ///
    /// # Errors
    /// [`SpecError`]: a socket's path, or what is to be merged.
    pub fn bootstrap(&self, dir: &Dir) -> Result<Value, SpecError> {
        let bootstrap = Bootstrap {
            node_id: self.node_id.clone(),
            node_cluster: self.node_cluster.clone(),
            ads_socket: self.ads_socket.clone(),
            admin_socket: dir.admin(),
            health_listener: self.health_listener,
            wildcard: self.wildcard,
        };
        let mut rendered = bootstrap.render()?;
        if let Value::Object(fields) = &mut rendered {
            if let Some(limit) = self.memory_limit {
                extra::limit_heap(fields, limit);
            }
            if let Some(text) = &self.extra_bootstrap {
                extra::merge(fields, extra::parse(text)?);
            }
        }
        Ok(rendered)
    }

    /// Whether an Envoy of `next` can take over from one of this spec in a hot restart. Each worker thread hands its UDP
    /// sockets to the one of the same number, so there must be as many; and what the keeper gives must be its own to give.
    pub fn can_hand_over_to(&self, next: &Self) -> bool {
        let name = |argument: &String| argument.split('=').next().unwrap_or_default().to_owned();
        let mut names = self.extra_args.iter().chain(&next.extra_args).map(name);
        self.concurrency == next.concurrency && !names.any(|name| KEEPERS_OWN.contains(&name.as_str()))
    }

    /// How long Envoy's listeners drain.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s.into())
    }

    /// Checks what can be checked before a process is started.
    ///
    /// # Errors
    /// [`SpecError`]: the name, Envoy's path or a socket's path.
    pub fn check(&self, dir: &Dir) -> Result<(), SpecError> {
        if !is_name(&self.name) {
            return Err(SpecError::Name(self.name.clone()));
        }
        if !self.envoy.is_absolute() || self.envoy.to_str().is_none() {
            return Err(SpecError::Envoy(self.envoy.clone()));
        }
        self.bootstrap(dir).map(drop)
    }
}

// === impl Order ===

impl Order {
    /// Puts `spec` under the hash of its content.
    ///
    /// # Errors
    /// [`SpecError`] as of [`Spec::check`].
    pub fn new(spec: Spec, dir: &Dir) -> Result<Self, SpecError> {
        spec.check(dir)?;
        let bytes =
            serde_json::to_vec(&spec).map_err(|source| SpecError::Parse { path: dir.spec(), source })?;
        Ok(Self { hash: format!("{:016x}", xxh3_64(&bytes)), spec })
    }

    /// Reads the order in `path`.
    ///
    /// # Errors
    /// [`SpecError::Read`] or [`SpecError::Parse`], naming the file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = std::fs::read(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&text).map_err(|source| SpecError::Parse { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Spec, is_name};
    use crate::dir::Dir;
    use crate::envoy::Family;

    fn mk_spec() -> Spec {
        Spec {
            name: "gateway".into(),
            envoy: "/usr/bin/envoy".into(),
            node_id: "n".into(),
            node_cluster: "c".into(),
            ads_socket: "/run/x/agent.sock".into(),
            concurrency: 1,
            extra_args: vec![],
            health_listener: None,
            drain_s: 5,
            wildcard: Family::V4,
            memory_limit: None,
            extra_bootstrap: None,
        }
    }

    #[test]
    fn hash_is_that_of_the_first_release() {
        // A new value here restarts every proxy when its agent is upgraded.
        let order = Order::new(mk_spec(), &Dir::new("/run/x".into())).unwrap();
        assert_eq!(order.hash, "a8ad7fcae0ecda3c");
    }

    #[test]
    fn every_field_changes_the_hash() {
        let dir = Dir::new("/run/x".into());
        let changes: [fn(&mut Spec); 12] = [
            |spec| spec.name = "other".into(),
            |spec| spec.envoy = "/other".into(),
            |spec| spec.node_id = "other".into(),
            |spec| spec.node_cluster = "other".into(),
            |spec| spec.ads_socket = "/other".into(),
            |spec| spec.concurrency = 2,
            |spec| spec.extra_args = vec!["-l".into()],
            |spec| spec.health_listener = Some(1233),
            |spec| spec.drain_s = 6,
            |spec| spec.wildcard = Family::Dual,
            |spec| spec.memory_limit = Some(1),
            |spec| spec.extra_bootstrap = Some("{}".into()),
        ];
        let mut hashes = std::collections::BTreeSet::from([Order::new(mk_spec(), &dir).unwrap().hash]);
        for change in changes {
            let mut spec = mk_spec();
            change(&mut spec);
            assert!(hashes.insert(Order::new(spec.clone(), &dir).unwrap().hash), "{spec:?}");
        }
    }

    #[test]
    fn names_stay_inside_their_directory() {
        for good in ["gateway", "a", "0-edge.node-7", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "-a", "a-", "A", "a b", "a\0", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn relative_envoy_is_refused() {
        let spec = Spec { envoy: "envoy".into(), ..mk_spec() };
        let error = Order::new(spec, &Dir::new("/run/x".into())).unwrap_err();
        assert_eq!(error.to_string(), "envoy: Envoy's path must be absolute and UTF-8");
    }

    #[test]
    fn memory_limit_and_extra_bootstrap_are_in_the_bootstrap_and_the_extra_has_the_last_word() {
        let dir = Dir::new("/run/x".into());
        let extra = r#"{"stats_flush_interval": "10s", "overload_manager": {"refresh_interval": "1s"}}"#;
        let spec = Spec { memory_limit: Some(1 << 29), extra_bootstrap: Some(extra.into()), ..mk_spec() };
        let bootstrap = spec.bootstrap(&dir).unwrap();
        assert_eq!(bootstrap["stats_flush_interval"], "10s");
        let manager = &bootstrap["overload_manager"];
        assert_eq!(manager["refresh_interval"], "1s");
        let monitor = &manager["resource_monitors"][0]["typed_config"];
        assert_eq!(monitor["max_heap_size_bytes"], 1 << 29);
        assert_eq!(bootstrap["node"], mk_spec().bootstrap(&dir).unwrap()["node"]);
        let stolen = Spec { extra_bootstrap: Some(r#"{"node": {"id": "x"}}"#.into()), ..mk_spec() };
        let error = Order::new(stolen, &dir).unwrap_err().to_string();
        assert_eq!(error, "the extra bootstrap must not give node: that is the agent's");
    }
}
