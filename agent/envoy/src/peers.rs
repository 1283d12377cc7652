//! The addresses that may connect to a TCP listener: [`Peers`].
//!
//! Envoy judges an address when it accepts a connection, before a filter connects to the application: a matcher chooses
//! the listener's only filter chain for allowed addresses, and none for others, which closes the connection. A changed
//! matcher leaves the chain and its connections alone, while a changed chain is drained (figures in `agent/README.md`).
//! Connections of an address that is no longer allowed stay until they end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::DirectSourceIpInput;
use envoy_types::pb::google::protobuf::StringValue;
use envoy_types::pb::xds::core::v3::{CidrRange, TypedExtensionConfig};
use envoy_types::pb::xds::r#type::matcher::v3 as matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_tree::TreeType;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherTree, MatcherType, OnMatch, on_match};
use portreeve_agent_core::translate::request::Lookup;
use portreeve_api::model::{Cidr, SourcePolicy};

use super::wire::{any, u32_value};

/// The name of the filter chain for allowed peers. A changed name would drain it.
pub const ALLOWED: &str = "allowed";

const SOURCE: &str = "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput";
const IP_MATCHER: &str = "xds.type.matcher.v3.IPMatcher";
const CHAIN_NAME: &str = "google.protobuf.StringValue";

/// The addresses that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// All addresses.
    All,
    /// Those in these networks.
    Only(BTreeSet<Network>),
}

/// A network without bits after its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    ip: IpAddr,
    bits: u8,
}

/// `xds.type.matcher.v3.IPMatcher`, which the crate of Envoy's messages lacks.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IpMatcher {
    #[prost(message, repeated, tag = "1")]
    pub range_matchers: Vec<IpRangeMatcher>,
}

/// `xds.type.matcher.v3.IPMatcher.IPRangeMatcher`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IpRangeMatcher {
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<CidrRange>,
    #[prost(message, optional, tag = "2")]
    pub on_match: Option<OnMatch>,
}

// === impl Peers ===

impl Peers {
    /// Returns the addresses that a policy allows; `None` while one of its groups is not known. A group's endpoints count
    /// with every address, ready or not.
    pub fn of(policy: &SourcePolicy, lookup: &dyn Lookup) -> Option<Self> {
        let SourcePolicy { groups, cidrs, principals: _, restricted } = policy;
        let networks: BTreeSet<Network> = cidrs.iter().map(Network::of_cidr).collect();
        if groups.is_empty() && !restricted {
            return Some(if networks.is_empty() { Self::All } else { Self::Only(networks) });
        }
        let mut members = BTreeSet::new();
        for group in groups {
            let ips = lookup.group(group)?.into_iter().flat_map(|endpoint| &endpoint.ips);
            members.extend(ips.map(|ip| Network::of_address(*ip)));
        }
        if !networks.is_empty() {
            members.retain(|member| networks.iter().any(|network| network.contains(member.ip)));
        }
        Some(Self::Only(members))
    }

    /// Returns the matcher that chooses the filter chain [`ALLOWED`] for these peers; `None` if all may connect.
    pub fn matcher(&self) -> Option<matcher::Matcher> {
        let Self::Only(networks) = self else { return None };
        let on_match =
            OnMatch { on_match: Some(on_match::OnMatch::Action(to_chain(ALLOWED))), ..Default::default() };
        let ranges: Vec<CidrRange> = networks.iter().map(Network::range).collect();
        // A range matcher must have a range. A matcher without range matchers admits nobody.
        let range_matchers = match ranges.is_empty() {
            true => Vec::new(),
            false => vec![IpRangeMatcher { ranges, on_match: Some(on_match) }],
        };
        let by_address = any(IP_MATCHER, &IpMatcher { range_matchers });
        let tree = MatcherTree {
            input: Some(TypedExtensionConfig {
                name: "source".into(),
                typed_config: Some(any(SOURCE, &DirectSourceIpInput {})),
            }),
            tree_type: Some(TreeType::CustomMatch(TypedExtensionConfig {
                name: "networks".into(),
                typed_config: Some(by_address),
            })),
        };
        Some(matcher::Matcher { matcher_type: Some(MatcherType::MatcherTree(tree)), ..Default::default() })
    }
}

/// Returns the action that chooses the filter chain with this name.
pub fn to_chain(name: &str) -> TypedExtensionConfig {
    let chain = StringValue { value: name.into() };
    TypedExtensionConfig { name: name.into(), typed_config: Some(any(CHAIN_NAME, &chain)) }
}

// === impl Network ===

impl Network {
    fn of_address(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self { ip, bits: if ip.is_ipv4() { 32 } else { 128 } }
    }

    fn of_cidr(cidr: &Cidr) -> Self {
        Self { ip: masked(cidr.ip(), cidr.bits()), bits: cidr.bits() }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.ip.is_ipv4() && masked(ip, self.bits) == self.ip
    }

    fn range(&self) -> CidrRange {
        CidrRange { address_prefix: self.ip.to_string(), prefix_len: u32_value(self.bits.into()) }
    }
}

/// Returns an address with the bits after the prefix cleared.
fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}
