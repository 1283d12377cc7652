//! The leader's Lease: one hub writes conditions, all of them serve. (The election crate for kube follows one major
//! version behind, so these few lines are ours.)

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

/// Name of the Lease.
pub const NAME: &str = "portreeve-hub";

/// A leader that has not renewed for this long has lost the lease.
pub const DURATION: Duration = Duration::from_secs(10);

/// One hub's claim on the lease.
pub struct Election {
    api: Api<Lease>,
    identity: String,
}

// === impl Election ===

impl Election {
    /// A claim in a namespace under an identity that no other hub has.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), identity }
    }

    /// Takes or renews the lease; answers whether this hub leads now. To be called several times a [`DURATION`].
    ///
    /// # Errors
    /// The API server can't be reached or refuses: the lease is then not held.
    pub async fn contend(&self) -> kube::Result<bool> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let mut fresh = Lease::default();
            fresh.metadata.name = Some(NAME.into());
            fresh.spec = Some(self.spec(None, now));
            return settled(self.api.create(&PostParams::default(), &fresh).await);
        };
        if !free(lease.spec.as_ref(), &self.identity, now) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(lease.spec.as_ref(), now));
        // A replace carries the resourceVersion: of two hubs that saw it free, one gets a conflict.
        settled(self.api.replace(NAME, &PostParams::default(), &lease).await)
    }

    /// Gives the lease up, if it is ours: another hub takes it at its next look instead of waiting for its end.
    ///
    /// # Errors
    /// The API server can't be reached or refuses: the lease then runs out.
    pub async fn release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        settled(self.api.replace(NAME, &PostParams::default(), &lease).await).map(drop)
    }

    fn spec(&self, old: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let same = old.filter(|o| o.holder_identity.as_deref() == Some(&self.identity));
        let transitions = old.and_then(|o| o.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            renew_time: Some(MicroTime(now)),
            acquire_time: same.map_or(Some(MicroTime(now)), |s| s.acquire_time.clone()),
            lease_transitions: Some(if same.is_some() || old.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..Default::default()
        }
    }
}

/// Whether a lease can be taken by `identity`: it holds it, nobody does, or the holder's time is over.
fn free(spec: Option<&LeaseSpec>, identity: &str, now: Timestamp) -> bool {
    let Some(spec) = spec else { return true };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let lasts = i64::from(spec.lease_duration_seconds.unwrap_or(0));
    let over = spec.renew_time.as_ref().is_none_or(|t| t.0.as_second() + lasts < now.as_second());
    holder.is_empty() || holder == identity || over
}

fn settled(outcome: kube::Result<Lease>) -> kube::Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.into()),
            lease_duration_seconds: Some(10),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..Default::default()
        }
    }

    #[test]
    fn a_lease_is_free_for_its_holder_and_for_others_when_its_time_is_over() {
        let now = Timestamp::from_second(1000).unwrap();
        assert!(free(None, "me", now));
        assert!(free(Some(&held("me", 995)), "me", now));
        assert!(!free(Some(&held("other", 990)), "me", now));
        assert!(free(Some(&held("other", 989)), "me", now));
        let given_up = LeaseSpec { holder_identity: None, ..held("other", 1000) };
        assert!(free(Some(&given_up), "me", now), "at once");
    }
}
