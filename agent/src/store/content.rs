//! The contents of the store's files ([`Content`]), and the whole store as read at a start ([`Restored`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use portreeve_agent_core::claims::Owner;
use portreeve_agent_core::fleet::Kept;
use portreeve_agent_core::world::{Host, Sent};
use portreeve_api::PlanType;
use portreeve_api::pod::Pod;
use portreeve_xds::Version;
use prost::Message;

use super::key::Key;

/// The value stored under a key. The writer's thread encodes it, not the caller.
#[derive(Clone, Debug)]
pub enum Content {
    /// A resource of the hub: its version and its bytes.
    Resource(Version, Bytes),
    /// A watermark's text.
    Watermark(Arc<str>),
    /// The mark that the hub has sent everything.
    Complete,
    /// A pod, and the `node.id` that its proxy announced; empty if it announced none.
    Pod(Pod, String),
    /// A host name's addresses.
    Host(Vec<IpAddr>),
    /// The resources that a proxy accepted of a Plan.
    Accepted(Vec<Kept>),
    /// A number.
    Number(u64),
}

/// The content of a store.
#[derive(Debug, Default)]
pub struct Restored {
    /// The hub's resources.
    pub resources: BTreeMap<PlanType, Vec<Sent>>,
    /// The highest watermark seen.
    pub watermark: Option<Arc<str>>,
    /// Whether the hub had sent everything.
    pub complete: bool,
    /// The node's pods.
    pub pods: Vec<Pod>,
    /// The `node.id` that pods' proxies announced, by the pods' uids.
    pub announced: Vec<(Arc<str>, String)>,
    /// Addresses of host names.
    pub hosts: Vec<(Host, Vec<IpAddr>)>,
    /// The resources that each proxy had accepted of each Plan.
    pub accepted: Vec<(Owner, Vec<Kept>)>,
    /// The latest epoch in which this node's agents reported.
    pub epoch: Option<u64>,
    /// When a hub was last heard, in ms since the Unix epoch.
    pub heard_ms: Option<u64>,
    /// Names of the files that can't be used.
    pub lost: BTreeSet<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceRecord {
    #[prost(fixed64, tag = "1")]
    version: u64,
    #[prost(bytes = "bytes", tag = "2")]
    body: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodRecord {
    #[prost(string, tag = "1")]
    uid: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(btree_map = "string, string", tag = "4")]
    labels: BTreeMap<String, String>,
    #[prost(string, optional, tag = "5")]
    node: Option<String>,
    #[prost(string, repeated, tag = "6")]
    ips: Vec<String>,
    #[prost(bool, tag = "7")]
    ready: bool,
    #[prost(bool, tag = "8")]
    host_network: bool,
    #[prost(int64, tag = "9")]
    created_ms: i64,
    #[prost(int64, tag = "10")]
    terminating_ms: i64,
    #[prost(bool, tag = "11")]
    finished: bool,
    #[prost(string, optional, tag = "12")]
    node_proxy: Option<String>,
    #[prost(string, tag = "13")]
    service_account: String,
    /// Unset in records of earlier versions.
    #[prost(string, optional, tag = "14")]
    static_uid: Option<String>,
    #[prost(btree_map = "string, string", tag = "15")]
    extra: BTreeMap<String, String>,
    /// Empty in records of earlier versions.
    #[prost(string, tag = "16")]
    announced: String,
    /// 0 in records of earlier versions, and for pods without an l7mp proxy.
    #[prost(uint32, tag = "17")]
    l7mp: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HostRecord {
    #[prost(string, repeated, tag = "1")]
    addresses: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AcceptedRecord {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<AcceptedResource>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AcceptedResource {
    /// The type's number within its kind of proxy. For Envoy: 1 cluster, 2 assignment, 3 listener.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(fixed64, tag = "3")]
    inputs: u64,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
    /// Unset in records of earlier versions.
    #[prost(fixed64, optional, tag = "5")]
    sources: Option<u64>,
}

// === impl Content ===

impl Content {
    /// Returns the content's encoding, without the file header.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Resource(version, body) => ResourceRecord { version: version.0, body }.encode_to_vec(),
            Self::Watermark(text) => text.as_bytes().to_vec(),
            Self::Complete => Vec::new(),
            Self::Pod(pod, announced) => PodRecord { announced, ..pod.into() }.encode_to_vec(),
            Self::Host(ips) => {
                HostRecord { addresses: ips.iter().map(IpAddr::to_string).collect() }.encode_to_vec()
            }
            Self::Accepted(all) => {
                AcceptedRecord { resources: all.into_iter().map(Into::into).collect() }.encode_to_vec()
            }
            Self::Number(number) => number.to_le_bytes().to_vec(),
        }
    }
}

// === impl Restored ===

impl Restored {
    /// Adds a file's content; `None` if it can't be decoded.
    pub fn take(&mut self, key: &Key, content: &[u8]) -> Option<()> {
        match key {
            Key::Watermark => self.watermark = Some(std::str::from_utf8(content).ok()?.into()),
            Key::Complete => self.complete = true,
            Key::Resource(ty, name) => {
                let ResourceRecord { version, body } = ResourceRecord::decode(content).ok()?;
                self.resources.entry(*ty).or_default().push((name.clone(), Version(version), body));
            }
            Key::Pod(_) => {
                let mut record = PodRecord::decode(content).ok()?;
                let announced = std::mem::take(&mut record.announced);
                let pod = Pod::try_from(record).ok()?;
                if !announced.is_empty() {
                    self.announced.push((pod.uid.clone(), announced));
                }
                self.pods.push(pod);
            }
            Key::Host(host) => {
                let record = HostRecord::decode(content).ok()?;
                self.hosts.push((host.clone(), addresses(&record.addresses)?));
            }
            Key::Accepted(owner) => {
                let record = AcceptedRecord::decode(content).ok()?;
                let all = record.resources.into_iter().map(Into::into).collect();
                self.accepted.push((owner.clone(), all));
            }
            Key::Epoch => self.epoch = Some(number(content)?),
            Key::Heard => self.heard_ms = Some(number(content)?),
        }
        Some(())
    }

    /// Returns whether an unusable file held a resource of this type.
    pub fn lost_any(&self, ty: PlanType) -> bool {
        let word = Key::Resource(ty, "".into()).word();
        self.lost.iter().any(|file| file.split('-').next() == Some(word))
    }

    /// Returns whether the file of this key is unusable.
    pub fn lost(&self, key: &Key) -> bool {
        self.lost.contains(&key.file())
    }
}

// === impl AcceptedResource ===

impl From<Kept> for AcceptedResource {
    fn from(Kept { number, name, inputs, sources, body }: Kept) -> Self {
        Self { kind: number, name: name.to_string(), inputs, body, sources }
    }
}

impl From<AcceptedResource> for Kept {
    fn from(AcceptedResource { kind, name, inputs, body, sources }: AcceptedResource) -> Self {
        Self { number: kind, name: name.into(), inputs, sources, body }
    }
}

// === impl PodRecord ===

impl From<Pod> for PodRecord {
    fn from(pod: Pod) -> Self {
        Self {
            uid: pod.uid.to_string(),
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            labels: pod.labels,
            node: pod.node.map(|node| node.to_string()),
            ips: pod.ips.iter().map(IpAddr::to_string).collect(),
            ready: pod.ready,
            host_network: pod.host_network,
            created_ms: pod.created_ms,
            terminating_ms: pod.terminating_ms,
            finished: pod.finished,
            node_proxy: pod.node_proxy,
            service_account: pod.service_account,
            static_uid: pod.static_uid.map(|uid| uid.to_string()),
            extra: pod.extra,
            announced: String::new(),
            l7mp: pod.l7mp.map_or(0, |port| port.get().into()),
        }
    }
}

impl TryFrom<PodRecord> for Pod {
    type Error = ();

    fn try_from(record: PodRecord) -> Result<Self, ()> {
        Ok(Self {
            uid: record.uid.into(),
            namespace: record.namespace.into(),
            name: record.name.into(),
            labels: record.labels,
            node: record.node.map(Into::into),
            ips: addresses(&record.ips).ok_or(())?,
            ready: record.ready,
            host_network: record.host_network,
            created_ms: record.created_ms,
            terminating_ms: record.terminating_ms,
            finished: record.finished,
            node_proxy: record.node_proxy,
            service_account: record.service_account,
            static_uid: record.static_uid.map(Into::into),
            l7mp: u16::try_from(record.l7mp).ok().and_then(NonZeroU16::new),
            extra: record.extra,
        })
    }
}

fn number(content: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(content.try_into().ok()?))
}

fn addresses(texts: &[String]) -> Option<Vec<IpAddr>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}
