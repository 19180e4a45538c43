//! Sockets of the host that a container mounts: what its guest connects to by vsock (`agent/src/relay.rs`) goes on to them.
//!
//! Who may connect is decided in the guest, by the file that the agent makes there. Whoever may use vsock in the guest gets around that, so
//! that a container is trusted with a socket as a whole.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hull_agent_protocol as agent;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::Error;
use crate::container::{Mount, MountSource};
use crate::prepare;
use crate::running::unbound;

/// The first of the ports at which guests reach sockets of the host; the agent's own are lower.
const FIRST_PORT: u32 = 2000;
/// So many connections of a guest at a time, to all of its sockets together; each takes two descriptors of the owner. Others wait in the
/// kernel's queue.
const MOST: usize = 128;

/// A socket of the host that a container mounts.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    port: u32,
    mount: agent::Mount,
}

impl Socket {
    /// The container's mount of this number, if it is one of a socket. Blocking.
    pub(crate) fn find(index: usize, mount: &Mount) -> Option<Self> {
        let MountSource::Bind { path, .. } = &mount.source else {
            return None;
        };
        let file = fs::metadata(path).ok()?;
        if !file.file_type().is_socket() {
            return None;
        }
        let port = FIRST_PORT.checked_add(u32::try_from(index).ok()?)?;
        let socket = agent::HostSocket {
            port,
            mode: file.mode() & 0o777,
            uid: file.uid(),
            gid: file.gid(),
        };
        Some(Self {
            path: path.clone(),
            port,
            mount: agent::Mount {
                target: mount.target.clone(),
                source: agent::MountSource::Socket(socket),
            },
        })
    }

    /// What the agent is told of it.
    pub(crate) fn mount(&self) -> agent::Mount {
        self.mount.clone()
    }
}

/// A socket at which a guest arrives. Dropping this ends all of its connections.
#[derive(Debug)]
pub(crate) struct Relay {
    task: JoinHandle<()>,
    path: PathBuf,
}

/// Listens for the guest whose runtime directory this is.
///
/// # Errors
/// A socket cannot be made, or has a path to which nobody can connect.
pub(crate) fn listen(runtime: &Path, sockets: &[Socket]) -> Result<Vec<Relay>, Error> {
    let room = Arc::new(Semaphore::new(MOST));
    let relays = sockets.iter();
    relays
        .map(|socket| Relay::listen(runtime, socket, &room))
        .collect()
}

impl Relay {
    fn listen(runtime: &Path, socket: &Socket, room: &Arc<Semaphore>) -> Result<Self, Error> {
        // One that is too long is told now, and not to a connection.
        SocketAddr::from_pathname(&socket.path).map_err(Error::io("connect to", &socket.path))?;
        let name = prepare::service(socket.port);
        let path = runtime.join(&name);
        let listener = UnixListener::bind(&path).map_err(unbound(runtime, &name))?;
        let task = tokio::spawn(serve(listener, socket.path.clone(), Arc::clone(room)));
        Ok(Self { task, path })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve(listener: UnixListener, to: PathBuf, room: Arc<Semaphore>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((guest, _)) => {
                let to = to.clone();
                connections.spawn(async move {
                    if let Err(error) = pass(guest, &to).await {
                        tracing::debug!(%error, socket = %to.display(), "a connection of a guest broke");
                    }
                    drop(permit);
                });
            }
            // Of one connection, or of too many open files for a moment.
            Err(error) => {
                tracing::warn!(%error, "a connection of a guest was lost");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn pass(mut guest: UnixStream, to: &Path) -> io::Result<()> {
    let mut service = UnixStream::connect(to).await?;
    let (from_guest, to_guest) = guest.split();
    let (from_service, to_service) = service.split();
    tokio::try_join!(
        one_way(from_guest, to_service),
        one_way(from_service, to_guest)
    )?;
    Ok(())
}

/// Passes on what comes, and its end. Who does not listen any more may still have something to say, so that this is no error.
async fn one_way(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
    match tokio::io::copy(&mut from, &mut to).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error),
        Ok(_) => to.shutdown().await,
    }
}

#[cfg(test)]
mod tests;
