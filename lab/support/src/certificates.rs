//! An issuer of a test's own, and certificates by it, as files (PEM).

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate with its key, in files beside each other as certbot lays them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate: `fullchain.pem`.
    pub certificate: PathBuf,
    /// Its key: `privkey.pem` (PKCS #8).
    pub key: PathBuf,
}

/// Who issues; its files are removed with it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Authority {
        Authority::called("an issuer of tests")
    }

    /// One of this name, which may be another's too.
    pub fn called(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("an issuer");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("written");
        Authority { issuer, directory }
    }

    /// The file to trust.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A server's certificate for these names and addresses, valid until far away.
    pub fn server(&self, called: &str, names: &[&str]) -> Identity {
        self.issue(called, names, 2099, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A server's certificate whose time ended with the year 2020.
    pub fn expired(&self, called: &str, names: &[&str]) -> Identity {
        self.issue(called, names, 2020, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate.
    pub fn client(&self, called: &str) -> Identity {
        self.issue(called, &[called], 2099, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, called: &str, names: &[&str], until: i32, usage: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, called);
        params.not_before = date_time_ymd(2010, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        params.extended_key_usages = vec![usage];
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let directory = self.directory.path().join(called);
        std::fs::create_dir_all(&directory).expect("a directory");
        let identity = Identity { certificate: directory.join("fullchain.pem"), key: directory.join("privkey.pem") };
        std::fs::write(&identity.certificate, certificate.pem()).expect("written");
        std::fs::write(&identity.key, key.serialize_pem()).expect("written");
        identity
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("directory", &self.directory.path()).finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key (ECDSA, P-256)")
}
