//! Where clients come from: a Unix socket, whose file says who may; or TCP, with TLS for those who have a certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_keepalive;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::{self, TlsError, TlsFiles};

/// How long somebody may take to show a certificate.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// How many may be about to at once; others wait in the operating system's queue.
const STRANGERS: usize = 64;

/// Something that clients connect to.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Unix(UnixListener),
    Tls(Tls),
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    strangers: Arc<Semaphore>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.listener).finish()
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self(Kind::Unix(listener))
    }
}

impl Listener {
    /// TLS for clients with a certificate of the authority in `files`, and for nobody else.
    ///
    /// # Errors
    /// When the files do not make a server.
    pub fn tls(listener: TcpListener, files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self(Kind::Tls(Tls {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(tls::server(files)?)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
        })))
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Kind::Tls(tls) => {
                let turn = Arc::clone(&tls.strangers).acquire_owned().await;
                let turn = turn.map_err(io::Error::other)?;
                let (stream, from) = tls.listener.accept().await?;
                Ok(Accepted::Tls(Stranger {
                    stream,
                    from,
                    acceptor: tls.acceptor.clone(),
                    _turn: turn,
                }))
            }
        }
    }
}

/// Who has connected.
pub(crate) enum Accepted {
    Unix(UnixStream),
    Tls(Stranger),
}

/// Somebody of whom nothing is known yet.
pub(crate) struct Stranger {
    stream: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
    _turn: OwnedSemaphorePermit,
}

impl Stranger {
    /// The connection of one who has shown a certificate; of others nothing remains.
    pub(crate) async fn introduced(self) -> Option<TlsStream<TcpStream>> {
        let from = self.from;
        // Hosts that vanish say nothing, and streams may be silent for days.
        let prepared = self.stream.set_nodelay(true).and_then(|()| {
            set_socket_keepalive(&self.stream, true)?;
            Ok(())
        });
        if let Err(error) = prepared {
            tracing::debug!(%from, %error, "a connection broke");
            return None;
        }
        match timeout(INTRODUCTION, self.acceptor.accept(self.stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::info!(%from, %error, "a client was turned away");
                None
            }
            Err(_) => {
                tracing::info!(%from, "a client showed no certificate in time");
                None
            }
        }
    }
}
