//! TCP under mutual TLS: both ends show a certificate of the cluster's own authority, and nothing else is listened to.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::network::{Listener, Network, Opening, Stream, Tcp};

/// Where a node's certificates are, each as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the authorities that nodes are signed by.
    pub authority: PathBuf,
    /// The node's certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// The node's private key.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{path} holds no PEM that a node can use: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// What is in the files.
    #[error("the certificates of the node port do not work together: {0}")]
    Unfit(String),
}

/// Connections of nodes under mutual TLS 1.3.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// TLS by these files.
    ///
    /// # Errors
    /// [`Error`] names the file.
    pub fn load(files: &TlsFiles) -> Result<Self, Error> {
        let unfit = |error: &dyn std::fmt::Display| Error::Unfit(error.to_string());
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.authority)? {
            roots.add(authority).map_err(|error| unfit(&error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|source| Error::File { path: files.key.clone(), source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| unfit(&error))?
            .with_client_cert_verifier(clients.build().map_err(|error| unfit(&error))?)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unfit(&error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| unfit(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unfit(&error))?;
        Ok(Self { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unusable = |source| Error::File { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<Vec<_>, _>>();
    match found.map_err(unusable)? {
        none if none.is_empty() => Err(unusable(pem::Error::NoItemsFound)),
        found => Ok(found),
    }
}

/// The host of `host:port`, as the peer's certificate has to name it.
fn server_name(address: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

impl Network for Tls {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let name = server_name(address).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = Tcp.connect(address).await?;
            Ok(Box::new(self.connector.connect(name, stream).await?) as Box<dyn Stream>)
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(Secured { listener, acceptor: self.acceptor.clone() }) as Box<dyn Listener>)
        })
    }
}

struct Secured {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secured {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Opening>> {
        Box::pin(async move {
            let opening = Listener::accept(&mut self.listener).await?;
            let acceptor = self.acceptor.clone();
            let handshake = async move { Ok(Box::new(acceptor.accept(opening.await?).await?) as Box<dyn Stream>) };
            Ok(Box::pin(handshake) as Opening)
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_a_certificate_names() {
        let name = |address| server_name(address).map(|name| name.to_str().into_owned());
        assert_eq!(name("core-1.example:8400").unwrap(), "core-1.example");
        assert_eq!(name("10.0.0.1:8400").unwrap(), "10.0.0.1");
        assert_eq!(name("[::1]:8400").unwrap(), "::1");
        assert!(name("no host:1").is_err());
    }
}
