//! The thread that writes snapshots, so that the event loop never waits for a disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use hull_vm_api::ExitCause;

use crate::ending::Ending;
use crate::error::with_sources;
use crate::sandbox::Confinement;
use crate::sandbox::seccomp::Kind;

/// Postcard nests no deeper than the structures do.
const STACK: usize = 256 << 10;

type Errand = Box<dyn FnOnce() + Send>;

/// Does one thing after the other, and ends with this.
#[derive(Debug)]
pub(crate) struct Errands(Sender<Errand>);

impl Errands {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the host has none.
    pub(crate) fn start(ending: &Arc<Ending>, confinement: &Confinement) -> io::Result<Self> {
        let (send, errands) = mpsc::channel::<Errand>();
        let (ending, confinement) = (ending.clone(), confinement.clone());
        let thread = thread::Builder::new().name("snapshot".to_owned());
        confinement.expect(1);
        let run = move || {
            let entered = confinement.enter(Kind::Snapshot);
            confinement.arrived();
            if let Err(error) = entered {
                return ending.announce_with(ExitCause::Failure, with_sources(&error));
            }
            errands.into_iter().for_each(|errand| errand());
        };
        // Nobody waits for its end: it may be at a disk that does not answer.
        drop(thread.stack_size(STACK).spawn(run)?);
        Ok(Self(send))
    }

    /// Has it do something.
    pub(crate) fn send(&self, errand: impl FnOnce() + Send + 'static) {
        // It is there as long as this is.
        let _ = self.0.send(Box::new(errand));
    }
}
