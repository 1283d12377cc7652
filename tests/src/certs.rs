//! A certificate authority for a single test, which alone trusts it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// A certificate authority with its key.
pub struct Authority {
    /// The CA certificate.
    certificate: Certificate,
    /// Name and key for signing.
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key as files, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The private key's file (PKCS#8).
    pub key: PathBuf,
}

/// A certificate and its key in PEM.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS#8).
    pub key: String,
    /// The certificate in DER.
    pub der: Vec<u8>,
}

/// The certificate of a server or client.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// The common name of the subject.
    pub name: &'a str,
    /// URIs, which contain `://`, and DNS names.
    pub sans: &'a [&'a str],
    /// The organization of the subject.
    pub organization: Option<&'a str>,
    /// Whether it was valid only in the past.
    pub expired: bool,
    /// Whether its key is RSA, otherwise ECDSA P-256. All certificates with RSA have the same key.
    pub rsa: bool,
}

/// An RSA key: rcgen can use one, and not create it.
const RSA_KEY: &str = include_str!("certs/rsa.key");

/// A key pair as files, in PEM.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// The private key's file (PKCS#8).
    pub private: PathBuf,
    /// The public key's file.
    pub public: PathBuf,
}

// === impl Authority ===

impl Authority {
    /// Creates a CA (ECDSA P-256).
    ///
    /// # Errors
    /// Returns an error if the system has no randomness.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Returns the CA certificate in PEM, which a client must trust.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Returns the CA certificate in DER.
    pub fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    /// Signs a server certificate for `names` (DNS names and IP addresses) and writes it to `directory`.
    ///
    /// # Errors
    /// Returns an error if a name is neither, or if the directory can't be written.
    pub fn serving(&self, directory: &Path, names: &[&str]) -> Result<Pair> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("server"));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let pair = Pair { certificate: directory.join("serving.pem"), key: directory.join("serving.key") };
        fs::write(&pair.certificate, signed.pem())?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }

    /// Signs a certificate for servers and clients with the subject `CN=<name>,O=example` and these SANs: URIs contain
    /// `://`, the others are DNS names.
    ///
    /// # Errors
    /// Returns an error if a name is invalid.
    pub fn sign(&self, name: &str, sans: &[&str]) -> Result<Signed> {
        self.issue(&Leaf::new(name, sans))
    }

    /// Signs a certificate for servers and clients.
    ///
    /// # Errors
    /// Returns an error if a name is invalid.
    pub fn issue(&self, leaf: &Leaf<'_>) -> Result<Signed> {
        let mut params = CertificateParams::new(Vec::new())?;
        for san in leaf.sans {
            let text = (*san).try_into()?;
            let san = if san.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) };
            params.subject_alt_names.push(san);
        }
        // The default has a common name, which would stay first.
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = leaf.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, leaf.name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if leaf.expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = if leaf.rsa { KeyPair::from_pem(RSA_KEY)? } else { KeyPair::generate()? };
        let certificate = params.signed_by(&key, &self.issuer)?;
        let der = certificate.der().to_vec();
        Ok(Signed { certificate: certificate.pem(), key: key.serialize_pem(), der })
    }
}

// === impl Leaf ===

impl<'a> Leaf<'a> {
    /// A valid certificate with an ECDSA key and `O=example` in its subject.
    pub fn new(name: &'a str, sans: &'a [&'a str]) -> Self {
        Self { name, sans, organization: Some("example"), expired: false, rsa: false }
    }
}

/// Creates a key for signing tokens (ECDSA P-256) as files in `directory`.
///
/// # Errors
/// Returns an error if the system has no randomness or the directory can't be written.
pub fn signing_key(directory: &Path) -> Result<SigningKey> {
    let pair = KeyPair::generate()?;
    let key = SigningKey { private: directory.join("sa.key"), public: directory.join("sa.pub") };
    fs::write(&key.private, pair.serialize_pem())?;
    fs::write(&key.public, pair.public_key_pem())?;
    Ok(key)
}
