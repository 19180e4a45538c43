//! The servers of names of networks: a container finds the others in its networks by name, alias and short id, and the rest of the world
//! by whom its host asks (RFC 1034, RFC 1035).
//!
//! Each network has one, at its gateway's address. It runs in the process of whichever container in it came first: all of them wait for a
//! lock, which the kernel hands on when its holder ends, however it ends. So names need no daemon. What is known is read from the
//! networks' directory ([`book`]), which tells who may ask for what ([`answer`]); [`server`] has the sockets, and the limits for what a
//! guest can make it do.

mod answer;
mod book;
mod server;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{FlockOperation, flock};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::network::{Network, Networks};
use server::Server;

/// A thread that only waits needs little.
const STACK: usize = 64 << 10;

/// The will to answer for a network's names, and the answering when its turn has come. Dropping this ends both.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Mutex<Turn>>);

#[derive(Debug)]
enum Turn {
    Waiting,
    Serving(AbortHandle),
    Over,
}

impl Serving {
    /// Waits for its turn, beside whatever else this process does. Nothing where that is impossible, which is said in the log.
    pub(crate) fn begin(networks: &Networks, network: &Network, address: IpAddr) -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        let turn = Arc::new(Mutex::new(Turn::Waiting));
        let directory = networks.directory().clone();
        let path = directory.names_lock(network.id());
        let server = Server::new(directory, network, address);
        let waiting = Arc::clone(&turn);
        let wait = move || {
            let locked = File::create(&path).and_then(|file| {
                flock(file.as_fd(), FlockOperation::LockExclusive)?;
                Ok(file)
            });
            match locked {
                Ok(lock) => {
                    let mut turn = lock_turn(&waiting);
                    if let Turn::Waiting = *turn {
                        let task = runtime.spawn(server.serve(lock));
                        *turn = Turn::Serving(task.abort_handle());
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "a network's names are not answered for");
                }
            }
        };
        let thread = thread::Builder::new()
            .name("names".to_owned())
            .stack_size(STACK);
        match thread.spawn(wait) {
            Ok(_) => Some(Self(turn)),
            Err(error) => {
                tracing::warn!(%error, "no thread can wait to answer for a network's names");
                None
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Turn::Serving(task) = std::mem::replace(&mut *lock_turn(&self.0), Turn::Over) {
            task.abort();
        }
    }
}

/// Nothing that holds the lock can leave it half-changed.
fn lock_turn(turn: &Mutex<Turn>) -> MutexGuard<'_, Turn> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}
