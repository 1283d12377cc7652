//! ServiceAccount tokens: reading their claims ([`claims`]), and signing tokens that no server issued ([`sign`]).

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Returns the claims of a token.
///
/// # Errors
/// Returns an error if the text is not a token.
pub fn claims(token: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part(token, 1)?)?)?)
}

/// Returns the key id in a token's header.
///
/// # Errors
/// Returns an error if the text is not a token.
pub fn key_of(token: &str) -> Result<String> {
    let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part(token, 0)?)?)?;
    Ok(header["kid"].as_str().context("a header without kid")?.to_owned())
}

/// Signs claims with a private key (ECDSA P-256, PKCS#8 in PEM), with a key id computed as by the API server.
///
/// # Errors
/// Returns an error if the key is invalid.
pub fn sign(key: &str, claims: &Value) -> Result<String> {
    let public = KeyPair::from_pem(key)?.subject_public_key_info();
    sign_as(key, &BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(public)), claims)
}

/// Like [`sign`], with another key id.
///
/// # Errors
/// See [`sign`].
pub fn sign_as(key: &str, name: &str, claims: &Value) -> Result<String> {
    let (pair, random) = (KeyPair::from_pem(key)?, SystemRandom::new());
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &random)
        .map_err(|error| anyhow!("the signing key: {error}"))?;
    let text = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", text(&json!({"alg": "ES256", "kid": name})), text(claims));
    let signature = pair.sign(&random, signed.as_bytes()).map_err(|_| anyhow!("no signature"))?;
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

fn part(token: &str, index: usize) -> Result<&str> {
    token.split('.').nth(index).context("a token has three parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_claims_are_read_back_under_the_keys_name() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let signed = sign(&key, &json!({"exp": 7})).unwrap();
        assert_eq!(claims(&signed).unwrap(), json!({"exp": 7}));
        let under = sign_as(&key, &key_of(&signed).unwrap(), &json!({})).unwrap();
        assert_eq!(key_of(&under).unwrap(), key_of(&signed).unwrap());
        assert!(claims("x").is_err());
    }
}
