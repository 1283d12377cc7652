//! Authentication of agents: every stream presents the token of its agent's pod and may only read what its node needs
//! ([`Door::admit`]).
//!
//! The API server reviews the token. While it is unreachable, the token's signature is checked against the issuer's
//! keys that were fetched before, so that an agent that restarts during an outage isn't locked out. A stream ends when
//! its token expires: it is closed with UNAVAILABLE, and the agent reconnects immediately with the token that the
//! kubelet has renewed long before. (The reconnect sends no resource again, because the content hashes are equal. A
//! second stream in parallel would save 50 ms once per token lifetime, in which nothing is lost.)

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use kube::Client;
use portreeve_runtime::{Tasks, now_ms};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tonic::Status;

pub mod cache;
pub mod claims;
mod issuer;
pub mod keys;
pub mod refusal;
pub mod review;
pub mod tally;

pub use claims::Account;

use cache::Cache;
use claims::{Identity, Parts};
use keys::{Keys, Signature};
use refusal::{Refusal, shortened};
use review::Answer;
use tally::Tally;

/// Maximum number of concurrent reviews. Others wait.
const REVIEWS: usize = 32;

/// How long no review is sent after the API server didn't answer, in milliseconds: thousands of agents may reconnect at
/// once.
const AWAY: i64 = 2_000;

/// The check that every stream must pass.
#[derive(Clone)]
pub enum Door {
    /// Every client is accepted as the node it claims to be: `--insecure`, and sockets that only this user can reach.
    Open,
    /// Every client must present a token.
    Guarded(Arc<Warden>),
}

/// Verifies tokens.
pub struct Warden {
    client: Client,
    account: Account,
    keys: watch::Receiver<Option<Arc<Keys>>>,
    cache: Mutex<Cache>,
    tally: Mutex<Tally>,
    reviews: Semaphore,
    /// Time until which no review is sent, in milliseconds since the Unix epoch.
    away: AtomicI64,
}

/// The permission of an admitted stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The time at which the stream has to end; `None` for no limit.
    pub until: Option<Instant>,
}

// === impl Door ===

impl Door {
    /// Creates a door for agents with this ServiceAccount, and spawns the task that fetches the issuer's keys.
    pub fn guarded(tasks: &mut Tasks, client: &Client, account: Account) -> Self {
        let (sender, keys) = watch::channel(None);
        tasks.spawn("keys of the token issuer", issuer::follow(client.clone(), sender));
        Self::Guarded(Arc::new(Warden {
            client: client.clone(),
            account,
            keys,
            cache: Mutex::default(),
            tally: Mutex::default(),
            reviews: Semaphore::new(REVIEWS),
            away: AtomicI64::new(0),
        }))
    }

    /// Checks a stream with these request headers whose first message claims to be from node `said`.
    ///
    /// # Errors
    /// Returns PERMISSION_DENIED if the token belongs to another client, UNAUTHENTICATED if it is invalid, and
    /// UNAVAILABLE if it can't be verified now. The message contains the reason and the remedy.
    pub async fn admit(&self, headers: &HeaderMap, said: &str) -> Result<Pass, Status> {
        match self {
            Self::Open => Ok(Pass { until: None }),
            Self::Guarded(warden) => warden.admit(headers, said).await,
        }
    }

    /// Refuses a call that [`Door::admit`] would refuse because of its headers alone, before its body is read. Sends no
    /// request.
    ///
    /// # Errors
    /// See [`Door::admit`].
    pub fn glance(&self, headers: &HeaderMap) -> Result<(), Status> {
        match self {
            Self::Open => Ok(()),
            Self::Guarded(warden) => warden.glance(headers),
        }
    }

    /// Returns the number of refusals since the start, by reason.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        match self {
            Self::Open => BTreeMap::new(),
            Self::Guarded(warden) => lock(&warden.tally).totals(),
        }
    }
}

// === impl Warden ===

impl Warden {
    async fn admit(&self, headers: &HeaderMap, said: &str) -> Result<Pass, Status> {
        let now = now_ms();
        match self.judge(headers, said, now).await {
            Ok(identity) => Ok(pass(&identity, now)),
            Err(refusal) => Err(self.refuse(refusal, said, now)),
        }
    }

    fn glance(&self, headers: &HeaderMap) -> Result<(), Status> {
        let now = now_ms();
        let judged = self.read(headers, now).and_then(|(_, parts, _)| self.not_forged(&parts));
        judged.map_err(|refusal| self.refuse(refusal, "", now))
    }

    /// Counts a refusal, and logs it if the last log line is old enough.
    fn refuse(&self, refusal: Refusal, said: &str, now: i64) -> Status {
        if let Some(line) = lock(&self.tally).note(refusal.reason(), now / 1000) {
            tracing::warn!(
                node = shortened(said),
                reason = refusal.reason(),
                error = %refusal,
                total = line.total,
                unsaid = line.unsaid,
                "agent refused"
            );
        }
        refusal.into()
    }

    /// Returns the token, its parts, and the agent that it claims to belong to.
    fn read<'h>(&self, headers: &'h HeaderMap, now: i64) -> Result<(&'h str, Parts<'h>, Identity), Refusal> {
        let token = bearer(headers)?;
        let parts = Parts::read(token)?;
        let identity = parts.claims.identity(&self.account, now / 1000)?;
        Ok((token, parts, identity))
    }

    /// Refuses a token with a wrong signature, which then costs the API server nothing.
    fn not_forged(&self, parts: &Parts<'_>) -> Result<(), Refusal> {
        match self.keys.borrow().as_ref().map(|keys| keys.signature(parts)) {
            Some(Signature::Bad(why)) => Err(Refusal::Forged(why)),
            _ => Ok(()),
        }
    }

    async fn judge(&self, headers: &HeaderMap, said: &str, now: i64) -> Result<Identity, Refusal> {
        let (token, parts, identity) = self.read(headers, now)?;
        identity.is_node(said)?;
        if !lock(&self.cache).holds(token, now / 1000) {
            self.prove(token, &parts, &identity, now).await?;
        }
        Ok(identity)
    }

    /// Verifies the token.
    async fn prove(
        &self,
        token: &str,
        parts: &Parts<'_>,
        identity: &Identity,
        now: i64,
    ) -> Result<(), Refusal> {
        self.not_forged(parts)?;
        let why = match self.ask(token, identity, now).await {
            Answer::Good => {
                lock(&self.cache).put(token, now / 1000);
                return Ok(());
            }
            Answer::Refused(refusal) => return Err(refusal),
            Answer::Away(why) => why,
        };
        let Some(keys) = self.keys.borrow().clone() else {
            return Err(Refusal::Unknown(format!("{why}, and its keys were never fetched")));
        };
        keys.prove(parts)?;
        tracing::info!(
            node = identity.node,
            pod = identity.pod,
            error = why,
            "agent admitted by its token's signature"
        );
        Ok(())
    }

    async fn ask(&self, token: &str, identity: &Identity, now: i64) -> Answer {
        let away = || now < self.away.load(Ordering::Relaxed);
        let _permit = match away() {
            true => None,
            // The semaphore is never closed.
            false => self.reviews.acquire().await.ok(),
        };
        if away() {
            return Answer::Away("the API server did not answer a moment ago".into());
        }
        let answer = review::ask(&self.client, token, &self.account, identity).await;
        if let Answer::Away(_) = answer {
            self.away.store(now_ms() + AWAY, Ordering::Relaxed);
        }
        answer
    }
}

// === impl Pass ===

impl Pass {
    /// Waits until the stream has to end. Returns the status to end it with.
    pub async fn ended(&self) -> Status {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
        ended()
    }
}

/// The final status of a stream whose token has expired.
pub fn ended() -> Status {
    Status::unavailable("the token that this stream began with has expired: connect again with a newer one")
}

fn pass(identity: &Identity, now: i64) -> Pass {
    let left = identity.until.saturating_mul(1000).saturating_sub(now);
    let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
    // An expiry beyond the clock's range counts as no limit.
    Pass { until: Instant::now().checked_add(left) }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(AUTHORIZATION).ok_or(Refusal::Missing)?;
    let text =
        value.to_str().map_err(|_| Refusal::Malformed("the authorization header is not valid text"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Refusal::Malformed("the authorization header holds no bearer token")),
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn token_is_what_follows_the_scheme() {
        assert_eq!(bearer(&headers("Bearer abc")), Ok("abc"));
        assert_eq!(bearer(&headers("bearer abc")), Ok("abc"));
        assert_eq!(bearer(&HeaderMap::new()), Err(Refusal::Missing));
        for wrong in ["abc", "Basic abc", "Bearer"] {
            assert_eq!(bearer(&headers(wrong)).unwrap_err().reason(), "malformed", "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pass_ends_with_its_token() {
        let identity = Identity { node: "n".into(), pod: "a/b".into(), until: 100 };
        let begun = Instant::now();
        let status = pass(&identity, 90_000).ended().await;
        assert_eq!((begun.elapsed(), status.code()), (Duration::from_secs(10), tonic::Code::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn pass_of_an_open_door_never_ends() {
        let pass = Door::Open.admit(&HeaderMap::new(), "n").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1_000_000), pass.ended()).await.is_err());
    }
}
