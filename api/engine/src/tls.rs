//! TLS of both sides: who is served has a certificate of the authority that the daemon was given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificates of those who may sign clients' certificates.
    pub ca: PathBuf,
    /// The server's certificate, and what is between it and what its clients trust.
    pub cert: PathBuf,
    /// The key of the server's certificate.
    pub key: PathBuf,
}

/// Why files do not make a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of them is not there, or not PEM.
    #[error("{} cannot be used", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// One of them has no certificate.
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// A certificate is none of an authority.
    #[error("{} has a certificate that cannot vouch for others", path.display())]
    Authority {
        /// In which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authorities cannot be asked.
    #[error("clients cannot be told by the certificates in {}", path.display())]
    Verifier {
        /// In which file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// The certificate is of another key, or of a kind that is not served.
    #[error("{} and {} make no server", cert.display(), key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What a server with these files says and asks.
pub(crate) fn server(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        let added = authorities.add(certificate);
        added.map_err(|source| TlsError::Authority {
            path: files.ca.clone(),
            source,
        })?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider));
    let verifier = verifier.build().map_err(|source| TlsError::Verifier {
        path: files.ca.clone(),
        source,
    })?;
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        });
    let mut config = config.map_err(|source| TlsError::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all =
        CertificateDer::pem_file_iter(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    let all = all.map_err(unreadable(path))?;
    match all.is_empty() {
        true => Err(TlsError::Empty(path.to_owned())),
        false => Ok(all),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(pem::Error) -> TlsError + use<> {
    let path = path.to_owned();
    move |source| TlsError::Unreadable { path, source }
}
