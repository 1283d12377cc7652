//! The parts of a keeper that only exist in a gateway's pod ([`InPod`]), and the validation of orders ([`acceptable`]).

use std::io;
use std::path::PathBuf;

use crate::dir::Dir;
use crate::l7mp;
use crate::proto;
use crate::spec::{Order, Program, Spec};
use crate::tail::Tail;

/// The pod's own paths, which differ from those that the agent knows.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) envoy: PathBuf,
    pub(super) ads_socket: PathBuf,
    pub(super) l7mp: Option<l7mp::Programs>,
}

/// The parts of a keeper that only exist in pods.
pub(super) struct InPod {
    pub(super) own: Own,
    pub(super) log: Tail,
}

/// Returns the order in an instruction for the proxy `name`, if it can be executed in `dir`.
///
/// # Errors
/// Returns an error if it isn't an order, is for another proxy, or can't be executed.
pub(super) fn acceptable(
    spec: proto::Spec,
    own: Option<&Own>,
    name: &str,
    dir: &Dir,
) -> anyhow::Result<Order> {
    let mut order = Order::try_from(spec)?;
    if let Some(own) = own {
        own.put_into(&mut order.spec)?;
    }
    anyhow::ensure!(order.spec.name == name, "it is for {:?}", order.spec.name);
    order.spec.check(dir)?;
    Ok(order)
}

// === impl Own ===

impl Own {
    fn put_into(&self, spec: &mut Spec) -> anyhow::Result<()> {
        spec.ads_socket.clone_from(&self.ads_socket);
        match (&mut spec.program, &self.l7mp) {
            (Program::Envoy, _) => spec.envoy.clone_from(&self.envoy),
            (Program::L7mp(settings), Some(own)) => {
                spec.envoy.clone_from(&own.node);
                settings.script.clone_from(&own.script);
            }
            (Program::L7mp(_), None) => {
                anyhow::bail!(
                    "this pod has no l7mp: run the image portreeve-l7mp, or start the keeper with --l7mp"
                );
            }
        }
        Ok(())
    }
}

// === impl InPod ===

impl InPod {
    /// Copies Envoy's new log lines to the pod's log.
    pub(super) fn tell_log(&mut self) -> io::Result<()> {
        self.log.tell(&mut io::stderr())
    }
}
