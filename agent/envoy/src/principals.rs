//! The names that a client's certificate must have: [`Principals`].
//!
//! Envoy compares names with the certificate's SANs in the handshake, but a subject only in its RBAC filter, which judges
//! at the client's first byte.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::listener::v3 as envoy;
use envoy_types::pb::envoy::config::rbac::v3 as rbac;
use envoy_types::pb::envoy::config::rbac::v3::{permission, principal};
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as filter;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use portreeve_api::model::{SourcePolicy, is_subject};

use super::wire::any;

const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// How a listener judges the names in its clients' certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principals<'a> {
    /// Every name may connect.
    All,
    /// In the handshake: one of these names must be a URI SAN or DNS SAN.
    InHandshake(&'a [String]),
    /// At the first byte, because one of these is a subject. One of these must be a URI SAN, a DNS SAN or the subject.
    AtFirstByte(&'a [String]),
}

// === impl Principals ===

impl<'a> Principals<'a> {
    /// Returns how a policy's principals are judged.
    pub fn of(policy: Option<&'a SourcePolicy>) -> Self {
        match policy.map(|policy| policy.principals.as_slice()) {
            None | Some([]) => Self::All,
            Some(all) if all.iter().any(|one| is_subject(one)) => Self::AtFirstByte(all),
            Some(all) => Self::InHandshake(all),
        }
    }

    /// Returns the names to compare in the handshake.
    pub fn in_handshake(self) -> &'a [String] {
        if let Self::InHandshake(names) = self { names } else { &[] }
    }

    /// Returns the filter that judges at the first byte; `None` if it is not needed.
    pub fn filter(self, stat_prefix: &str) -> Option<envoy::Filter> {
        let Self::AtFirstByte(names) = self else { return None };
        let policy = rbac::Policy {
            permissions: vec![rbac::Permission { rule: Some(permission::Rule::Any(true)) }],
            principals: names.iter().map(|name| named(name)).collect(),
            ..Default::default()
        };
        let rules = rbac::Rbac {
            action: rbac::rbac::Action::Allow.into(),
            policies: HashMap::from([("principals".to_owned(), policy)]),
            ..Default::default()
        };
        let config =
            filter::Rbac { rules: Some(rules), stat_prefix: stat_prefix.into(), ..Default::default() };
        Some(envoy::Filter {
            name: "envoy.filters.network.rbac".into(),
            config_type: Some(envoy::filter::ConfigType::TypedConfig(any(RBAC, &config))),
        })
    }
}

fn named(name: &str) -> rbac::Principal {
    let exact = string_matcher::MatchPattern::Exact(name.into());
    let principal_name = Some(StringMatcher { match_pattern: Some(exact), ..Default::default() });
    let authenticated = principal::Authenticated { principal_name };
    rbac::Principal { identifier: Some(principal::Identifier::Authenticated(authenticated)) }
}
