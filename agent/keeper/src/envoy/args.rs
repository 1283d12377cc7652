//! Envoy's command line.

use std::ffi::OsString;
use std::path::Path;

/// The identity of an Envoy among those in its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The base id, shared only with the Envoys of the same proxy.
    pub base_id: u32,
    /// The restart epoch: zero, or one more than that of the Envoy that it hot-restarts from.
    pub epoch: u32,
    /// How long the previous Envoy keeps running after this one is live, in seconds. Ignored in epoch 0.
    pub overlap_s: u32,
}

/// Returns Envoy's arguments for this bootstrap, place, number of worker threads and drain time, with `extra` last.
///
/// There is no `--log-path`: the log goes to standard error, which the parent opens for appending and can rotate.
pub fn arguments(
    bootstrap: &Path,
    place: Place,
    concurrency: u32,
    drain_s: u32,
    extra: &[String],
) -> Vec<OsString> {
    let always = [("--base-id", place.base_id), ("--concurrency", concurrency), ("--drain-time-s", drain_s)];
    let later = [("--restart-epoch", place.epoch), ("--parent-shutdown-time-s", place.overlap_s)];
    let numbers = always.into_iter().chain(later.into_iter().filter(|_| place.epoch > 0));
    let numbers = numbers.flat_map(|(flag, value)| [flag.into(), value.to_string().into()]);
    let config = ["-c".into(), bootstrap.as_os_str().to_owned()];
    config.into_iter().chain(numbers).chain(extra.iter().map(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Place, arguments};

    #[test]
    fn extra_arguments_come_last_and_only_a_later_epoch_names_itself() {
        let text = |epoch| {
            let place = Place { base_id: 7, epoch, overlap_s: 6 };
            let all = arguments(Path::new("/d/bootstrap.json"), place, 2, 5, &["-l".into(), "debug".into()]);
            all.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        let first = "-c /d/bootstrap.json --base-id 7 --concurrency 2 --drain-time-s 5";
        assert_eq!(text(0), format!("{first} -l debug"));
        assert_eq!(text(3), format!("{first} --restart-epoch 3 --parent-shutdown-time-s 6 -l debug"));
    }
}
