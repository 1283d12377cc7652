//! EgressListener → Plan: a loopback port of the proxies, to the ready pods of a cluster.

use portreeve_api::conditions::Reason;
use portreeve_api::d::egress_listener::{ClientTls, DEFINITION, EgressListener, KIND, PodCheck};
use portreeve_api::kind::Kind;
use portreeve_api::model::{EndpointSource, HealthCheck, Protocol, Scope, Socket, Source, Tls};
use portreeve_api::refs::SecretPart;
use portreeve_api::violation::Violation;

use super::{Resolving, cluster, listener};
use crate::lookup::Lookup;
use crate::object::{self, Custom, Rejection, Resolved, Role, Root};
use crate::resolve::health;
use crate::row::Row;

/// How the hub treats EgressListeners.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "el",
    label: "egresslistener",
    plural: "egresslisteners",
    watch: "watch of egresslisteners",
    resource: DEFINITION.resource,
    read: object::read::<EgressListener>,
    removes: |_| false,
    annotations: super::annotations,
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: false,
};

/// The name of the listener in its Plan.
const LISTENER: &str = "egress";

impl Custom for EgressListener {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Root(self)
    }
}

impl Root for EgressListener {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let egress = self.form().map_err(|broken| Rejection::of_violations(&broken))?;
        let mut resolving = Resolving::new(&KIND, &self.metadata, lookup);
        resolving.remark_on_layer(&egress.layer, "spec.lbpolicy");
        resolving.remark_on_name(&egress.cluster);
        let http = egress.layer.is_http();
        let mut socket = Socket::new(Protocol::Tcp, Some(egress.listen));
        socket.scope = Scope::Loopback;
        let pods = EndpointSource {
            name: egress.cluster.clone(),
            from: Source::Group(resolving.group(&egress.cluster, false)),
            port: Some(egress.port),
            health_port: egress.health_check.as_ref().map(|check| check.port),
            weight: None,
            source: None,
        };
        let mut pods = cluster(LISTENER, &egress.cluster, pods, http);
        pods.tls = egress.tls.as_ref().map(|tls| client_tls(&mut resolving, tls, http));
        pods.health_check = egress.health_check.as_ref().map(|check| health_check(&mut resolving, check));
        Ok(resolving.finish(egress.nodename, listener(LISTENER, socket, http), pods))
    }
}

fn client_tls(resolving: &mut Resolving<'_, '_>, tls: &ClientTls, http: bool) -> Tls {
    let secret = tls.secret.as_deref();
    let certificate = secret.map(|name| resolving.secret(name, SecretPart::Certificate, "spec.tls.secret"));
    let field = if secret == Some(&*tls.validation) { "spec.tls.secret" } else { "spec.tls.validation" };
    Tls {
        certificate,
        authority: Some(resolving.secret(&tls.validation, SecretPart::Authority, field)),
        // Servers always show one.
        require_peer_certificate: false,
        alpn: http.then(|| "h2".to_owned()).into_iter().collect(),
        server_name: tls.server_name.clone(),
        peer_names: tls.sans.iter().cloned().collect(),
    }
}

fn health_check(resolving: &mut Resolving<'_, '_>, check: &PodCheck) -> HealthCheck {
    if check.interval < health::SHORT_INTERVAL {
        let ms = check.interval.as_millis();
        resolving.warn(Reason::ShortInterval, format!("spec.health_check.interval: {ms} ms is under 500 ms"));
    }
    health::check(check.interval, check.http_path.as_deref().map(Into::into))
}
