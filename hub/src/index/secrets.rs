//! The Secret resources that Plans name ([`Secrets`]). Each is encoded once.

use std::collections::HashMap;
use std::sync::Arc;

use portreeve_api::refs::{SecretName, SecretPart};
use portreeve_api::{PlanType, plan};
use portreeve_xds::Resource;
use prost::Message;
use zeroize::Zeroizing;

use super::matches::Name;
use crate::lookup::Answers;

/// The Secret resources that Plans name.
#[derive(Default)]
pub struct Secrets {
    named: HashMap<Name, Named>,
}

/// A Secret resource that at least one Plan names.
#[derive(Default)]
struct Named {
    /// `None` until its content is known.
    resource: Option<Arc<Resource>>,
    /// The number of Plans that name it.
    plans: usize,
}

// === impl Secrets ===

impl Secrets {
    /// Records that one more Plan names a resource.
    pub fn hold(&mut self, name: &Name) {
        self.named.entry(name.clone()).or_default().plans += 1;
    }

    /// Records that one Plan less names a resource. After the last one its content is forgotten.
    pub fn let_go(&mut self, name: &Name) {
        let Some(named) = self.named.get_mut(name) else { return };
        named.plans = named.plans.saturating_sub(1);
        if named.plans == 0 {
            self.named.remove(name);
        }
    }

    /// Sets a resource that a Plan names. Returns whether it is new or changed.
    pub fn set(&mut self, resource: Arc<Resource>) -> bool {
        let Some(named) = self.named.get_mut(resource.name()) else { return false };
        let differs = named.resource.as_ref().is_none_or(|old| old.version() != resource.version());
        if differs {
            named.resource = Some(resource);
        }
        differs
    }

    /// Returns a resource. `None` until its content is known.
    pub fn get(&self, name: &Name) -> Option<&Arc<Resource>> {
        self.named.get(name)?.resource.as_ref()
    }
}

/// Encodes a Secret resource. `None` if the content of one of its keys is not known, because no resolver asked for it.
pub fn encode(name: &Name, answers: &Answers) -> Option<Arc<Resource>> {
    let SecretName { namespace, name: secret, part } = name.parse().ok()?;
    let content = |key| Some(answers.secret_content(&namespace, &secret, key)?.to_bytes());
    let message = match part {
        SecretPart::Certificate => plan::Secret {
            certificate_chain: content("tls.crt")?,
            private_key: content("tls.key")?,
            ..Default::default()
        },
        SecretPart::Authority => plan::Secret { authority: content("ca.crt")?, ..Default::default() },
    };
    let body = Zeroizing::new(message.encode_to_vec());
    Some(Resource::new(PlanType::Secret, name.clone(), &body))
}
