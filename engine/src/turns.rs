//! Turns of machines that start, for hosts where guest kernels are emulated.
//!
//! There a guest that is busy needs a fifth of a processor for its timer alone, and one that comes up is busy for a second: a dozen that come
//! up at once on two processors keep each other from it for ever. One that rests needs nothing, so only starts take turns.
//!
//! A turn is a lock (flock(2)) of one of a few files, held from before the machine is made until its process runs. So all processes that have this
//! runtime directory share the turns, and what a killed one had is free again. Linux gives a lock to those who wait for it in the order in which
//! they came. Who waits does so for all of the files at once, each in a thread: the first one that comes is taken, the others go back. In
//! one process one start at a time does that, and the next one after it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::Error;

/// Who may start, of all that have one runtime directory.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    directory: PathBuf,
    /// How many start at once.
    at_once: usize,
    /// Held by the start of this process that is the next one; tokio hands it on in order.
    next: Arc<Mutex<()>>,
}

/// The right to start a machine, until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _locked: File,
}

impl Turns {
    /// Those whose files are in `directory`, which is made when one is needed. One for each processor and one more: a machine that comes up
    /// waits for its disk and its engine at times.
    pub(crate) fn at(directory: PathBuf) -> Self {
        let cpus = thread::available_parallelism().map_or(1, |count| count.get());
        Self::of(directory, cpus + 1)
    }

    fn of(directory: PathBuf, at_once: usize) -> Self {
        Self {
            directory,
            at_once,
            next: Arc::default(),
        }
    }

    /// Waits for a turn, unless `kill` says that nobody wants it any more.
    pub(crate) async fn take(&self, kill: &CancellationToken) -> Result<Turn, Error> {
        tokio::select! {
            biased;
            () = kill.cancelled() => Err(Error::Interrupted),
            turn = self.wait() => turn.map_err(Error::io("wait for a turn to start in", &self.directory)),
        }
    }

    async fn wait(&self) -> io::Result<Turn> {
        let _next = self.next.lock().await;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        for number in 0..self.at_once {
            let file = self.open(number)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Turn { _locked: file }),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (offer, mut offers) = mpsc::unbounded_channel();
        for number in 0..self.at_once {
            let (file, offer) = (self.open(number)?, offer.clone());
            // Not one of tokio's threads: those are waited for at the end, and this one may come when nobody cares any more.
            thread::Builder::new()
                .name("turn".to_owned())
                .spawn(move || {
                    // Nobody takes a second one, which is dropped then.
                    let _ = offer.send(lock(file));
                })?;
        }
        drop(offer);
        let gone = || io::Error::other("the threads that wait ended");
        offers.recv().await.unwrap_or_else(|| Err(gone()))
    }

    fn open(&self, number: usize) -> io::Result<File> {
        File::create(self.directory.join(format!("{number}.lock")))
    }
}

fn lock(file: File) -> io::Result<Turn> {
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
    Ok(Turn { _locked: file })
}

#[cfg(test)]
mod tests;
