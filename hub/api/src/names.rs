//! Names of a Plan's resources. They are qualified, so names need to be unique only within one custom resource.

use std::borrow::Cow;
use std::sync::Arc;

use crate::percent;

/// Maximum length of a user's name in a proxy, in bytes.
pub const MAX_PROXY_PART: usize = 253;

/// Punctuation that is kept in a proxy's resource names, in addition to ASCII letters and digits.
const PROXY_PUNCTUATION: &[u8] = b"!#$&()*+-./:;<=>?@[]^_{|}~";

/// The schema's pattern for names that reach a proxy unchanged, see [`is_plain`]. The length is checked separately.
pub const PLAIN_PATTERN: &str = r"^[!#$&()*+./0-9:;<=>?@A-Z\[\]^_a-z{|}~-]+$";

/// Returns the name of slice `index` of a group with `shards` slices: `<group>#<shards>.<index>`.
pub fn slice_name(group: &str, shards: usize, index: usize) -> Arc<str> {
    format!("{group}#{shards}.{index}").into()
}

/// Returns the group that a slice belongs to; the inverse of [`slice_name`]. Any other text is returned as a group's
/// name.
pub fn group_of_slice(slice: &str) -> &str {
    slice.rsplit_once('#').map_or(slice, |(group, _)| group)
}

/// Returns a slice's group, number of shards and index; the inverse of [`slice_name`]. `None` for any other text.
pub fn parse_slice(slice: &str) -> Option<(&str, usize, usize)> {
    let (group, place) = slice.rsplit_once('#')?;
    let (shards, index) = place.split_once('.')?;
    Some((group, shards.parse().ok().filter(|shards: &usize| shards.is_power_of_two())?, index.parse().ok()?))
}

/// Returns the index of the slice that an endpoint with this uid is in. `shards` is a power of two.
pub fn slice_of(uid: &str, shards: usize) -> usize {
    (xxhash_rust::xxh3::xxh3_64(uid.as_bytes()) as usize) & (shards - 1)
}

/// Returns the name of a Probe: `<pod uid>:<port>[<path>]`; the path includes its leading slash.
pub fn probe_name(uid: &str, port: u32, path: &str) -> Arc<str> {
    format!("{uid}:{port}{path}").into()
}

/// Returns the form of a user's listener or cluster name that proxies get, of at most [`MAX_PROXY_PART`] bytes.
///
/// Envoy writes such names into lists separated by `, ` and line breaks, and the agent parses these lists. So white
/// space, control characters, quotes, `,`, `\`, `%` and everything outside ASCII become `%XX`, the UTF-8 bytes in
/// hexadecimal digits. Two different names never get the same form. A form that is too long is cut, and ends with `%~`
/// and the name's hash.
pub fn proxy_part(name: &str) -> Cow<'_, str> {
    let whole = percent::encode(name, stays);
    if whole.len() <= MAX_PROXY_PART {
        return whole;
    }
    let end = format!("%~{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
    let most = MAX_PROXY_PART - end.len();
    // The cut never splits an escape.
    let cut = whole[..most].rfind('%').filter(|at| at + 3 > most).unwrap_or(most);
    Cow::Owned(format!("{}{end}", &whole[..cut]))
}

/// Returns whether a user's name holds only characters that are allowed in a proxy's names. Such a name of at most
/// [`MAX_PROXY_PART`] bytes reaches the proxy unchanged.
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(stays)
}

/// Returns whether the name of a proxy's resource holds only characters that [`proxy_part`] produces.
pub fn is_escaped(name: &str) -> bool {
    name.bytes().all(|byte| stays(byte) || byte == b'%')
}

fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || PROXY_PUNCTUATION.contains(&byte)
}

/// The key in an agent's node metadata that carries its watermark: the latest state of the hub that it has seen.
pub const WATERMARK_KEY: &str = "watermark";

/// The key in an agent's node metadata that carries the kinds of proxies that it runs under keepers, separated by
/// commas. Agents of version 0.1.0 don't send it, and run Envoys only.
pub const PROGRAMS_KEY: &str = "programs";

/// The key in an agent's node metadata that carries the names of its node's proxies, see [`crate::proxy_names`].
pub const PROXY_NAMES_KEY: &str = "proxy-names";

/// The annotation in which the hub writes the generation of an object that is applied.
pub const APPLIED_ANNOTATION: &str = "portreeve.dev/applied-generation";

/// The DNS name in the certificate of every hub replica, whatever the replica's address.
pub const HUB_NAME: &str = "portreeve-hub";

/// The audience of the tokens that agents present to the hub.
pub const HUB_AUDIENCE: &str = "portreeve-hub";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_qualified() {
        assert_eq!(&*slice_name("ns/app=w", 4, 3), "ns/app=w#4.3");
        assert_eq!(group_of_slice(&slice_name("ns/app=#w", 4, 3)), "ns/app=#w");
        assert_eq!(&*probe_name("u-1", 9, ""), "u-1:9");
        assert_eq!(&*probe_name("u-1", 80, "/live"), "u-1:80/live");
    }

    /// Returns the characters of a pattern that is one bracket expression.
    fn in_brackets(pattern: &str) -> Vec<u8> {
        let inner = pattern.strip_prefix("^[").unwrap().strip_suffix("]+$").unwrap().replace('\\', "");
        let bytes = inner.as_bytes();
        let mut all = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let range = bytes.get(at + 1) == Some(&b'-') && at + 2 < bytes.len();
            let last = if range { bytes[at + 2] } else { bytes[at] };
            all.extend(bytes[at]..=last);
            at += if range { 3 } else { 1 };
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn pattern_takes_the_characters_that_a_proxy_is_given_as_they_are() {
        let plain: Vec<u8> =
            (0..=127u8).filter(|byte| is_plain(std::str::from_utf8(&[*byte]).unwrap())).collect();
        assert_eq!(in_brackets(PLAIN_PATTERN), plain);
        assert!(!is_plain("é") && is_plain(""));
    }

    /// Decodes a form that was not cut.
    fn read_back(form: &str) -> String {
        let mut parts = form.split('%');
        let mut bytes = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn plain_names_reach_a_proxy_as_they_are() {
        let longest = "x".repeat(MAX_PROXY_PART);
        for name in ["ingress-rtp", "call_1.rtcp", "listener/cluster", "web:80", "a@b#1+2=3", &longest] {
            assert_eq!(proxy_part(name), name);
        }
    }

    #[test]
    fn other_names_are_escaped_so_that_they_can_be_read_back() {
        assert_eq!(proxy_part("z, A/ns/o/b"), "z%2C%20A/ns/o/b");
        assert_eq!(proxy_part("z%2C"), "z%252C");
        for name in ["a\nb", "é", "100%", "\u{1b}[31m", "\"'\\`", "a\u{2028}b\r\t", " ", "\u{1F600}", "\0"] {
            let form = proxy_part(name);
            assert!(form.bytes().all(|byte| byte.is_ascii_graphic()) && is_escaped(&form), "{form}");
            assert!(!is_plain(name) && (name == "100%" || !is_escaped(name)), "{name}");
            assert_eq!(read_back(&form), name);
        }
    }

    #[test]
    fn names_that_are_too_long_are_cut_and_stay_apart() {
        for body in ["x".repeat(254), "\u{1F600}".repeat(253), ", ".repeat(126), "é".repeat(200)] {
            let forms = ["a", "b"].map(|last| proxy_part(&format!("{body}{last}")).into_owned());
            assert_ne!(forms[0], forms[1]);
            for form in forms {
                assert!(form.len() <= MAX_PROXY_PART && form.len() > MAX_PROXY_PART - 15, "{}", form.len());
                let (kept, hash) = form.rsplit_once("%~").unwrap();
                assert_eq!(hash.len(), 16);
                assert!(kept.split('%').skip(1).all(|part| part.len() >= 2), "no escape is cut: {form}");
            }
        }
    }
}
