//! Statistics from an Envoy's admin interface. Entry point: [`text`].

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use super::admin;

/// Maximum size of one proxy's answer in bytes: 20,000 samples of 200 bytes.
pub const LONGEST: usize = 4 << 20;

/// A prefix of names of Envoy's statistics, as in its documentation, for example `cluster.` or `udp.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// Returns the statistics with one of these prefixes from an Envoy's admin interface, within a second.
///
/// # Errors
/// Returns an error if a prefix is invalid, or if there is no valid answer.
pub async fn text(socket: &Path, chosen: &[impl AsRef<str>]) -> io::Result<String> {
    let path = path(chosen).map_err(io::Error::other)?;
    let body = admin::get(socket, &path, LONGEST).await?;
    String::from_utf8(body.into()).map_err(io::Error::other)
}

/// Returns the path of the request. Envoy's filter is a pattern that may match any part of a name.
fn path(chosen: &[impl AsRef<str>]) -> Result<String, String> {
    let escaped = chosen.iter().map(|prefix| Ok(prefix.as_ref().parse::<Prefix>()?.0.replace('.', "%5C.")));
    let escaped: Vec<_> = escaped.collect::<Result<_, String>>()?;
    Ok(format!("/stats/prometheus?filter=%5E%28{}%29", escaped.join("%7C")))
}

// === impl Prefix ===

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Prefix {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        match !text.is_empty() && text.chars().all(fits) {
            true => Ok(Self(text.to_owned())),
            false => {
                Err(format!("{text:?} is no beginning of a name: letters, digits and . _ - / may be in it"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_what_they_read_and_nothing_of_a_pattern_gets_through() {
        for text in ["cluster.", "udp.A/default/one", "server.live", "http.in-gress_1"] {
            assert_eq!(text.parse::<Prefix>().map(|prefix| prefix.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "a b", "a|b", ".*", "a&text", "%2e"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let asked = path(&["udp.", "server.live"]).unwrap();
        assert_eq!(asked, "/stats/prometheus?filter=%5E%28udp%5C.%7Cserver%5C.live%29");
        assert!(path(&["udp.", ".*"]).is_err());
    }
}
