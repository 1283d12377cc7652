//! The certificate that the hubs create themselves ([`Material`]): its content, when it must be renewed
//! ([`Material::due`]), and its renewal. This module uses no clock and no API server.
//!
//! The CA is renewed in two steps, so that an agent which hasn't read the new CA yet still trusts the hub. First, the
//! new CA is published together with the old one, and the old one signs a last certificate. The next certificate, two
//! months later, is signed by the new CA.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use portreeve_api::names::HUB_NAME;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

/// Validity of a CA and of a certificate, in days.
const AUTHORITY_DAYS: i64 = 3650;
const SERVING_DAYS: i64 = 90;

const DAY: i64 = 86_400;

/// How much earlier than now the validity begins, in seconds, because clocks differ.
const EARLIER: i64 = 3600;

/// All data that the hubs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// The trusted CA certificates in PEM, the newest first.
    pub authorities: String,
    /// The newest CA's private key in PEM.
    pub authority_key: String,
    /// The serving certificate in PEM.
    pub certificate: String,
    /// The serving certificate's private key in PEM.
    pub key: String,
    /// Validity periods and names.
    pub terms: Terms,
}

/// Data that is stored with the certificates, so that they needn't be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Validity of the newest CA.
    pub authority: Life,
    /// Validity of the serving certificate.
    pub serving: Life,
    /// Names in the serving certificate.
    pub names: BTreeSet<String>,
}

/// A validity period, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub until: i64,
}

/// The renewal that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A new serving certificate.
    Serving,
    /// A new CA, and a last serving certificate signed by the old one.
    Authority,
}

/// The trusted CA certificates and the newest CA's private key, in PEM.
struct Authority {
    certificates: String,
    key: String,
}

// === impl Life ===

impl Life {
    fn of_days(days: i64, now: i64) -> Self {
        Self { from: now - EARLIER, until: now + days * DAY }
    }

    /// Returns whether less than a third of the period is left.
    fn ends(self, now: i64) -> bool {
        (self.until - now) * 3 < self.until - self.from
    }
}

// === impl Material ===

impl Material {
    /// Creates a new CA and its first certificate for [`HUB_NAME`] and `names`.
    ///
    /// # Errors
    /// Returns an error if a name isn't allowed in a certificate.
    pub fn new(names: &BTreeSet<String>, now: i64) -> anyhow::Result<Self> {
        let (authorities, authority_key, authority) = new_authority(now)?;
        let key = KeyPair::from_pem(&authority_key)?;
        let held = Authority { certificates: authorities, key: authority_key };
        Self::signed(held, key, Terms::new(authority, names, now))
    }

    /// Returns the renewal that is due at `now` for hubs with these names.
    pub fn due(&self, names: &BTreeSet<String>, now: i64) -> Due {
        if self.terms.authority.ends(now) {
            return Due::Authority;
        }
        let covered = names.is_subset(&self.terms.names);
        if self.terms.serving.ends(now) || !covered { Due::Serving } else { Due::Nothing }
    }

    /// Renews the certificates. Existing names are kept, because another hub may need them.
    ///
    /// # Errors
    /// Returns an error if a key can't be parsed, or a name isn't allowed in a certificate.
    pub fn renewed(&self, due: Due, names: &BTreeSet<String>, now: i64) -> anyhow::Result<Self> {
        let names: BTreeSet<String> = self.terms.names.union(names).cloned().collect();
        let old = KeyPair::from_pem(&self.authority_key).context("the authority's key")?;
        match due {
            Due::Nothing => Ok(self.clone()),
            Due::Serving => {
                let terms = Terms::new(self.terms.authority, &names, now);
                let (certificates, key) = (self.authorities.clone(), self.authority_key.clone());
                Self::signed(Authority { certificates, key }, old, terms)
            }
            Due::Authority => {
                let (new, key, authority) = new_authority(now)?;
                let certificates = format!("{new}{}", first(&self.authorities));
                Self::signed(Authority { certificates, key }, old, Terms::new(authority, &names, now))
            }
        }
    }

    /// Returns the content of the Secret.
    ///
    /// # Errors
    /// No error is expected, because the terms are plain data.
    pub fn to_data(&self) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let terms = serde_json::to_string(&self.terms)?;
        let entries = [
            ("ca.crt", &self.authorities),
            ("ca.key", &self.authority_key),
            ("tls.crt", &self.certificate),
            ("tls.key", &self.key),
            ("terms.json", &terms),
        ];
        Ok(entries.into_iter().map(|(name, text)| (name.to_string(), text.clone().into_bytes())).collect())
    }

    /// Reads the content of the Secret.
    ///
    /// # Errors
    /// Returns an error if something is missing or can't be parsed. The error never quotes the content.
    pub fn from_data(data: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<Self> {
        let text = |name: &str| -> anyhow::Result<String> {
            let bytes = data.get(name).with_context(|| format!("the key {name} is missing"))?;
            String::from_utf8(bytes.clone()).ok().with_context(|| format!("{name} is not valid text"))
        };
        let terms = serde_json::from_str(&text("terms.json")?).context("its terms.json")?;
        let (authorities, authority_key) = (text("ca.crt")?, text("ca.key")?);
        ensure!(authorities.contains("BEGIN CERTIFICATE"), "ca.crt holds no certificate");
        Ok(Self { authorities, authority_key, certificate: text("tls.crt")?, key: text("tls.key")?, terms })
    }

    /// Creates a serving certificate by the key `by`, and keeps it with this authority.
    fn signed(authority: Authority, by: KeyPair, terms: Terms) -> anyhow::Result<Self> {
        let names: Vec<String> = terms.names.iter().cloned().collect();
        let mut params =
            CertificateParams::new(names).context("the names of the certificate (--tls-name)")?;
        live(&mut params, terms.serving);
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, HUB_NAME);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issuer = Issuer::new(authority_params(terms.authority), by);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let Authority { certificates, key: authority_key } = authority;
        let (authorities, key) = (certificates, key.serialize_pem());
        Ok(Self { authorities, authority_key, certificate, key, terms })
    }
}

// === impl Terms ===

impl Terms {
    fn new(authority: Life, names: &BTreeSet<String>, now: i64) -> Self {
        let mut names = names.clone();
        names.insert(HUB_NAME.into());
        Self { authority, serving: Life::of_days(SERVING_DAYS, now), names }
    }
}

/// Returns certificate, key and validity.
fn new_authority(now: i64) -> anyhow::Result<(String, String, Life)> {
    let life = Life::of_days(AUTHORITY_DAYS, now);
    let key = KeyPair::generate()?;
    let certificate = authority_params(life).self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem(), life))
}

/// All CAs have the same subject name; the key identifier distinguishes them.
fn authority_params(life: Life) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, "portreeve-hub authority");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    live(&mut params, life);
    params
}

fn live(params: &mut CertificateParams, life: Life) {
    let at =
        |second: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(second).unwrap_or_default());
    params.not_before = at(life.from).into();
    params.not_after = at(life.until).into();
}

/// Returns the first certificate of a bundle.
fn first(bundle: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    bundle.find(END).map_or(bundle, |at| &bundle[..at + END.len()])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::crypto::ring::default_provider;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(ToString::to_string).collect()
    }

    /// Returns whether a client that trusts `authorities` accepts the certificate for a name at a time.
    fn believed(authorities: &str, certificate: &str, name: &str, at: i64) -> bool {
        let mut roots = RootCertStore::empty();
        for one in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(one.unwrap()).unwrap();
        }
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_string()).unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(at as u64));
        verifier.verify_server_cert(&certificate, &[], &name, &[], time).is_ok()
    }

    #[test]
    fn own_certificate_is_good_for_its_names_and_its_time() {
        let made = Material::new(&names(&["10.0.0.1", "hub.example"]), NOW).unwrap();
        let good = |name: &str, at: i64| believed(&made.authorities, &made.certificate, name, at);
        for name in [HUB_NAME, "10.0.0.1", "hub.example"] {
            assert!(good(name, NOW - EARLIER + 1) && good(name, NOW + SERVING_DAYS * DAY - 1), "{name}");
        }
        assert!(!good("other", NOW) && !good(HUB_NAME, NOW + SERVING_DAYS * DAY + 1));
        let other = Material::new(&names(&[]), NOW).unwrap();
        assert!(!believed(&other.authorities, &made.certificate, HUB_NAME, NOW), "another authority");
    }

    #[test]
    fn renewal_is_due_when_less_than_a_third_is_left() {
        let (none, some) = (names(&[]), names(&["more"]));
        let made = Material::new(&none, NOW).unwrap();
        assert_eq!(made.due(&none, NOW), Due::Nothing);
        assert_eq!(made.due(&some, NOW), Due::Serving, "a hub of another name came");
        assert_eq!(made.due(&none, NOW + SERVING_DAYS * DAY * 2 / 3 - DAY), Due::Nothing);
        assert_eq!(made.due(&none, NOW + SERVING_DAYS * DAY * 2 / 3 + DAY), Due::Serving);
        assert_eq!(made.due(&none, NOW + AUTHORITY_DAYS * DAY * 2 / 3 + DAY), Due::Authority);
        let wider = made.renewed(Due::Serving, &some, NOW).unwrap();
        assert_eq!((wider.due(&none, NOW), wider.due(&some, NOW)), (Due::Nothing, Due::Nothing));
    }

    #[test]
    fn agent_that_has_not_read_the_new_authority_yet_is_not_locked_out() {
        let none = names(&[]);
        let first = Material::new(&none, NOW).unwrap();
        let late = NOW + AUTHORITY_DAYS * DAY * 2 / 3 + DAY;
        let second = first.renewed(Due::Authority, &none, late).unwrap();
        assert_eq!(second.due(&none, late), Due::Nothing);
        for trusted in [&first.authorities, &second.authorities] {
            assert!(believed(trusted, &second.certificate, HUB_NAME, late));
        }
        let later = late + SERVING_DAYS * DAY * 2 / 3 + DAY;
        let third = second.renewed(Due::Serving, &none, later).unwrap();
        assert!(believed(&second.authorities, &third.certificate, HUB_NAME, later));
        assert!(!believed(&first.authorities, &third.certificate, HUB_NAME, later), "the new one signs now");
    }

    #[test]
    fn kept_form_is_read_back_and_a_broken_one_names_its_part() {
        let made = Material::new(&names(&[]), NOW).unwrap();
        let data = made.to_data().unwrap();
        assert_eq!(Material::from_data(&data).unwrap(), made);
        for name in data.keys() {
            let mut broken = data.clone();
            broken.remove(name);
            let error = format!("{:#}", Material::from_data(&broken).unwrap_err());
            assert!(error.contains(name.as_str()), "{error}");
        }
    }
}
