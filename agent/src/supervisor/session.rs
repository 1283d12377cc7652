//! What is wanted of a proxy ([`Wish`]), and the stream over which its keeper is told ([`Session`]).

use std::time::Duration;

use portreeve_keeper::proto::instruction::What;
use portreeve_keeper::proto::{Instruction, Stop};
use portreeve_keeper::{Order, Program};
use tokio::sync::mpsc;

/// The way to a keeper.
pub(super) type Teller = mpsc::Sender<Instruction>;

/// What is wanted of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Run(Order),
    Stop(Duration),
}

/// One attached keeper.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) sender: Teller,
    pub(super) told: Option<Wish>,
    /// The keeper is of another build than this agent, and can become of this one.
    pub(super) outdated: bool,
}

/// Keepers of this protocol and later ones run l7mp. Earlier ones would run node as an Envoy.
const WITH_L7MP: u32 = 7;

// === impl Wish ===

impl Wish {
    /// Whether a keeper of this protocol can do what is wanted.
    pub(super) fn fits(&self, protocol: u32) -> bool {
        match self {
            Self::Run(order) => order.spec.program == Program::Envoy || protocol >= WITH_L7MP,
            Self::Stop(_) => true,
        }
    }

    /// The wish as the keeper hears it.
    pub(super) fn instruction(&self) -> Instruction {
        let what = match self {
            Self::Run(order) => What::Spec(order.into()),
            Self::Stop(drain) => {
                What::Stop(Stop { drain_s: u32::try_from(drain.as_secs()).unwrap_or(u32::MAX) })
            }
        };
        Instruction { what: Some(what) }
    }
}
