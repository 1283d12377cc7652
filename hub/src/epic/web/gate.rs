//! Who may use the web service ([`Gate`]): HTTP Basic, checked against Secrets, and limits for users and peers (C20).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use axum::http::StatusCode;
use kube::Client;
use portreeve_epic::answer::{self, Answer};
use portreeve_epic::auth::Credentials;
use portreeve_epic::cache::Cache;
use portreeve_epic::path::Target;
use portreeve_epic::rate::Limiter;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;

use super::users::{File, Users};
use crate::feed::Feed;

/// Requests of a user per second, and how many at once.
const USER: (u32, u32) = (200, 1000);

/// Checks of passwords for a peer per second, and how many at once. Results are kept, so an honest client needs one a minute.
const PEER: (u32, u32) = (10, 100);

/// Maximum number of users and of peers that are counted.
const COUNTED: usize = 10_000;

/// Maximum number of kept results.
const RESULTS: usize = 10_000;

/// Number of passwords that are checked at once. Each check takes a processor for up to a second.
const CHECKS: usize = 2;

/// How long a request waits for the check of its password to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks who sends a request.
pub struct Gate {
    users: Users,
    started: Instant,
    state: Mutex<State>,
    checks: Semaphore,
}

struct State {
    results: Cache,
    by_user: Limiter,
    by_peer: Limiter,
}

// === impl Gate ===

impl Gate {
    /// Creates a gate.
    ///
    /// # Errors
    /// Returns an error if the machine's source of random bytes is broken.
    pub fn new(client: Client) -> anyhow::Result<Self> {
        let mut salt = [0; 16];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| anyhow!("this machine's source of random bytes is broken"))?;
        let state = State {
            results: Cache::new(salt, RESULTS),
            by_user: Limiter::new(USER.0, USER.1, COUNTED),
            by_peer: Limiter::new(PEER.0, PEER.1, COUNTED),
        };
        Ok(Self {
            users: Users::new(client),
            started: Instant::now(),
            state: Mutex::new(state),
            checks: Semaphore::new(CHECKS),
        })
    }

    /// Admits a request.
    ///
    /// # Errors
    /// Returns the answer for a request that is not admitted: 401 for an unknown user or a wrong password, 403 for a user of
    /// another account, 429 for one that asks too often.
    pub async fn admit(
        &self,
        feed: &Feed,
        target: &Target,
        header: Option<&str>,
        peer: IpAddr,
    ) -> Result<(), Answer> {
        let missing = || answer::unauthorized("the request has no user: send HTTP Basic credentials");
        let credentials = Credentials::parse(header.ok_or_else(missing)?).map_err(answer::unauthorized)?;
        let account = target.account().unwrap_or_default();
        let files = self.users.of_account(account).await.map_err(answer::internal)?;
        if self.knows(&files, &credentials, peer).await? {
            let who = format!("{account}/{}", credentials.user());
            let taken = self.with(|state, now| state.by_user.take(&who, now));
            return taken.map_err(answer::too_many_requests);
        }
        let others = self.users.of_others(feed, account).await;
        match self.knows(&others, &credentials, peer).await? {
            true => Err(answer::forbidden(target)),
            false => Err(answer::unauthorized("the user is unknown, or the password is wrong")),
        }
    }

    /// Returns whether one of the files has this user with this password.
    async fn knows(
        &self,
        files: &[Arc<Vec<File>>],
        credentials: &Credentials,
        peer: IpAddr,
    ) -> Result<bool, Answer> {
        for files in files {
            let having = files.iter().enumerate().filter(|(_, file)| file.users.has(credentials.user()));
            for (index, _) in having {
                if self.check(files, index, credentials, peer).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Checks a password, unless the result of an earlier check is known.
    async fn check(
        &self,
        files: &Arc<Vec<File>>,
        index: usize,
        credentials: &Credentials,
        peer: IpAddr,
    ) -> Result<bool, Answer> {
        let check = self.with(|state, _| state.results.check(&files[index].version, credentials));
        if let Some(result) = self.with(|state, now| state.results.get(&check, now)) {
            return Ok(result);
        }
        self.with(|state, now| state.by_peer.take(&peer.to_string(), now))
            .map_err(answer::too_many_requests)?;
        let busy = |_| {
            answer::error(StatusCode::SERVICE_UNAVAILABLE, "too many passwords are being checked: try again")
        };
        let permit = tokio::time::timeout(PATIENCE, self.checks.acquire()).await.map_err(busy)?;
        let (files, credentials) = (files.clone(), credentials.clone());
        let right = tokio::task::spawn_blocking(move || files[index].users.verify(&credentials)).await;
        drop(permit);
        let right =
            right.map_err(|error| answer::internal(format!("a password was not checked: {error}")))?;
        self.with(|state, now| state.results.put(check, right, now));
        Ok(right)
    }

    fn with<R>(&self, use_state: impl FnOnce(&mut State, Duration) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        use_state(&mut state, self.started.elapsed())
    }
}
