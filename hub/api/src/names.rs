//! Names of the plan's resources: qualified, so that nothing has to be unique across custom resources.

use std::borrow::Cow;
use std::sync::Arc;

use crate::percent;

/// Longest form of a user's name in a proxy, bytes.
pub const MAX_PROXY_PART: usize = 253;

/// Punctuation that a user's name keeps in a proxy, beside ASCII letters and digits.
const PROXY_PUNCTUATION: &[u8] = b"!#$&()*+-./:;<=>?@[]^_{|}~";

/// The pattern of a CRD's schema for names that reach a proxy as they are, see [`is_plain`]; it says nothing of the length.
pub const PLAIN_PATTERN: &str = r"^[!#$&()*+./0-9:;<=>?@A-Z\[\]^_a-z{|}~-]+$";

/// The name of slice `index` of a group that is cut into `shards`: `<group>#<shards>.<index>`.
pub fn slice_name(group: &str, shards: usize, index: usize) -> Arc<str> {
    format!("{group}#{shards}.{index}").into()
}

/// The group whose slice this is, the inverse of [`slice_name`]; a text that is no slice's name is taken for a group's.
pub fn group_of_slice(slice: &str) -> &str {
    slice.rsplit_once('#').map_or(slice, |(group, _)| group)
}

/// The name of a Probe: `<pod uid>:<port>[<path>]`, the path with its leading slash.
pub fn probe_name(uid: &str, port: u32, path: &str) -> Arc<str> {
    format!("{uid}:{port}{path}").into()
}

/// A user's name of a listener or cluster as the proxies know it, at most [`MAX_PROXY_PART`] bytes.
///
/// Envoy writes such names into lists separated by `, ` and line breaks, which are read again. So white space, control
/// characters, quotes, `,`, `\`, `%` and all that is not ASCII become `%XX`, the bytes of UTF-8 in hexadecimal digits; no
/// two names have one form. A form that is too long is cut, and ends with `%~` and the hash of the name.
pub fn proxy_part(name: &str) -> Cow<'_, str> {
    let whole = percent::encode(name, stays);
    if whole.len() <= MAX_PROXY_PART {
        return whole;
    }
    let end = format!("%~{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
    let most = MAX_PROXY_PART - end.len();
    // An escape is kept whole or not at all.
    let cut = whole[..most].rfind('%').filter(|at| at + 3 > most).unwrap_or(most);
    Cow::Owned(format!("{}{end}", &whole[..cut]))
}

/// Whether a user's name holds only characters that a proxy's names may hold. Such a name of at most [`MAX_PROXY_PART`] bytes
/// reaches the proxy as it is.
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(stays)
}

/// Whether a name of a proxy's resource holds only characters of the forms that [`proxy_part`] gives.
pub fn is_escaped(name: &str) -> bool {
    name.bytes().all(|byte| stays(byte) || byte == b'%')
}

fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || PROXY_PUNCTUATION.contains(&byte)
}

/// Key in an agent's node metadata under which it tells the hub how far it has seen (the hub's watermark).
pub const WATERMARK_KEY: &str = "watermark";

/// The name that the certificate of every hub replica is good for, whatever its address.
pub const HUB_NAME: &str = "portreeve-hub";

/// The audience of the tokens that agents show to the hub.
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

    /// The characters in a pattern of one bracket expression.
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

    /// The inverse of a form that was not cut.
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
