//! One connected proxy with everything that is believed to be on it ([`Link`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use portreeve_agent_core::translate::l7mp::objects::Listener;
use portreeve_xds::{Name, Version};
use serde_json::Value;

use crate::action::{Action, Request};
use crate::actual::{Actual, Answers};
use crate::client::{Client, Error};
use crate::desired::Desired;
use crate::making::make;
use crate::names::{Key, Kind};
use crate::report::{Answer, Report};
use crate::sessions::{self, Session};
use crate::steps::{self, Sessions, Step};
use crate::wanted::{Refusals, Wanted};

/// The largest number of plans in a pass. Two are enough without refusals; each refusal that isn't final takes another.
const ROUNDS: usize = 8;

/// A connected proxy.
pub(crate) struct Link {
    client: Client,
    address: SocketAddr,
    /// The timeout of a connect and of a request.
    answer: Duration,
    /// Whether the proxy ends when a session is deleted that isn't settled (npm's 0.5.7).
    fragile: bool,
    /// What the proxy has, as far as is known.
    actual: Actual,
    /// Whether `actual` must be read again before the next plan.
    stale: bool,
    /// Whether sessions must be looked at: a removal may have left some, or some couldn't end yet.
    sweep: bool,
    /// Whether connected listeners must be compared with the sessions.
    listen: bool,
    /// Whether sessions could be read the last time.
    readable: bool,
    /// What the proxy refused.
    refusals: Refusals,
    /// The last acknowledged version of each listener. It comes back if a later version is refused that needs its port.
    good: BTreeMap<Name, (Version, Arc<Listener>)>,
}

/// The state of one pass.
struct Pass<'a, A> {
    desired: &'a Desired,
    report: &'a mut Report,
    answers: A,
    /// Resources with a refusal that may come from an outdated picture. The second one is final.
    doubtful: BTreeSet<Key>,
}

// === impl Link ===

impl Link {
    /// Connects to a proxy and reads everything back.
    ///
    /// # Errors
    /// Returns an error if the proxy can't be reached or doesn't answer as l7mp does.
    pub(crate) async fn open(address: SocketAddr, answer: Duration) -> Result<Self, Error> {
        let mut client = Client::connect(address, answer).await?;
        let admin = client.send(&Request::get(&["admin"])).await?;
        let fragile = admin.get("offload").is_none();
        let actual = read_back(&mut client).await?;
        Ok(Self {
            client,
            address,
            answer,
            fragile,
            actual,
            stale: false,
            sweep: true,
            listen: true,
            readable: true,
            refusals: Refusals::new(),
            good: BTreeMap::new(),
        })
    }

    /// Waits until the proxy closes the connection.
    pub(crate) async fn closed(&mut self) {
        self.client.closed().await;
    }

    /// Connects again after [`Link::closed`].
    ///
    /// # Errors
    /// Returns an error if the proxy can't be reached or may have been restarted: then an object of the driver's is gone.
    pub(crate) async fn reconnect(&mut self) -> Result<(), Error> {
        self.client = Client::connect(self.address, self.answer).await?;
        match self.actual.witness() {
            Some((kind, name)) => {
                let request = Request::get(&[kind, name]);
                self.client.send(&request).await.map(drop)
            }
            None => {
                self.stale = true;
                Ok(())
            }
        }
    }

    /// Makes the next pass read everything back, and try again what was refused. A listener whose former version came back
    /// is not tried again: the former one would have to go each time.
    pub(crate) fn expire(&mut self) {
        (self.stale, self.listen) = (true, true);
        let good = &self.good;
        self.refusals.retain(|key, _| key.kind == Kind::Listener && good.contains_key(&key.name));
    }

    /// Makes the next pass read everything back, because a request failed that may have been executed.
    pub(crate) fn doubt(&mut self) {
        self.stale = true;
    }

    /// Returns the desired state with the last acknowledged versions of listeners that the proxy refused.
    fn feasible<'a>(&self, desired: &'a Desired) -> Cow<'a, Desired> {
        let mut feasible = Cow::Borrowed(desired);
        for key in self.refusals.keys().filter(|key| key.kind == Kind::Listener) {
            if let (Some(good), true) = (self.good.get(&key.name), desired.listeners.contains_key(&key.name))
            {
                feasible.to_mut().listeners.insert(key.name.clone(), good.clone());
            }
        }
        feasible
    }

    /// Brings the proxy to the desired state as far as possible, and passes on the news.
    ///
    /// # Errors
    /// Returns an error if the proxy can't be reached any more.
    pub(crate) async fn pass(
        &mut self,
        desired: &Desired,
        answers: impl Fn(Answer),
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut pass = Pass { desired, report, answers, doubtful: BTreeSet::new() };
        self.refusals.retain(|key, (version, _)| desired.version(key) == Some(*version));
        self.good.retain(|name, _| desired.listeners.contains_key(name));
        for _ in 0..ROUNDS {
            if std::mem::take(&mut self.stale) {
                self.actual = read_back(&mut self.client).await?;
            }
            let feasible = self.feasible(desired);
            let wanted = make(&feasible, &self.actual, &self.refusals);
            let sessions = self.sessions(&wanted).await?;
            let mut steps = steps::plan(&feasible, &wanted, &self.actual, &sessions);
            // Only a proxy whose sessions can't be read has to end them itself, so it must be known before.
            if self.readable && !self.fragile && steps.iter().any(|step| step.action.ends_sessions()) {
                self.read_sessions().await?;
                let sessions = Sessions { recursive: !self.readable, ..sessions };
                steps = steps::plan(&feasible, &wanted, &self.actual, &sessions);
            }
            if steps.is_empty() {
                break;
            }
            self.execute(steps, &wanted, &mut pass).await?;
        }
        self.sweep().await?;
        let wanted = make(desired, &self.actual, &self.refusals);
        let news = pass.report.all(desired, &wanted, &self.actual);
        self.tell(news, &pass);
        Ok(())
    }

    /// Executes steps. Those of a resource end with its first refusal, except for endpoints, which don't need each other.
    async fn execute(
        &mut self,
        steps: Vec<Step>,
        wanted: &Wanted,
        pass: &mut Pass<'_, impl Fn(Answer)>,
    ) -> Result<(), Error> {
        let mut failed = BTreeSet::new();
        for step in steps {
            let skipped = step.owner.kind != Kind::Endpoints && failed.contains(&step.owner);
            if skipped || !self.actual.is_safe(&step.action) {
                continue;
            }
            match self.client.send(&step.action.request()).await {
                Ok(answer) => self.confirmed(&step, answer, wanted, pass)?,
                Err(error @ Error::Unreachable(_)) => return Err(error),
                Err(error) => {
                    self.refused(&step, error, pass);
                    failed.insert(step.owner);
                }
            }
            if matches!(step.action, Action::DeleteListener { recursive: true, .. }) {
                // The proxy decides which rules and routes go with it.
                self.stale = true;
                break;
            }
        }
        Ok(())
    }

    fn confirmed(
        &mut self,
        step: &Step,
        answer: Value,
        wanted: &Wanted,
        pass: &mut Pass<'_, impl Fn(Answer)>,
    ) -> Result<(), Error> {
        tracing::debug!(proxy = %self.address, resource = %step.owner.name, action = ?step.action, "l7mp step done");
        if step.action == Action::ReadLists {
            return self.actual.read_listeners(answer).map_err(unexpected);
        }
        self.actual.apply(&step.action);
        self.sweep |= step.action.ends_sessions();
        if !self.refusals.contains_key(&step.owner) {
            let news = pass.report.of(&step.owner, pass.desired, wanted, &self.actual);
            self.tell(news, pass);
        }
        Ok(())
    }

    /// Passes on news, and remembers acknowledged listeners.
    fn tell(&mut self, news: impl IntoIterator<Item = Answer>, pass: &Pass<'_, impl Fn(Answer)>) {
        for answer in news {
            if let Answer::Acked { ty: Kind::Listener, name, .. } = &answer
                && let Some(good) = pass.desired.listeners.get(name)
            {
                self.good.insert(name.clone(), good.clone());
            }
            (pass.answers)(answer);
        }
    }

    /// Notes a refusal. Everything is read back before the next plan, because a refused request may have left objects.
    fn refused(&mut self, step: &Step, error: Error, pass: &mut Pass<'_, impl Fn(Answer)>) {
        tracing::warn!(proxy = %self.address, resource = %step.owner.name, %error, "l7mp proxy refused a step");
        self.stale = true;
        let Some(version) = pass.desired.version(&step.owner).filter(|_| step.action.adds()) else { return };
        // The picture was outdated, perhaps: the next plan knows better.
        let doubtful = matches!(error, Error::AlreadyDefined(_) | Error::Unknown(_));
        if !doubtful || !pass.doubtful.insert(step.owner.clone()) {
            self.refusals.insert(step.owner.clone(), (version, error.to_string()));
        }
    }

    /// Returns what a plan must know of sessions.
    async fn sessions(&mut self, wanted: &Wanted) -> Result<Sessions, Error> {
        let mut known = Sessions { recursive: !self.readable && !self.fragile, deaf: BTreeSet::new() };
        let connected = wanted.listeners.values().flatten().any(|made| made.connected);
        if std::mem::take(&mut self.listen) && connected {
            let sessions = self.read_sessions().await?;
            known.deaf = sessions.map(|all| sessions::deaf(&all, wanted, &self.actual)).unwrap_or_default();
        }
        Ok(known)
    }

    /// Ends sessions that must end, and remembers whether some are left.
    async fn sweep(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.sweep) {
            return Ok(());
        }
        let Some(sessions) = self.read_sessions().await? else {
            self.sweep = true;
            return Ok(());
        };
        let over = sessions::over(&sessions, &self.actual, self.fragile);
        self.sweep = over.later > 0;
        for name in over.now {
            match self.client.send(&Request::delete(&["sessions", &name], false)).await {
                Ok(_) | Err(Error::Unknown(_)) => {}
                Err(error @ Error::Unreachable(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(proxy = %self.address, session = name, %error, "l7mp session was not ended");
                }
            }
        }
        Ok(())
    }

    /// Reads the sessions. `None`: a strict proxy can't show sessions through several clusters.
    async fn read_sessions(&mut self) -> Result<Option<Vec<Session>>, Error> {
        let read = match self.client.send(&Request::get(&["sessions"])).await {
            Ok(answer) => Some(serde_json::from_value(answer).map_err(unexpected)?),
            Err(Error::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, .. }) => None,
            Err(error) => return Err(error),
        };
        self.readable = read.is_some();
        Ok(read)
    }
}

/// Reads everything that a proxy has, except sessions.
async fn read_back(client: &mut Client) -> Result<Actual, Error> {
    let answers = Answers {
        listeners: client.send(&Request::get(&["listeners"])).await?,
        clusters: client.send(&Request::get_whole(&["clusters"])).await?,
        lists: client.send(&Request::get(&["rulelists"])).await?,
        rules: client.send(&Request::get(&["rules"])).await?,
        routes: client.send(&Request::get(&["routes"])).await?,
    };
    Actual::read(answers).map_err(unexpected)
}

fn unexpected(error: serde_json::Error) -> Error {
    Error::Unreachable(format!("the answer is not l7mp's: {error}"))
}
