//! Judges the content of TLS Secrets ([`flaw`]). The reasons quote nothing of it.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// The key of a Secret that holds a certificate chain.
const CERTIFICATE: &str = "tls.crt";
/// The key of a Secret that holds the certificate's private key.
const PRIVATE_KEY: &str = "tls.key";

/// Returns why a key of a Secret can't be used, as the end of a sentence about the Secret; `None` if it can. `content` returns
/// the content of the Secret's keys.
pub(super) fn flaw<'c>(key: &str, content: impl Fn(&str) -> Option<&'c [u8]>) -> Option<String> {
    let judged = match content(key) {
        None => return Some(format!("has no key {key}")),
        Some([]) => Err("is empty"),
        Some(value) if key == PRIVATE_KEY => {
            fits(value, content(CERTIFICATE).and_then(|value| certificates(value).ok()))
        }
        Some(value) => certificates(value).map(drop),
    };
    judged.err().map(|reason| format!("has a key {key} that {reason}"))
}

/// Reads certificates in PEM.
fn certificates(value: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(value).collect();
    read.ok().filter(|found| !found.is_empty()).ok_or("holds no certificate in PEM")
}

/// Returns an error if the value is no private key in PEM, or not the key of the first certificate of the chain. Without a
/// chain only the former is checked.
fn fits(value: &[u8], chain: Option<Vec<CertificateDer<'static>>>) -> Result<(), &'static str> {
    let key = PrivateKeyDer::from_pem_slice(value).map_err(|_| "holds no private key in PEM")?;
    let key = any_supported_type(&key).map_err(|_| "holds a private key of an unknown type")?;
    let Some(chain) = chain else { return Ok(()) };
    match CertifiedKey::new(chain, key).keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err("is not the key of tls.crt")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, generate_simple_self_signed};

    use super::*;

    /// A Secret's content, one of its keys, and what is told of the key.
    type Case<'c> = (&'c [(&'c str, &'c str)], &'c str, Option<&'c str>);

    #[test]
    fn missing_empty_and_wrong_keys_are_told_apart_and_named() {
        let made = generate_simple_self_signed(["web".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        let whole: &[(&str, &str)] = &[("tls.crt", &cert), ("tls.key", &key), ("ca.crt", &cert)];
        let cases: [Case<'_>; 10] = [
            (whole, "tls.crt", None),
            (whole, "tls.key", None),
            (whole, "ca.crt", None),
            (&[], "tls.crt", Some("has no key tls.crt")),
            (&[("tls.crt", "")], "tls.crt", Some("has a key tls.crt that is empty")),
            (&[("tls.crt", "x")], "tls.crt", Some("has a key tls.crt that holds no certificate in PEM")),
            (&[("ca.crt", &key)], "ca.crt", Some("has a key ca.crt that holds no certificate in PEM")),
            (&[("tls.key", &cert)], "tls.key", Some("has a key tls.key that holds no private key in PEM")),
            (
                &[("tls.crt", &cert), ("tls.key", &other)],
                "tls.key",
                Some("has a key tls.key that is not the key of tls.crt"),
            ),
            (&[("tls.crt", "x"), ("tls.key", &key)], "tls.key", None),
        ];
        for (data, key, told) in cases {
            let content =
                |key: &str| data.iter().find(|(name, _)| *name == key).map(|(_, text)| text.as_bytes());
            assert_eq!(flaw(key, content).as_deref(), told, "{key}");
        }
    }
}
