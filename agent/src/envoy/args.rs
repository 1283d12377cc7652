//! Envoy's command line.

use std::ffi::OsString;
use std::path::Path;

/// The arguments of an Envoy with the given bootstrap, base id, worker threads and drain time, `extra` last so that they win.
///
/// There is no `--log-path`: the log goes to standard error, which its parent opens for appending and can bound.
pub fn arguments(
    bootstrap: &Path,
    base_id: u32,
    concurrency: u32,
    drain_s: u32,
    extra: &[String],
) -> Vec<OsString> {
    let numbers = [("--base-id", base_id), ("--concurrency", concurrency), ("--drain-time-s", drain_s)];
    let numbers = numbers.into_iter().flat_map(|(flag, value)| [flag.into(), value.to_string().into()]);
    let config = ["-c".into(), bootstrap.as_os_str().to_owned()];
    config.into_iter().chain(numbers).chain(extra.iter().map(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::arguments;

    #[test]
    fn extra_arguments_come_last() {
        let arguments = arguments(Path::new("/d/bootstrap.json"), 7, 2, 5, &["-l".into(), "debug".into()]);
        let text: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        let expected = "-c /d/bootstrap.json --base-id 7 --concurrency 2 --drain-time-s 5 -l debug";
        assert_eq!(text.join(" "), expected);
    }
}
