//! IngressListener → Plan: a port on every address of the proxies, to 127.0.0.1.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use portreeve_api::conditions::Reason;
use portreeve_api::d::ingress_listener::{DEFINITION, Ingress, IngressListener, KIND, ServerTls};
use portreeve_api::kind::Kind;
use portreeve_api::model::{EndpointSource, Protocol, Socket, Source, SourcePolicy, Tls, is_subject};
use portreeve_api::refs::SecretPart;
use portreeve_api::violation::Violation;

use super::{HTTP_SERVER_ALPN, Resolving, cluster, listener};
use crate::lookup::Lookup;
use crate::object::{self, Custom, Rejection, Resolved, Role, Root};
use crate::row::Row;

/// How the hub treats IngressListeners.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "il",
    label: "ingresslistener",
    plural: "ingresslisteners",
    watch: "watch of ingresslisteners",
    resource: DEFINITION.resource,
    read: object::read::<IngressListener>,
    removes: |_| false,
    annotations: super::annotations,
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: false,
};

/// The name of the listener in its Plan.
const LISTENER: &str = "ingress";

/// The name of the cluster: the application beside the proxy.
const APPLICATION: &str = "application";

impl Custom for IngressListener {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Root(self)
    }
}

impl Root for IngressListener {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let ingress = self.form().map_err(|broken| Rejection::of_violations(&broken))?;
        let mut resolving = Resolving::new(&KIND, &self.metadata, lookup);
        resolving.remark_on_layer(&ingress.layer, "spec.layer");
        remark_on_openness(&mut resolving, &ingress);
        let http = ingress.layer.is_http();
        remark_on_subjects(&mut resolving, &ingress.sans, http);
        let mut opened = listener(LISTENER, Socket::new(Protocol::Tcp, Some(ingress.listen)), http);
        opened.tls = ingress.tls.as_ref().map(|tls| server_tls(&mut resolving, tls, http));
        opened.sources = sources(&mut resolving, &ingress);
        let application = EndpointSource {
            name: APPLICATION.into(),
            from: Source::of_ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: Some(ingress.target),
            health_port: None,
            weight: None,
            source: None,
        };
        let application = cluster(LISTENER, APPLICATION, application, http);
        Ok(resolving.finish(ingress.nodename, opened, application))
    }
}

fn remark_on_openness(resolving: &mut Resolving<'_, '_>, ingress: &Ingress) {
    if let Some(secret) = &ingress.unused_validation {
        let text = format!(
            "spec.tls.validation: {secret} has no effect without spec.tls.secret: plain text is served"
        );
        resolving.warn(Reason::PlainText, text);
    }
    let verified = ingress.tls.as_ref().is_some_and(|tls| tls.validation.is_some());
    if ingress.cluster.is_none() && ingress.sans.is_empty() && !verified {
        resolving.warn(
            Reason::OpenToAll,
            "every peer that reaches the port may connect: set spec.rbac.cluster, or spec.tls.validation",
        );
    }
}

/// Warns of certificates' subjects, which proxies compare at the first byte and not in the handshake.
fn remark_on_subjects(resolving: &mut Resolving<'_, '_>, sans: &BTreeSet<String>, http: bool) {
    if let Some(subject) = sans.iter().find(|one| is_subject(one)).filter(|_| !http) {
        let text = format!(
            "spec.rbac.sans: {subject} is a certificate's subject, which is compared when the client has sent its first \
             byte; an application that speaks first needs names that are SANs"
        );
        resolving.warn(Reason::ClientSpeaksFirst, text);
    }
}

fn server_tls(resolving: &mut Resolving<'_, '_>, tls: &ServerTls, http: bool) -> Tls {
    let certificate = resolving.secret(&tls.secret, SecretPart::Certificate, "spec.tls.secret");
    let validation = tls.validation.as_deref();
    let authority =
        validation.map(|name| resolving.secret(name, SecretPart::Authority, "spec.tls.validation"));
    let offered: &[&str] = if http { &HTTP_SERVER_ALPN } else { &[] };
    Tls {
        certificate: Some(certificate),
        require_peer_certificate: authority.is_some(),
        authority,
        alpn: offered.iter().map(|name| (*name).to_owned()).collect(),
        server_name: None,
        peer_names: Vec::new(),
    }
}

fn sources(resolving: &mut Resolving<'_, '_>, ingress: &Ingress) -> Option<SourcePolicy> {
    let group = ingress.cluster.as_deref().map(|cluster| resolving.group(cluster, true));
    let restricted = group.is_some();
    let policy = SourcePolicy {
        groups: group.into_iter().collect(),
        cidrs: Vec::new(),
        principals: ingress.sans.iter().cloned().collect(),
        restricted,
    };
    (policy != SourcePolicy::default()).then_some(policy)
}
