//! TLS of listeners and clusters: [`server`] and [`client`]. Keys and authorities come by SDS, so that a new certificate
//! or another list of names changes neither the listener nor its connections.
//!
//! An Envoy that starts opens no listener at all while one of its listeners or clusters lacks a secret. So everything
//! that refers to a secret is sent together with it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::Envoy;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as envoy;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use portreeve_agent_core::translate::Streams;
use portreeve_agent_core::translate::request::Lookup;
use portreeve_api::model::{Secret, Tls};
use portreeve_xds::{Name, Resource};
use prost::Message;

use super::config_source;
use super::principals::Principals;
use super::wire::any;

const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// The TLS of a listener or cluster, and its secrets.
pub struct Secured {
    /// The transport socket, which refers to the secrets.
    pub socket: core::TransportSocket,
    /// The secrets.
    pub secrets: Vec<Arc<Resource>>,
}

/// The names of the secrets of one side of TLS are `<listener or cluster>/<suffix>`.
struct Side<'a> {
    owner: &'a Name,
    certificate: &'static str,
    authority: &'static str,
    streams: &'a Streams,
}

/// Builds the TLS of the listener `name`; `None` while a secret is not known.
pub fn server(
    name: &Name,
    tls: &Tls,
    principals: Principals<'_>,
    streams: &Streams,
    lookup: &dyn Lookup,
) -> Option<Secured> {
    // `support` refuses the fields that only a cluster may have, and a demand for certificates without an authority.
    let Tls { certificate: _, authority: _, require_peer_certificate, alpn, server_name: _, peer_names: _ } =
        tls;
    let require = *require_peer_certificate || principals != Principals::All;
    let side =
        Side { owner: name, certificate: "server-certificate", authority: "client-authority", streams };
    let names = sans(principals.in_handshake(), |_| vec![SanType::Uri, SanType::Dns]);
    let (common, secrets) = side.context(tls, names, lookup)?;
    let context = envoy::DownstreamTlsContext {
        common_tls_context: Some(envoy::CommonTlsContext { alpn_protocols: alpn.clone(), ..common }),
        require_client_certificate: Some(BoolValue { value: require }),
        ..Default::default()
    };
    Some(Secured { socket: socket(any(DOWNSTREAM, &context)), secrets })
}

/// Builds the TLS of the cluster `name`; `None` while a secret is not known.
pub fn client(name: &Name, tls: &Tls, streams: &Streams, lookup: &dyn Lookup) -> Option<Secured> {
    // `support` refuses TLS without an authority. A server always has a certificate.
    let Tls { certificate: _, authority: _, require_peer_certificate: _, alpn, server_name, peer_names } =
        tls;
    let side =
        Side { owner: name, certificate: "client-certificate", authority: "server-authority", streams };
    let names = sans(peer_names, |name| match name.parse::<IpAddr>() {
        Ok(_) => vec![SanType::IpAddress],
        Err(_) => vec![SanType::Uri, SanType::Dns],
    });
    let (common, secrets) = side.context(tls, names, lookup)?;
    let context = envoy::UpstreamTlsContext {
        common_tls_context: Some(envoy::CommonTlsContext { alpn_protocols: alpn.clone(), ..common }),
        sni: server_name.clone().unwrap_or_default(),
        ..Default::default()
    };
    Some(Secured { socket: socket(any(UPSTREAM, &context)), secrets })
}

/// Returns the names of the secrets that a transport socket refers to.
pub fn secrets(socket: &core::TransportSocket) -> Vec<Name> {
    let Some(core::transport_socket::ConfigType::TypedConfig(config)) = &socket.config_type else {
        return Vec::new();
    };
    let value = &*config.value;
    let context = if config.type_url.ends_with(DOWNSTREAM) {
        envoy::DownstreamTlsContext::decode(value).ok().and_then(|context| context.common_tls_context)
    } else {
        envoy::UpstreamTlsContext::decode(value).ok().and_then(|context| context.common_tls_context)
    };
    let Some(context) = context else { return Vec::new() };
    let authority = match context.validation_context_type {
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => Some(config),
        _ => None,
    };
    let all = context.tls_certificate_sds_secret_configs.into_iter().chain(authority);
    all.map(|config| config.name.into()).collect()
}

// === impl Side ===

impl Side<'_> {
    /// Returns the context that refers to the certificate and authority, as far as there are any, with their secrets.
    /// Returns `None` while one is not known.
    fn context(
        &self,
        tls: &Tls,
        names: Vec<envoy::SubjectAltNameMatcher>,
        lookup: &dyn Lookup,
    ) -> Option<(envoy::CommonTlsContext, Vec<Arc<Resource>>)> {
        let mut context = envoy::CommonTlsContext::default();
        let mut secrets = Vec::new();
        if let Some(certificate) = &tls.certificate {
            let found = lookup.secret(certificate)?;
            let (name, kind) =
                (self.name(self.certificate), envoy::secret::Type::TlsCertificate(pair(found)));
            context.tls_certificate_sds_secret_configs.push(self.reference(&name));
            secrets.push(resource(name, kind));
        }
        if let Some(authority) = &tls.authority {
            let found = lookup.secret(authority)?;
            let validation = envoy::CertificateValidationContext {
                trusted_ca: pem(&found.authority),
                match_typed_subject_alt_names: names,
                ..Default::default()
            };
            let (name, kind) =
                (self.name(self.authority), envoy::secret::Type::ValidationContext(validation));
            context.validation_context_type =
                Some(ValidationContextType::ValidationContextSdsSecretConfig(self.reference(&name)));
            secrets.push(resource(name, kind));
        }
        Some((context, secrets))
    }

    fn name(&self, suffix: &str) -> Name {
        format!("{}/{suffix}", self.owner).into()
    }

    fn reference(&self, name: &Name) -> envoy::SdsSecretConfig {
        envoy::SdsSecretConfig {
            name: name.to_string(),
            sds_config: Some(config_source::build(self.streams)),
        }
    }
}

fn resource(name: Name, kind: envoy::secret::Type) -> Arc<Resource> {
    let secret = envoy::Secret { name: name.to_string(), r#type: Some(kind) };
    Resource::new(Envoy::Secret, name, &secret.encode_to_vec())
}

fn pair(secret: &Secret) -> envoy::TlsCertificate {
    envoy::TlsCertificate {
        certificate_chain: pem(&secret.certificate_chain),
        private_key: pem(&secret.private_key),
        ..Default::default()
    }
}

fn pem(text: &[u8]) -> Option<core::DataSource> {
    let specifier = core::data_source::Specifier::InlineBytes(text.to_vec());
    Some(core::DataSource { specifier: Some(specifier), ..Default::default() })
}

/// Returns a matcher for each name and each kind of SAN that it may be.
fn sans(names: &[String], kinds: impl Fn(&str) -> Vec<SanType>) -> Vec<envoy::SubjectAltNameMatcher> {
    let matcher = |name: &str, kind: SanType| envoy::SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Exact(name.into())),
            ..Default::default()
        }),
        ..Default::default()
    };
    names.iter().flat_map(|name| kinds(name).into_iter().map(|kind| matcher(name, kind))).collect()
}

fn socket(config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}
