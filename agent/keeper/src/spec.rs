//! The order for a keeper, and its file. Entry points: [`Order::new`] and [`Order::read`].

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
use crate::l7mp;

/// Envoy's arguments that prevent hot restarts if the user sets them.
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

/// The wanted state of one supervised proxy.
///
/// A field that is added later is omitted from the JSON while it has its default, because the hash of an old spec must
/// not change: a changed hash restarts the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The proxy's name, and the name of the keeper's directory: `[a-z0-9.-]`, at most 63 characters.
    pub name: String,
    /// Absolute path of the program's binary: Envoy's, or node's for l7mp.
    pub envoy: PathBuf,
    /// `node.id` of the bootstrap.
    pub node_id: String,
    /// `node.cluster` of the bootstrap.
    pub node_cluster: String,
    /// Path of the Unix socket of the ADS server.
    pub ads_socket: PathBuf,
    /// Number of Envoy's worker threads.
    pub concurrency: u32,
    /// Further arguments of the program, after all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_args: Vec<String>,
    /// TCP port that answers connections and `GET /healthcheck`, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_listener: Option<u16>,
    /// Drain time of Envoy's listeners before it ends, in seconds.
    pub drain_s: u32,
    /// Address families that the health listener binds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wildcard: Family,
    /// Maximum size of Envoy's heap, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// A JSON object that is merged into the bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_bootstrap: Option<String>,
    /// What the program is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub program: Program,
}

/// The kind of a program. The fields of [`Spec`] that configure Envoy are ignored for others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// Envoy.
    #[default]
    Envoy,
    /// l7mp, which node executes.
    L7mp(l7mp::Settings),
}

/// A [`Spec`] with the hash that its agent computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Orders with equal hashes are equal, even if one side doesn't know all fields.
    pub hash: String,
    /// What to run.
    pub spec: Spec,
}

/// The reason why a spec is invalid.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The name is not valid for a directory.
    #[error("{0:?} is no proxy's name: 1 to 63 of [a-z0-9.-], beginning and ending with a letter or digit")]
    Name(String),
    /// Envoy's path is relative or not UTF-8.
    #[error("{}: Envoy's path must be absolute and UTF-8", .0.display())]
    Envoy(PathBuf),
    /// A path of an l7mp proxy is relative or not UTF-8.
    #[error("{}: the paths of node and l7mp must be absolute and UTF-8", .0.display())]
    L7mp(PathBuf),
    /// A socket's path is invalid.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The addition to the bootstrap is invalid.
    #[error(transparent)]
    Extra(#[from] ExtraError),
    /// The file can't be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file holds no order.
    #[error("{path}: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The error, with line and column.
        source: serde_json::Error,
    },
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Returns whether `name` is valid for a proxy, and so for a directory and a part of abstract socket names.
pub fn is_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = [name.bytes().next(), name.bytes().next_back()];
    name.len() <= MAX_NAME
        && edges.into_iter().all(|edge| edge.is_some_and(alphanumeric))
        && name.bytes().all(|byte| alphanumeric(byte) || byte == b'-' || byte == b'.')
}

// === impl Spec ===

impl Spec {
    /// Returns the bootstrap of this spec's Envoy, whose admin socket is in `dir`.
    ///
    /// # Errors
    /// Returns [`SpecError`] for an invalid socket path or addition.
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

    /// Returns whether an Envoy of `next` can hot-restart from one of this spec. Each worker thread passes its UDP
    /// sockets to the one with the same number, so their numbers must be equal; and the user must not override the
    /// keeper's own arguments. l7mp has no hot restart.
    pub fn can_hand_over_to(&self, next: &Self) -> bool {
        if self.program != Program::Envoy || next.program != Program::Envoy {
            return false;
        }
        let name = |argument: &String| argument.split('=').next().unwrap_or_default().to_owned();
        let mut names = self.extra_args.iter().chain(&next.extra_args).map(name);
        self.concurrency == next.concurrency && !names.any(|name| KEEPERS_OWN.contains(&name.as_str()))
    }

    /// Returns whether the program can drain its listeners. l7mp can't.
    pub fn can_drain(&self) -> bool {
        self.program == Program::Envoy
    }

    /// Returns the drain time of Envoy's listeners.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s.into())
    }

    /// Checks everything that can be checked before a process is started.
    ///
    /// # Errors
    /// Returns [`SpecError`] for an invalid name, Envoy path or socket path.
    pub fn check(&self, dir: &Dir) -> Result<(), SpecError> {
        if !is_name(&self.name) {
            return Err(SpecError::Name(self.name.clone()));
        }
        let is_usable = |path: &Path| path.is_absolute() && path.to_str().is_some();
        match &self.program {
            Program::Envoy if !is_usable(&self.envoy) => Err(SpecError::Envoy(self.envoy.clone())),
            Program::Envoy => self.bootstrap(dir).map(drop),
            Program::L7mp(settings) => {
                let paths = [&self.envoy, &settings.script].into_iter();
                paths
                    .map(|path| path.as_path())
                    .find(|path| !is_usable(path))
                    .map_or(Ok(()), |path| Err(SpecError::L7mp(path.to_owned())))
            }
        }
    }
}

// === impl Order ===

impl Order {
    /// Creates an order for `spec`, with the hash of its content.
    ///
    /// # Errors
    /// See [`Spec::check`].
    pub fn new(spec: Spec, dir: &Dir) -> Result<Self, SpecError> {
        spec.check(dir)?;
        let bytes =
            serde_json::to_vec(&spec).map_err(|source| SpecError::Parse { path: dir.spec(), source })?;
        Ok(Self { hash: format!("{:016x}", xxh3_64(&bytes)), spec })
    }

    /// Reads the order in `path`.
    ///
    /// # Errors
    /// Returns [`SpecError::Read`] or [`SpecError::Parse`], which name the file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = std::fs::read(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&text).map_err(|source| SpecError::Parse { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Program, Spec, is_name};
    use crate::dir::Dir;
    use crate::envoy::Family;
    use crate::l7mp;

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
            program: Program::Envoy,
        }
    }

    fn mk_l7mp(port: u16, strict: bool) -> Program {
        let port = port.try_into().unwrap();
        Program::L7mp(l7mp::Settings { script: "/p/l7mp-proxy.js".into(), port, strict })
    }

    #[test]
    fn hash_is_that_of_the_first_release() {
        // A new value here would restart every proxy when its agent is upgraded.
        let order = Order::new(mk_spec(), &Dir::new("/run/x".into())).unwrap();
        assert_eq!(order.hash, "a8ad7fcae0ecda3c");
    }

    #[test]
    fn every_field_changes_the_hash() {
        let dir = Dir::new("/run/x".into());
        let changes: [fn(&mut Spec); 15] = [
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
            |spec| spec.program = mk_l7mp(l7mp::PORT.get(), false),
            |spec| spec.program = mk_l7mp(l7mp::PORT.get(), true),
            |spec| spec.program = mk_l7mp(1235, false),
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
    fn l7mp_neither_hot_restarts_nor_drains_and_needs_absolute_paths() {
        let dir = Dir::new("/run/x".into());
        let l7mp = Spec { program: mk_l7mp(1234, false), ..mk_spec() };
        assert!(mk_spec().can_hand_over_to(&mk_spec()) && mk_spec().can_drain());
        assert!(!l7mp.can_hand_over_to(&l7mp) && !l7mp.can_hand_over_to(&mk_spec()) && !l7mp.can_drain());
        assert!(!mk_spec().can_hand_over_to(&l7mp));
        assert!(l7mp.check(&dir).is_ok());
        let relative = Spec { envoy: "node".into(), ..l7mp };
        assert_eq!(
            relative.check(&dir).unwrap_err().to_string(),
            "node: the paths of node and l7mp must be absolute and UTF-8"
        );
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
