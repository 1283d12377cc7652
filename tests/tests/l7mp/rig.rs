//! One real proxy with its driver ([`Rig`]). Tests run inside the proxy's network namespace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use portreeve_l7mp::{Answer, Changes, Desired, Sender, Target, Timing, channel};
use portreeve_tests::l7mp::{Proxy, Settings};
use portreeve_tests::netns::Netns;
use portreeve_tests::wait;
use portreeve_xds::Name;
use tokio::task::JoinSet;

/// Long, because the machine may be busy.
pub const BOUND: Duration = Duration::from_secs(40);
/// The interval of reading back: short, so that tests of it don't take long.
const DRIFT: Duration = Duration::from_millis(500);
/// The interval of reading back in tests that count requests: longer than the test.
const NO_DRIFT: Duration = Duration::from_secs(600);

/// A proxy, and the driver that works on it.
pub struct Rig {
    pub proxy: Proxy,
    pub namespace: Netns,
    sender: Sender,
    /// What was sent so far.
    desired: Mutex<Desired>,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// The driver ends with it.
    _driver: JoinSet<()>,
}

/// Returns the changes from one state to another.
fn changes<T: Clone + PartialEq>(
    before: &BTreeMap<Name, T>,
    after: &BTreeMap<Name, T>,
) -> BTreeMap<Name, Option<T>> {
    let new = after.iter().filter(|(name, one)| before.get(*name) != Some(*one));
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), None));
    new.map(|(name, one)| (name.clone(), Some(one.clone()))).chain(gone).collect()
}

// === impl Rig ===

impl Rig {
    /// Starts a proxy and runs `test` inside its namespace, with a driver that often reads back.
    pub fn run(settings: Settings, test: impl AsyncFnOnce(Self) -> Result<()> + Send) -> Result<()> {
        Self::run_with(settings, DRIFT, test)
    }

    /// Like [`Rig::run`], with a driver that reads back at connects only.
    pub fn run_calm(settings: Settings, test: impl AsyncFnOnce(Self) -> Result<()> + Send) -> Result<()> {
        Self::run_with(settings, NO_DRIFT, test)
    }

    fn run_with(
        settings: Settings,
        drift: Duration,
        test: impl AsyncFnOnce(Self) -> Result<()> + Send,
    ) -> Result<()> {
        let namespace = Netns::new("l7mp")?;
        let proxy = Proxy::start(&namespace, settings)?;
        namespace.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                proxy.wait_ready().await?;
                test(Self::drive(proxy, namespace.clone(), drift)).await
            })
        })?
    }

    fn drive(proxy: Proxy, namespace: Netns, drift: Duration) -> Self {
        let (sender, receiver) = channel();
        sender.replace(Desired::default());
        let target = Target { address: proxy.address(), timing: Timing { drift, ..Timing::default() } };
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let told = answers.clone();
        let mut driver = JoinSet::new();
        driver.spawn(portreeve_l7mp::run(target, receiver, move |answer| {
            told.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        }));
        Self { proxy, namespace, sender, desired: Mutex::default(), answers, _driver: driver }
    }

    /// Sets the desired state by sending its changes, and forgets the answers so far.
    pub fn want(&self, desired: &Desired) {
        self.forget();
        let mut sent = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        self.sender.change(Changes {
            clusters: changes(&sent.clusters, &desired.clusters),
            listeners: changes(&sent.listeners, &desired.listeners),
            insertions: changes(&sent.insertions, &desired.insertions),
            keep_all: (sent.keep_all != desired.keep_all).then_some(desired.keep_all),
        });
        sent.clone_from(desired);
    }

    /// Forgets the answers so far.
    pub fn forget(&self) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the answers so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the desired state, and waits until every resource that is new or changed was acknowledged.
    pub async fn apply(&self, desired: &Desired, changed: usize) -> Result<()> {
        self.want(desired);
        self.acked(changed).await
    }

    /// Waits for this number of acknowledged resources.
    pub async fn acked(&self, number: usize) -> Result<()> {
        let acked = || {
            self.answers().iter().filter(|answer| matches!(answer, Answer::Acked { .. })).count() >= number
        };
        let waited = wait::until(&format!("{number} acknowledged resources"), BOUND, async || acked()).await;
        waited.map_err(|error| error.context(format!("{:?}", self.answers())))
    }

    /// Waits for an answer.
    pub async fn told(&self, what: &str, wanted: impl Fn(&Answer) -> bool) -> Result<Answer> {
        let found = || self.answers().into_iter().find(|answer| wanted(answer));
        let waited = wait::eventually(what, BOUND, async || found()).await;
        waited.map_err(|error| error.context(format!("{:?}", self.answers())))
    }

    /// Returns an address of the proxy.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.namespace.v4(), port)
    }
}
