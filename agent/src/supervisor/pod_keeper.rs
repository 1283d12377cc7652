//! One keeper in a pod: [`PodKeeper`].

use portreeve_keeper::State;
use portreeve_keeper::proto::instruction::What;
use portreeve_keeper::proto::{Elder, Instruction};

use super::session::{Session, Wish};

/// A keeper in a pod.
#[derive(Debug)]
pub(super) struct PodKeeper {
    pub(super) session: Session,
    pub(super) state: State,
    /// The Envoy that it was told to take over from.
    pub(super) elder: Option<Elder>,
    /// The user that it runs as, and so its Envoy.
    pub(super) user: Option<u32>,
}

// === impl PodKeeper ===

impl PodKeeper {
    /// The version of the protocol that it speaks.
    pub(super) fn protocol(&self) -> u32 {
        self.state.protocol
    }

    /// The user that it runs as.
    pub(super) fn user(&self) -> Option<u32> {
        self.user
    }

    /// Instructs it; whether it may have been heard.
    pub(super) fn instruct(&self, instruction: Instruction) -> bool {
        self.session.sender.try_send(instruction).is_ok()
    }

    /// Takes a report.
    pub(super) fn hear(&mut self, state: State) {
        let told = self.session.told.as_ref();
        if matches!(told, Some(Wish::Run(order)) if order.hash == state.spec_hash) {
            // Said and done: when it lets go of it, it may be told again.
            self.session.told = None;
        }
        self.state = state;
    }

    /// Tells it what is wanted, and which Envoy to take over from, unless it was told or does it.
    pub(super) fn tell(&mut self, wish: &Wish, elder: Option<Elder>) {
        let under_way = self.session.told.as_ref() == Some(wish) && self.elder == elder;
        let done = match wish {
            Wish::Run(order) => {
                !matches!(self.session.told, Some(Wish::Stop(_)))
                    && order.hash == self.state.spec_hash
                    && (self.state.serves || self.elder == elder)
            }
            Wish::Stop(_) => false,
        };
        if under_way || done || !wish.fits(self.protocol()) {
            return;
        }
        let mut instruction: Instruction = wish.instruction();
        if let Some(What::Spec(spec)) = &mut instruction.what {
            spec.elder = elder;
        }
        // A full channel belongs to a keeper that does not listen; it is told in a later pass.
        if self.session.sender.try_send(instruction).is_ok() {
            self.session.told = Some(wish.clone());
            self.elder = elder;
        }
    }
}
