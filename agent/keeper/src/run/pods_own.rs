//! What a keeper in a gateway's pod has of its pod ([`InPod`]), and the orders that it can carry out ([`acceptable`]).

use std::io;
use std::path::PathBuf;

use crate::dir::Dir;
use crate::proto;
use crate::spec::{Order, Spec};
use crate::tail::Tail;

/// What in a pod is not as the agent knows it.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) envoy: PathBuf,
    pub(super) ads_socket: PathBuf,
}

/// What of a keeper is there in pods only.
pub(super) struct InPod {
    pub(super) own: Own,
    pub(super) log: Tail,
}

/// The order that an instruction is for the proxy `name`, if it can be carried out in `dir`.
///
/// # Errors
/// It is none, or for another proxy, or can't be carried out.
pub(super) fn acceptable(
    spec: proto::Spec,
    own: Option<&Own>,
    name: &str,
    dir: &Dir,
) -> anyhow::Result<Order> {
    let mut order = Order::try_from(spec)?;
    if let Some(own) = own {
        own.put_into(&mut order.spec);
    }
    anyhow::ensure!(order.spec.name == name, "it is for {:?}", order.spec.name);
    order.spec.check(dir)?;
    Ok(order)
}

// === impl Own ===

impl Own {
    fn put_into(&self, spec: &mut Spec) {
        spec.envoy.clone_from(&self.envoy);
        spec.ads_socket.clone_from(&self.ads_socket);
    }
}

// === impl InPod ===

impl InPod {
    /// Tells on in the pod's log what Envoy wrote.
    pub(super) fn tell_log(&mut self) -> io::Result<()> {
        self.log.tell(&mut io::stderr())
    }
}
