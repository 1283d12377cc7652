//! The public conformance suite ii/xds-test-harness, all of its 98 cases, over real streams: both variants, aggregated and
//! separate services.
//!
//! [`cases`] holds the tables of its features `subscribing`, `unsubscribing` and `delta`; [`client`] does what its client
//! does, [`target`] what its adapter does. The suite itself waits three seconds after each step and then checks. Here the
//! client waits until the expected state is there, and checks again when the server has nothing more to send. Responses
//! that only a timer causes are tested on the session alone (`tests/protocol/conformance`), with the test's own clock.

mod cases;
mod client;
mod pipe;
mod target;

use std::time::Duration;

use portreeve_xds::Variant::{self, Delta, Sotw};
use portreeve_xds::{Snapshot, View};
use tokio::time::timeout;

use crate::stand::{One, Stand};
use cases::{Case, Step};
use client::{Client, list};
use target::Target;

/// Limit of a step's wait. The suite waits three seconds.
const STEP: Duration = Duration::from_secs(10);

/// One running case.
struct Run<'a> {
    stand: &'a Stand,
    target: &'a mut Target,
    mode: (Variant, bool),
    client: Option<Client>,
}

// === impl Run ===

impl Run<'_> {
    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Setup(types, names) => {
                let each = types.iter().flat_map(|ty| list(names).into_iter().map(|name| (*ty, name)));
                self.target.put(each, "1");
                Ok(())
            }
            Step::Update(ty, name, version) | Step::Add(ty, name, version) => {
                self.catch_up().await?;
                self.target.put([(*ty, (*name).to_string())], version);
                Ok(())
            }
            Step::Remove(ty, name) => {
                self.catch_up().await?;
                self.target.remove(*ty, name);
                Ok(())
            }
            Step::Subscribe(ty, names) if self.client.is_none() => {
                let mut client = Client::open(&self.stand.sock, self.mode, (*ty, names)).await?;
                client.subscribe(*ty, names).await?;
                self.client = Some(client);
                Ok(())
            }
            Step::Subscribe(ty, names) => self.client()?.subscribe(*ty, names).await,
            Step::Narrow(ty, name) => self.client()?.narrow(*ty, name).await,
            Step::NoneLeft(ty) => self.client()?.leave_all(*ty).await,
            Step::Unsubscribe(ty, name) => self.client()?.unsubscribe(*ty, name).await,
            expectation => self.expect(expectation).await,
        }
    }

    /// Waits until the client has the expected state, receives all remaining responses, and checks again.
    async fn expect(&mut self, step: &Step) -> Result<(), String> {
        let version = self.target.version.clone();
        let client = self.client()?;
        if matches!(step, Step::Receives(..) | Step::Only(..) | Step::Removed(..)) {
            while met(client, step).is_err() {
                client.receive(&version).await?;
            }
        }
        client.catch_up(&version).await?;
        met(client, step)
    }

    /// Waits until the server has handled all requests so far.
    async fn catch_up(&mut self) -> Result<(), String> {
        let version = self.target.version.clone();
        self.client()?.catch_up(&version).await
    }

    fn client(&mut self) -> Result<&mut Client, String> {
        self.client.as_mut().ok_or_else(|| "the case begins without a subscription".to_string())
    }
}

/// Whether the client has the state that a step expects.
fn met(client: &Client, step: &Step) -> Result<(), String> {
    match step {
        Step::Receives(ty, names, version) => client.has(*ty, names, version),
        Step::Only(ty, name, version) => {
            client.has(*ty, name, version).and_then(|()| client.nothing_but(*ty, name))
        }
        Step::InOneResponse(ty, names) => client.in_one_response(*ty, names),
        Step::Alone(ty, name) => client.alone(*ty, name, false),
        Step::Apart(ty, name) => client.alone(*ty, name, true),
        Step::Removed(ty, name) => client.lost(*ty, name),
        Step::Without(ty, name) => client.lacks(*ty, name),
        Step::Never(ty) => client.nothing_but(*ty, ""),
        Step::Quiet => client.no_ack_was_answered(),
        _ => Err("not an expectation".into()),
    }
}

/// Runs one case. The error names the step that failed.
async fn run(stand: &Stand, target: &mut Target, mode: (Variant, bool), case: &Case) -> Result<(), String> {
    let mut run = Run { stand, target, mode, client: None };
    for step in &case.steps {
        match timeout(STEP, run.take(step)).await {
            Ok(Ok(())) => {}
            Ok(Err(text)) => return Err(format!("{}: {step:?}: {text}", case.name)),
            Err(_) => {
                let text = run.client.as_ref().and_then(|client| met(client, step).err());
                return Err(format!("{}: {step:?}: waited too long: {text:?}", case.name));
            }
        }
    }
    Ok(())
}

/// Returns how many cases of a variant pass. The others are added to `failed`.
async fn passed(mode: (Variant, bool), failed: &mut Vec<String>) -> usize {
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("temporary directory: {error}"));
    let stand = Stand::start(dir.path(), One::new(View::new(Snapshot::new())));
    let mut target = Target::new(stand.source.view.clone());
    let mut count = 0;
    for case in cases::of(mode.0, mode.1) {
        match run(&stand, &mut target, mode, &case).await {
            Ok(()) => count += 1,
            Err(text) => failed.push(format!("{mode:?}: {text}")),
        }
        target.clear();
    }
    stand.stop().await;
    count
}

#[tokio::test]
async fn all_98_cases_of_the_public_suite_pass() {
    let mut failed = Vec::new();
    let mut counts = Vec::new();
    for mode in [(Sotw, false), (Sotw, true), (Delta, false), (Delta, true)] {
        counts.push(passed(mode, &mut failed).await);
    }
    assert!(
        failed.is_empty(),
        "{} passed, {} failed:\n{}",
        counts.iter().sum::<usize>(),
        failed.len(),
        failed.join("\n")
    );
    assert_eq!((counts.iter().sum::<usize>(), counts), (98, vec![24, 26, 22, 26]));
}
