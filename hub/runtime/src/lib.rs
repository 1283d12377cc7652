//! What every process of the workspace needs: logs, output, named tasks, watches, readiness, metrics, traces, shutdown.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod admin;
pub mod apart;
mod arrivals;
pub mod client;
pub mod clock;
mod histogram;
pub mod liveness;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod out;
pub mod process;
pub mod ready;
pub mod shutdown;
pub mod socket;
mod span;
pub mod tasks;
pub mod traces;
pub mod watch;

pub use client::client;
pub use clock::now_ms;
pub use liveness::{Heart, Liveness};
pub use metrics::Metrics;
pub use ready::{Guard, Readiness};
pub use shutdown::Shutdown;
pub use tasks::Tasks;
pub use traces::Traces;

use std::process::ExitCode;

use tokio::runtime::Builder;

/// The most threads of [`block_on_few`].
const MOST_THREADS: usize = 4;

/// Runs a process's work on a runtime with a thread for each processor, and returns its exit code as [`finish`] does.
pub fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    run_on(Builder::new_multi_thread(), work)
}

/// Does the same on half as many threads, but at most four. Idle threads that look for work cost a process whose work comes
/// in many small pieces more than they take off it.
pub fn block_on_few(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads((processors / 2).clamp(1, MOST_THREADS));
    run_on(builder, work)
}

fn run_on(mut builder: Builder, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::note(format_args!("error: the runtime can't start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(work);
    // Blocking work that still runs, such as a DNS look-up, must not delay the exit.
    runtime.shutdown_background();
    finish(outcome)
}

/// Returns the exit code of a process's work. An error is printed with all its causes. If standard output's reader is gone
/// ([`out::ReaderGone`]), nothing is printed and the code is 141, which shells know from SIGPIPE.
pub fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<out::ReaderGone>() => out::BROKEN_PIPE.into(),
        Err(error) => {
            out::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
