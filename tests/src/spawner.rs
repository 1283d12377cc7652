//! A thread that starts all children.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, not when the process does. A child started from a
//! short-lived thread (inside a network namespace, or of the runtime's blocking pool) would be killed with the thread,
//! so every child is forked by one thread that lives as long as the process.

use std::io;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};

/// A request to the thread: the command, and the channel for the child.
type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// The channel to the thread. It is process-wide because the thread must outlive every caller.
static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

/// Starts `command`. The kernel kills the child when this process ends.
///
/// Only program, arguments, environment and working directory are taken from `command`; everything else is set by
/// `stdio`.
///
/// # Errors
/// Returns the errors of [`Command::spawn`]. For a missing program, the child's exit status is 127, because `setpriv`
/// starts it.
pub fn spawn(command: &Command, stdio: impl FnOnce(&mut Command)) -> io::Result<Child> {
    let mut dying = dying_with_us(command);
    stdio(&mut dying);
    let (reply, answer) = mpsc::sync_channel(1);
    let orders = ORDERS.get_or_init(open);
    orders.send((dying, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

/// Returns the command under `setpriv --pdeathsig KILL`, which executes it, so the pid is the command's.
fn dying_with_us(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

/// Starts the thread.
fn open() -> mpsc::Sender<Order> {
    let (orders, book) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in book {
            // If the caller's thread was ended meanwhile, the child isn't needed either.
            if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                let _ = child.kill();
            }
        }
    });
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let asking = std::thread::spawn(|| {
            spawn(Command::new("sleep").arg("60"), |c| {
                c.stdin(Stdio::null());
            })
        });
        let mut child = asking.join().unwrap().unwrap();
        let early = crate::wait::wait_until("an early end", std::time::Duration::from_millis(100), || {
            child.try_wait().unwrap().is_some()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(early.is_err(), "killed with its asker");
    }

    #[test]
    fn environment_and_directory_reach_the_child() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $COLOUR; pwd"]).env("COLOUR", "blue").current_dir("/");
        let child = spawn(&command, |c| {
            c.stdout(Stdio::piped());
        })
        .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "blue\n/\n");
    }
}
