//! `skerry cluster cert`: an authority of the cluster's own, and a certificate for each node that it signs.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::Serialize;
use skerry_api::cli::Output;
use skerry_model::env::{Clock, SystemClock};

const AUTHORITY: &str = "ca";

/// Make certificates for the node port
#[derive(Debug, Clone, Args)]
pub(super) struct Certificates {
    /// A node and the host names or addresses by which the others reach it
    #[arg(required = true, value_name = "ID=HOST[,HOST]")]
    nodes: Vec<Named>,
    /// Where the files go. An authority that is there already signs the new certificates as well
    #[arg(long, default_value = "./skerry-certificates", value_name = "FOLDER")]
    out: PathBuf,
    /// How long the certificates hold
    #[arg(long, default_value_t = 3_650, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
}

/// A node and its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    id: u64,
    hosts: Vec<String>,
}

impl FromStr for Named {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Node { found: text.to_owned() };
        let (id, hosts) = text.split_once('=').ok_or_else(malformed)?;
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        let is_host = |host: &String| {
            // A port is a slip that would make a certificate nobody can use.
            !host.is_empty() && (host.parse::<IpAddr>().is_ok() || !host.contains(':'))
        };
        if !hosts.iter().all(is_host) {
            return Err(malformed());
        }
        Ok(Self { id: id.parse().map_err(|_| malformed())?, hosts })
    }
}

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{found:?} is not of the form ID=HOST[,HOST], as in 2=10.0.0.2,core-2.example; hosts have no port")]
    Node { found: String },
    #[error("{path} is there already: remove it if its node should get another certificate", path = .0.display())]
    Exists(PathBuf),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} and {key} belong together, and only one of them is there", path = .0.display(), key = .1.display())]
    HalfAnAuthority(PathBuf, PathBuf),
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    authority: PathBuf,
    nodes: Vec<MadeNode>,
}

#[derive(Debug, Serialize)]
struct MadeNode {
    node: u64,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    pub(super) fn run(&self, output: Output) -> Result<(), Error> {
        std::fs::create_dir_all(&self.out).map_err(|source| Error::File { path: self.out.clone(), source })?;
        for node in &self.nodes {
            let (certificate, key) = self.files(&format!("node-{}", node.id));
            if let Some(there) = [certificate, key].into_iter().find(|path| path.exists()) {
                return Err(Error::Exists(there));
            }
        }
        let issuer = self.authority()?;
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let (certificate, key) = self.files(&format!("node-{}", node.id));
            let pair = KeyPair::generate()?;
            let signed = self.node_params(node)?.signed_by(&pair, &issuer)?;
            write_new(&key, &pair.serialize_pem(), PRIVATE)?;
            write_new(&certificate, &signed.pem(), PUBLIC)?;
            nodes.push(MadeNode { node: node.id, certificate, key });
        }
        let made = Made { authority: self.files(AUTHORITY).0, nodes };
        output.show(&made, told).map_err(Error::Output)
    }

    /// The authority in the folder, made when there is none.
    fn authority(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        let (certificate, key) = self.files(AUTHORITY);
        let params = self.authority_params()?;
        let pair = match (certificate.exists(), key.exists()) {
            (true, true) => {
                let read = std::fs::read_to_string(&key);
                KeyPair::from_pem(&read.map_err(|source| Error::File { path: key, source })?)?
            }
            (false, false) => {
                let pair = KeyPair::generate()?;
                write_new(&key, &pair.serialize_pem(), PRIVATE)?;
                write_new(&certificate, &params.self_signed(&pair)?.pem(), PUBLIC)?;
                pair
            }
            _ => return Err(Error::HalfAnAuthority(certificate, key)),
        };
        Ok(Issuer::new(params, pair))
    }

    fn authority_params(&self) -> Result<CertificateParams, Error> {
        let mut params = self.params(Vec::new(), "Skerry cluster authority")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }

    fn node_params(&self, node: &Named) -> Result<CertificateParams, Error> {
        let mut params = self.params(node.hosts.clone(), &format!("Skerry node {}", node.id))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node both calls and is called.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn params(&self, hosts: Vec<String>, name: &str) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(SystemClock.now_ms());
        // Clocks of nodes differ.
        params.not_before = (now - Duration::from_secs(3_600)).into();
        params.not_after = (now + Duration::from_secs(self.days * 86_400)).into();
        Ok(params)
    }

    /// Where a certificate and its key are.
    fn files(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.out.join(format!("{name}.pem")), self.out.join(format!("{name}-key.pem")))
    }
}

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// Writes a file that must not be there yet: a key that is overwritten is gone.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(file)?;
    new.write_all(text.as_bytes()).and_then(|()| new.sync_all()).map_err(file)
}

fn told(made: &Made) -> String {
    let mut lines = Vec::new();
    for MadeNode { node, certificate, key } in &made.nodes {
        let (authority, certificate, key) = (made.authority.display(), certificate.display(), key.display());
        lines.push(format!(
            "node {node}: skerry serve --node-ca {authority} --node-cert {certificate} --node-key {key} …"
        ));
    }
    lines.push(
        "Bring each node its three files. The authority's key, ca-key.pem, signs more nodes later: keep it off them."
            .to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::tls::{Tls, TlsFiles};

    fn certificates(folder: &Path, nodes: &[&str]) -> Certificates {
        let nodes = nodes.iter().map(|node| node.parse().unwrap()).collect();
        Certificates { nodes, out: folder.to_owned(), days: 1 }
    }

    fn files(folder: &Path, authority: &str, node: &str) -> TlsFiles {
        TlsFiles {
            authority: folder.join(authority),
            certificate: folder.join(format!("{node}.pem")),
            key: folder.join(format!("{node}-key.pem")),
        }
    }

    #[test]
    fn nodes_are_named_with_hosts_without_ports() {
        let named: Named = "2=10.0.0.2,core-2.example,::1".parse().unwrap();
        assert_eq!((named.id, named.hosts.len()), (2, 3));
        for wrong in ["2", "x=host", "2=", "2=host:8400", "2=host,"] {
            assert!(wrong.parse::<Named>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_authority_signs_more_nodes_later_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path(), &["1=127.0.0.1"]).run(Output::new(true)).unwrap();
        certificates(folder.path(), &["2=127.0.0.1"]).run(Output::new(true)).unwrap();
        for node in ["node-1", "node-2"] {
            Tls::load(&files(folder.path(), "ca.pem", node)).unwrap();
        }
        let again = certificates(folder.path(), &["3=localhost", "2=127.0.0.1"]).run(Output::new(true));
        assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
        assert!(!folder.path().join("node-3.pem").exists(), "all or nothing");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &folder.path().join("ca-key.pem").metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_hold_no_certificate_are_named() {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path(), &["1=127.0.0.1"]).run(Output::new(true)).unwrap();
        let error = Tls::load(&files(folder.path(), "node-1-key.pem", "node-1")).err().unwrap();
        assert!(error.to_string().contains("node-1-key.pem"), "{error}");
        let error = Tls::load(&files(folder.path(), "missing.pem", "node-1")).err().unwrap();
        assert!(error.to_string().contains("missing.pem"), "{error}");
    }
}
