//! The leader's Lease. One hub writes conditions; all hubs serve agents. (kube's election crate supports an older major
//! version of kube only, hence this implementation.)
//!
//! Clocks of different hubs are never compared: a lease has expired when this hub has seen it unchanged for its whole
//! duration.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

/// Name of the Lease object.
pub const NAME: &str = "portreeve-hub";

/// A leader that hasn't renewed the lease for this long has lost it.
pub const DURATION: Duration = Duration::from_secs(10);

/// How long a hub leads after the start of its last successful renewal. It stops leading well before another hub can
/// have seen the lease unchanged for [`DURATION`].
pub const HOLD: Duration = Duration::from_secs(7);

/// Timeout of one attempt to read or renew the lease.
const LOOK: Duration = Duration::from_secs(2);

/// A hub's candidacy for the lease.
pub struct Election {
    api: Api<Lease>,
    identity: String,
    seen: Option<Seen>,
}

/// A lease, and the time since when it is unchanged.
#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

// === impl Election ===

impl Election {
    /// Creates a candidate in a namespace. `identity` must be unique among hubs.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), identity, seen: None }
    }

    /// Takes or renews the lease, and returns whether this hub leads now. Must be called several times per
    /// [`DURATION`].
    ///
    /// # Errors
    /// Returns an error if the API server can't be reached in time or rejects the request. Then nothing new is known
    /// about the lease.
    pub async fn contend(&mut self) -> kube::Result<bool> {
        by(Instant::now() + LOOK, self.look()).await
    }

    async fn look(&mut self) -> kube::Result<bool> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let mut fresh = Lease::default();
            fresh.metadata.name = Some(NAME.into());
            fresh.spec = Some(self.spec(None, now));
            return settled(self.api.create(&PostParams::default(), &fresh).await);
        };
        let seen = Seen::of(self.seen.take(), lease.spec.clone().unwrap_or_default(), Instant::now());
        let free = seen.is_free(&self.identity, Instant::now());
        self.seen = Some(seen);
        if !free {
            return Ok(false);
        }
        lease.spec = Some(self.spec(lease.spec.as_ref(), now));
        // A replace carries the resourceVersion. If two hubs see the lease free, one of them gets a conflict.
        settled(self.api.replace(NAME, &PostParams::default(), &lease).await)
    }

    /// Releases the lease if this hub holds it, so that another hub doesn't have to wait for its expiry.
    ///
    /// # Errors
    /// Returns an error if the API server can't be reached or rejects the request. The lease then expires.
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

/// Waits for a call until a deadline.
///
/// # Errors
/// Returns the call's own error, or an error if the deadline passes.
pub async fn by<T>(until: Instant, call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    let late = |_| kube::Error::Service("the API server did not answer in time".into());
    tokio::time::timeout_at(until.into(), call).await.map_err(late)?
}

// === impl Seen ===

impl Seen {
    /// Records a lease as seen now. An unchanged lease keeps the time at which it was first seen.
    fn of(before: Option<Self>, spec: LeaseSpec, now: Instant) -> Self {
        let since = before.filter(|before| before.spec == spec).map_or(now, |before| before.since);
        Self { spec, since }
    }

    /// Returns whether `identity` may take the lease: it holds the lease, no hub does, or the holder hasn't renewed it
    /// for its whole duration. The times in the lease come from the holder's clock and are ignored.
    fn is_free(&self, identity: &str, now: Instant) -> bool {
        let holder = self.spec.holder_identity.as_deref().unwrap_or_default();
        let lasts = u64::try_from(self.spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let over = now.saturating_duration_since(self.since) >= Duration::from_secs(lasts);
        holder.is_empty() || holder == identity || over
    }
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

    /// Returns what a hub has seen after looking at each lease at the given second.
    fn seen(looks: &[(LeaseSpec, u64)], began: Instant) -> Seen {
        let at = |second| began + Duration::from_secs(second);
        let mut seen = None;
        for (spec, second) in looks {
            seen = Some(Seen::of(seen, spec.clone(), at(*second)));
        }
        seen.unwrap()
    }

    #[test]
    fn lease_is_over_when_it_was_seen_unchanged_for_as_long_as_it_lasts() {
        let began = Instant::now();
        let free = |looks: &[(LeaseSpec, u64)], second| {
            seen(looks, began).is_free("me", began + Duration::from_secs(second))
        };
        // The holder's clock is an hour behind, correct, or an hour ahead: the result is the same.
        for clock in [1_000, 4_600, 8_200] {
            let (first, renewed) = (held("other", clock), held("other", clock + 2));
            assert!(!free(&[(first.clone(), 0)], 9), "{clock}");
            assert!(free(&[(first.clone(), 0)], 10), "{clock}");
            let looks = [(first.clone(), 0), (first, 4), (renewed, 6)];
            assert!(!free(&looks, 15), "{clock}: it was renewed at 6");
            assert!(free(&looks, 16), "{clock}");
        }
    }

    #[test]
    fn lease_is_free_for_its_holder_and_when_it_was_given_up() {
        let now = Instant::now();
        assert!(seen(&[(held("me", 1), 0)], now).is_free("me", now));
        let given_up = LeaseSpec { holder_identity: None, ..held("other", 1) };
        assert!(seen(&[(given_up, 0)], now).is_free("me", now), "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_is_not_answered_ends_in_time() {
        let begun = tokio::time::Instant::now();
        let never = std::future::pending::<kube::Result<()>>();
        let error = by((begun + Duration::from_secs(3)).into_std(), never).await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert!(error.to_string().contains("did not answer in time"), "{error}");
    }

    #[test]
    fn lead_is_given_up_before_another_hub_can_take_the_lease() {
        // The last renewal begins at 0, and other hubs see it at 0 at the earliest. A failing attempt ends at HOLD +
        // LOOK.
        assert!(HOLD + LOOK < DURATION);
    }
}
