//! One connected proxy with everything that is believed to be on it ([`Link`]).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use crate::action::{Action, Request};
use crate::actual::{Actual, Answers};
use crate::client::{Client, Error};
use crate::desired::Desired;
use crate::making::{self, Ground};
use crate::names::{Key, Kind};
use crate::report::{Answer, Report};
use crate::sessions::{self, Session};
use crate::steps::{self, Picture, Sessions, Step};
use crate::wanted::{Good, Refusals, Wanted};

/// The largest number of plans in a pass. Two are enough without refusals; each refusal that isn't final takes another.
const ROUNDS: usize = 8;
/// The time between two looks at all sessions. It doubles while sessions are left that can't end yet, or can't be read.
const SWEEP: Duration = Duration::from_millis(500);
/// Its limit.
const LONGEST_SWEEP: Duration = Duration::from_secs(30);

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
    /// The objects of the desired resources.
    wanted: Wanted,
    /// The resources that the next pass is about.
    dirty: BTreeSet<Key>,
    /// Whether the next pass is about all resources.
    all: bool,
    /// Whether `actual` must be read again before the next plan.
    stale: bool,
    /// Whether sessions must be looked at: a removal may have left some, or some couldn't end yet.
    sweep: bool,
    /// The earliest time of the next look at sessions, and the pause after it.
    next_sweep: (Instant, Duration),
    /// Whether connected listeners must be compared with the sessions.
    listen: bool,
    /// Whether sessions could be read the last time.
    readable: bool,
    /// What the proxy refused.
    refusals: Refusals,
    /// Resources of which a request was refused that had several objects inside. They get one request per object.
    apart: BTreeSet<Key>,
    /// The last acknowledged version of each listener. It comes back if a later version is refused that needs its port.
    good: Good,
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
            wanted: Wanted::default(),
            dirty: BTreeSet::new(),
            all: true,
            stale: false,
            sweep: true,
            next_sweep: (Instant::now(), SWEEP),
            listen: true,
            readable: true,
            refusals: Refusals::new(),
            apart: BTreeSet::new(),
            good: Good::new(),
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
        self.apart.clear();
        let good = &self.good;
        self.refusals.retain(|key, _| key.kind == Kind::Listener && good.contains_key(&key.name));
    }

    /// Makes the next pass read everything back, because a request failed that may have been executed.
    pub(crate) fn doubt(&mut self) {
        self.stale = true;
    }

    /// Makes the next pass be about these resources too.
    pub(crate) fn touch(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.dirty.extend(keys);
    }

    /// Makes the next pass be about all resources.
    pub(crate) fn touch_all(&mut self) {
        self.all = true;
    }

    /// Returns when sessions must be looked at.
    pub(crate) fn sweep_due(&self) -> Option<Instant> {
        self.sweep.then_some(self.next_sweep.0)
    }

    /// Makes the proxy have the touched resources, and tells what came of them.
    ///
    /// # Errors
    /// Returns an error if the proxy can't be reached. The resources stay touched.
    pub(crate) async fn pass(
        &mut self,
        desired: &Desired,
        answers: impl Fn(Answer),
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut pass = Pass { desired, report, answers, doubtful: BTreeSet::new() };
        for _ in 0..ROUNDS {
            if self.stale {
                self.actual = read_back(&mut self.client).await?;
                (self.stale, self.all) = (false, true);
            }
            self.remake(&pass);
            let sessions = self.sessions().await?;
            let mut steps = steps::plan(&self.dirty, self.picture(desired, &sessions));
            // Only a proxy whose sessions can't be read has to end them itself, so it must be known before.
            if self.readable && !self.fragile && steps.iter().any(|step| step.action.ends_sessions()) {
                self.read_sessions().await?;
                let sessions = Sessions { recursive: !self.readable, ..sessions };
                steps = steps::plan(&self.dirty, self.picture(desired, &sessions));
            }
            if steps.is_empty() {
                break;
            }
            self.execute(steps, &mut pass).await?;
        }
        self.remake(&pass);
        for key in std::mem::take(&mut self.dirty) {
            self.tell(&key, &mut pass);
        }
        Ok(())
    }

    /// Makes the objects of the touched resources.
    fn remake(&mut self, pass: &Pass<'_, impl Fn(Answer)>) {
        if std::mem::take(&mut self.all) {
            self.wanted = Wanted::default();
            self.dirty.extend(pass.desired.keys());
            self.dirty.extend(self.actual.keys());
            self.dirty.extend(pass.report.keys().cloned());
        }
        let Self { actual, refusals, good, .. } = self;
        let ground = Ground { desired: pass.desired, actual, refusals, good };
        making::remake(&mut self.wanted, &mut self.dirty, ground);
    }

    fn picture<'a>(&'a self, desired: &'a Desired, sessions: &'a Sessions) -> Picture<'a> {
        Picture { desired, wanted: &self.wanted, actual: &self.actual, sessions, apart: &self.apart }
    }

    /// Executes steps. Those of a resource end with its first refusal, except for endpoints, which don't need each other.
    async fn execute(&mut self, steps: Vec<Step>, pass: &mut Pass<'_, impl Fn(Answer)>) -> Result<(), Error> {
        let mut failed = BTreeSet::new();
        for step in steps {
            let skipped = step.owner.kind != Kind::Endpoints && failed.contains(&step.owner);
            if skipped || !self.actual.is_safe(&step.action) {
                continue;
            }
            match self.client.send(&step.action.request(&self.actual.lists)).await {
                Ok(answer) => self.confirmed(&step, answer, pass)?,
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
        pass: &mut Pass<'_, impl Fn(Answer)>,
    ) -> Result<(), Error> {
        tracing::debug!(proxy = %self.address, resource = %step.owner.name, action = ?step.action, "l7mp step done");
        if let Action::ReadList { .. } = &step.action {
            return self.actual.read_list(answer).map_err(unexpected);
        }
        self.actual.apply(&step.action);
        if step.action.ends_sessions() {
            self.sweep = true;
            self.next_sweep = (self.next_sweep.0.min(Instant::now() + SWEEP), SWEEP);
        }
        for inside in step.action.rules().iter().flat_map(|rule| &rule.inside) {
            self.tell(&Key::new(Kind::Cluster, inside.resource.clone()), pass);
            self.tell(&Key::new(Kind::Endpoints, inside.resource.clone()), pass);
        }
        self.tell(&step.owner, pass);
        if step.owner.kind == Kind::Cluster && !step.action.adds() {
            self.tell(&Key::new(Kind::Endpoints, step.owner.name.clone()), pass);
        }
        Ok(())
    }

    /// Passes on the news of a resource, and remembers acknowledged listeners.
    fn tell(&mut self, key: &Key, pass: &mut Pass<'_, impl Fn(Answer)>) {
        let Self { actual, refusals, good, .. } = self;
        let ground = Ground { desired: pass.desired, actual, refusals, good };
        let Some(answer) = pass.report.of(key, ground, &self.wanted) else { return };
        match &answer {
            Answer::Acked { ty: Kind::Listener, name, .. } => {
                let now = pass.desired.listeners.get(name);
                now.map(|now| self.good.insert(name.clone(), now.clone()));
            }
            Answer::Removed { name, .. } => {
                if key.kind == Kind::Listener {
                    self.good.remove(name);
                }
                self.refusals.remove(key);
                self.apart.remove(key);
            }
            _ => {}
        }
        (pass.answers)(answer);
    }

    /// Notes a refusal. Everything is read back before the next plan, because a refused request may have left objects.
    fn refused(&mut self, step: &Step, error: Error, pass: &mut Pass<'_, impl Fn(Answer)>) {
        tracing::warn!(proxy = %self.address, resource = %step.owner.name, %error, "l7mp proxy refused a step");
        self.stale = true;
        let Some(version) = pass.desired.version(&step.owner).filter(|_| step.action.adds()) else { return };
        if step.action.rules().iter().any(|rule| !rule.inside.is_empty()) {
            self.apart.insert(step.owner.clone());
            return;
        }
        // The picture was outdated, perhaps: the next plan knows better.
        let doubtful = matches!(error, Error::AlreadyDefined(_) | Error::Unknown(_));
        if !doubtful || !pass.doubtful.insert(step.owner.clone()) {
            self.refusals.insert(step.owner.clone(), (version, error.to_string()));
        }
    }

    /// Returns what a plan must know of sessions.
    async fn sessions(&mut self) -> Result<Sessions, Error> {
        let mut known = Sessions { recursive: !self.readable && !self.fragile, deaf: BTreeSet::new() };
        let connected = self.wanted.listeners.values().flatten().any(|made| made.connected);
        if std::mem::take(&mut self.listen) && connected {
            let sessions = self.read_sessions().await?;
            known.deaf =
                sessions.map(|all| sessions::deaf(&all, &self.wanted, &self.actual)).unwrap_or_default();
        }
        Ok(known)
    }

    /// Ends sessions that must end, and remembers whether some are left.
    ///
    /// # Errors
    /// Returns an error if the proxy can't be reached.
    pub(crate) async fn sweep(&mut self) -> Result<(), Error> {
        let (_, pause) = self.next_sweep;
        self.next_sweep = (Instant::now() + pause, (pause * 2).min(LONGEST_SWEEP));
        let Some(sessions) = self.read_sessions().await? else { return Ok(()) };
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
