//! A certificate authority for a single test, which alone trusts it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
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
}

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
        let mut params = CertificateParams::new(Vec::new())?;
        for san in sans {
            let text = (*san).try_into()?;
            let san = if san.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) };
            params.subject_alt_names.push(san);
        }
        // The default has a common name, which would stay first.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "example");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Signed { certificate, key: key.serialize_pem() })
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
