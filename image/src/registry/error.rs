//! What can go wrong with a registry, each in a sentence.

use std::io;
use std::time::Duration;

use http::StatusCode;

/// A request to a registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The HTTP client could not be made, for instance because there are no root certificates.
    #[error("HTTPS cannot be used; are root certificates (ca-certificates) installed?")]
    Tls(#[source] reqwest::Error),
    /// Nobody answers.
    #[error("registry {registry} cannot be reached: {why}")]
    Connect {
        /// Its host.
        registry: String,
        /// The innermost cause.
        why: String,
        /// Time may heal it.
        passing: bool,
    },
    /// The connection broke.
    #[error("the connection to registry {registry} broke: {why}")]
    Broken {
        /// Its host.
        registry: String,
        /// The innermost cause.
        why: String,
    },
    /// It ended where more was due.
    #[error("registry {registry} sent only a part of {what}")]
    EndedEarly {
        /// Its host.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// Nothing came for too long.
    #[error("registry {registry} stalled: it sent nothing for {} seconds", .after.as_secs_f64())]
    Stalled {
        /// Its host.
        registry: String,
        /// For how long.
        after: Duration,
    },
    /// What was asked for is not there, or not for us.
    #[error("registry {registry} has no {what}, or it needs credentials (docker login)")]
    NotFound {
        /// Its host.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// Credentials are missing or wrong.
    #[error("registry {registry} refuses access to {what}: {why}")]
    Denied {
        /// Its host.
        registry: String,
        /// What was asked for.
        what: String,
        /// As the registry says it, or what to do.
        why: String,
    },
    /// Too many requests.
    #[error("registry {registry} limits the rate of requests; try again later or log in")]
    TooMany {
        /// Its host.
        registry: String,
        /// What its `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// It failed.
    #[error("registry {registry} failed with {status}{detail}")]
    Server {
        /// Its host.
        registry: String,
        /// Its answer, 500 or more.
        status: StatusCode,
        /// What it says about it.
        detail: String,
    },
    /// It answered what the protocol does not know.
    #[error("registry {registry} answered {status} for {what}{detail}")]
    Unexpected {
        /// Its host.
        registry: String,
        /// Its answer.
        status: StatusCode,
        /// What was asked for.
        what: String,
        /// What it says about it.
        detail: String,
    },
    /// More came than was announced or than is allowed.
    #[error("registry {registry} sent more than {limit} bytes of {what}")]
    TooLong {
        /// Its host.
        registry: String,
        /// What was asked for.
        what: String,
        /// How many were allowed.
        limit: u64,
    },
    /// It took only a part of what it was sent.
    #[error("registry {registry} took only a part of {what}")]
    TookLess {
        /// Its host.
        registry: String,
        /// What was sent.
        what: String,
    },
    /// A file of ours that was to be sent cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    Local {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        why: String,
    },
    /// What should be an address is none.
    #[error("{0:?} is not an address of http or https")]
    Address(String),
    /// A file that is not a registry's cannot be fetched.
    #[error("nothing can be fetched from {host}: {why}")]
    Remote {
        /// The server.
        host: String,
        /// Why not.
        why: String,
    },
    /// A search makes no sense, or there is none.
    #[error("{0}")]
    Search(String),
    /// It makes no sense.
    #[error("registry {registry} sent {what}")]
    Nonsense {
        /// Its host.
        registry: String,
        /// A noun phrase.
        what: String,
    },
    /// The user's credentials cannot be had.
    #[error("the credentials for registry {registry} cannot be had: {why}")]
    Credentials {
        /// Its host.
        registry: String,
        /// What the helper or the file says.
        why: String,
    },
}

impl Error {
    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { passing, .. } => *passing,
            Self::Broken { .. }
            | Self::EndedEarly { .. }
            | Self::TookLess { .. }
            | Self::TooMany { .. } => true,
            Self::Server { status, .. } => *status != StatusCode::NOT_IMPLEMENTED,
            _ => false,
        }
    }

    /// How long the registry asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What lies at the bottom of a failed connection, and whether time may heal it: not a refused port, an unknown name or a
/// wrong certificate.
pub(super) fn cause(error: &reqwest::Error) -> (String, bool) {
    let mut innermost = error.to_string();
    let mut passing = true;
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // Errors of the resolver have no type of their own.
        passing &= !text.contains("dns error");
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            passing &= io.kind() != io::ErrorKind::ConnectionRefused;
        }
        if let Some(tls) = tls(cause) {
            let why = match tls {
                rustls::Error::InvalidCertificate(_) => format!(
                    "its certificate is not trusted ({tls}); SSL_CERT_FILE may name that of its issuer"
                ),
                _ => tls.to_string(),
            };
            return (why, false);
        }
        innermost = text;
        next = cause.source();
    }
    (innermost, passing)
}

/// The TLS error in `error`. The source of an I/O error is that of the error it carries, so following sources would pass
/// over what it carries.
fn tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut carried = error;
    while let Some(inner) = carried
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        carried = inner;
    }
    carried.downcast_ref()
}
