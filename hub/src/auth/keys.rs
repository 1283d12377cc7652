//! The token issuer's public keys ([`Keys`]), which verify agents while the API server is unreachable.
//!
//! Signatures are verified with ring, which TLS uses already. The JWT library for Rust depends either on another
//! cryptography library or on an RSA implementation with an open advisory, and only the few lines here are needed. The
//! algorithm is determined by the key, never by the token.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

use super::claims::Parts;
use super::refusal::Refusal;

/// Maximum number of keys. An issuer has a handful.
const MOST: usize = 64;

/// The issuer and its keys at the time of one fetch.
#[derive(Debug)]
pub struct Keys {
    issuer: String,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Curve { algorithm: &'static str, point: Vec<u8> },
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// The result of checking a token's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// One of the issuer's keys signed the token.
    Good,
    /// The token's key id is unknown. The key may be newer than the last fetch.
    UnknownKey,
    /// The signature is wrong, for this reason.
    Bad(&'static str),
}

// === impl Keys ===

impl Keys {
    /// Reads an issuer's keys from its JSON Web Key Set. Keys of unknown types are skipped.
    ///
    /// # Errors
    /// Returns an error if the text is not a key set.
    pub fn read(issuer: impl Into<String>, set: &str) -> Result<Self, String> {
        let set: Set = serde_json::from_str(set).map_err(|error| format!("no key set: {error}"))?;
        let keys: Vec<Key> = set.keys.iter().take(MOST).filter_map(Key::of).collect();
        match keys.is_empty() {
            true => Err("a key set without a key for signatures".into()),
            false => Ok(Self { issuer: issuer.into(), keys }),
        }
    }

    /// Checks a token's signature.
    pub fn signature(&self, parts: &Parts<'_>) -> Signature {
        let named: Vec<&Key> = self.keys.iter().filter(|key| key.id == parts.key).collect();
        if named.is_empty() {
            return Signature::UnknownKey;
        }
        match named.iter().any(|key| key.verifies(parts)) {
            true => Signature::Good,
            false => Signature::Bad("it is not the issuer's"),
        }
    }

    /// Verifies with the fetched keys alone that the issuer signed a token. The claims are checked elsewhere.
    ///
    /// # Errors
    /// Returns an error if the token has another issuer, or isn't signed by one of the keys.
    pub fn prove(&self, parts: &Parts<'_>) -> Result<(), Refusal> {
        if parts.claims.iss != self.issuer {
            return Err(Refusal::Forged("it is another issuer's"));
        }
        match self.signature(parts) {
            Signature::Good => Ok(()),
            Signature::UnknownKey => Err(Refusal::Unknown(
                "its key is not among those that were fetched before the API server went away".into(),
            )),
            Signature::Bad(why) => Err(Refusal::Forged(why)),
        }
    }
}

// === impl Key ===

impl Key {
    fn of(jwk: &Jwk) -> Option<Self> {
        let bytes = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { n: bytes(&jwk.n)?, e: bytes(&jwk.e)? },
            ("EC", Some(curve)) => {
                let algorithm = match curve {
                    "P-256" => "ES256",
                    "P-384" => "ES384",
                    _ => return None,
                };
                // An uncompressed point.
                Material::Curve { algorithm, point: [vec![4], bytes(&jwk.x)?, bytes(&jwk.y)?].concat() }
            }
            _ => return None,
        };
        Some(Self { id: jwk.kid.clone(), material })
    }

    fn verifies(&self, parts: &Parts<'_>) -> bool {
        let signed = parts.signed.as_bytes();
        match &self.material {
            Material::Rsa { n, e } => rsa(&parts.algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, &parts.signature).is_ok()
            }),
            Material::Curve { algorithm, point } => {
                let agreed = *algorithm == parts.algorithm;
                agreed
                    && UnparsedPublicKey::new(curve(algorithm), point)
                        .verify(signed, &parts.signature)
                        .is_ok()
            }
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    match algorithm {
        "RS256" => Some(&RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Some(&RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Some(&RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

fn curve(algorithm: &str) -> &'static EcdsaVerificationAlgorithm {
    match algorithm {
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        _ => &ECDSA_P256_SHA256_FIXED,
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    fn pair() -> EcdsaKeyPair {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap()
    }

    fn keys(pair: &EcdsaKeyPair) -> Keys {
        let point = pair.public_key().as_ref();
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (text(&point[1..33]), text(&point[33..]));
        let set = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y},
            {"kty": "OKP", "crv": "Ed25519", "kid": "other", "x": x},
        ]});
        Keys::read("issuer", &set.to_string()).unwrap()
    }

    fn token(pair: &EcdsaKeyPair, header: serde_json::Value, issuer: &str) -> String {
        let text = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(header), text(json!({"exp": 1, "iss": issuer})));
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn judged(keys: &Keys, token: &str) -> Result<(), &'static str> {
        keys.prove(&Parts::read(token).unwrap()).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn only_the_issuers_own_signature_is_good() {
        let (ours, theirs) = (pair(), pair());
        let keys = keys(&ours);
        let header = || json!({"alg": "ES256", "kid": "k"});
        let good = token(&ours, header(), "issuer");
        assert_eq!(judged(&keys, &good), Ok(()));
        assert_eq!(judged(&keys, &token(&theirs, header(), "issuer")), Err("forged"));
        assert_eq!(judged(&keys, &token(&ours, header(), "elsewhere")), Err("forged"));
        let mut altered = good.into_bytes();
        let middle = altered.len() / 2;
        altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert!(Parts::read(&altered).is_err() || judged(&keys, &altered).is_err());
    }

    #[test]
    fn algorithm_is_the_keys_and_not_the_tokens_word() {
        let ours = pair();
        for algorithm in ["none", "HS256", "RS256", "ES384", ""] {
            let token = token(&ours, json!({"alg": algorithm, "kid": "k"}), "issuer");
            assert_eq!(judged(&keys(&ours), &token), Err("forged"), "{algorithm}");
        }
    }

    #[test]
    fn unknown_key_is_no_forgery_yet() {
        let ours = pair();
        for header in [json!({"alg": "ES256", "kid": "newer"}), json!({"alg": "ES256"})] {
            assert_eq!(judged(&keys(&ours), &token(&ours, header, "issuer")), Err("unknown"));
        }
    }

    #[test]
    fn set_without_a_usable_key_is_refused() {
        for set in
            ["", "{}", r#"{"keys": []}"#, r#"{"keys": [{"kty": "OKP"}, {"kty": "EC", "crv": "P-256"}]}"#]
        {
            assert!(Keys::read("issuer", set).is_err(), "{set}");
        }
    }
}
