//! Taking a snapshot of a machine that runs. It stands still for as long as it takes to read its state, to find out which pages there are and to
//! copy the process ([`super::copy`]), whose memory is the guest's at that moment; then it goes on, while the copy writes.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hull_vm_api::request::SnapshotCreate;
use rustix::io::Errno;
use vm_memory::GuestMemoryBackend;

use super::copy::{Copy, Failure};
use super::create::{Begun, CreateError, Subject, in_memory};
use super::format::Snapshot;
use super::format::v1::MemoryLabel;
use super::memory::dirty::Noted;
use super::memory::{self, MemoryFileError, Missing};
use crate::vcpus::Stuck;

/// How long requests of devices that are in flight may take, while the guest waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why there is no snapshot of a machine that runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    #[error(
        "this microVM's memory comes from another process (mem_backend Uffd), which does not fill it for a copy; pause it first, by PATCH /vm with the state Paused"
    )]
    Filled,
    #[error(
        "this microVM's memory came page by page to record its working set (mem_backend.working_set), and what has not come yet would be missing in a copy; pause it first, by PATCH /vm with the state Paused"
    )]
    Recorded,
    #[error(
        "this microVM's memory is in huge pages of the host (huge_pages 2M), of which a copy would need as many again; pause it first, by PATCH /vm with the state Paused"
    )]
    HugePages,
    #[error(transparent)]
    Stuck(#[from] Stuck),
    #[error(
        "the host makes no copy of the microVM's process; pause the microVM first, by PATCH /vm with the state Paused"
    )]
    NoCopy(#[source] io::Error),
    #[error("the process that wrote the memory was killed, by signal {0}; try again")]
    Killed(i32),
    #[error("the process that wrote the memory ended before it had; try again")]
    Ended,
    #[error("the microVM ended, or began again, before it was written")]
    Over,
}

/// What has the machine stand still and go on, and what knows whether it is still there.
pub(crate) trait Reins {
    /// Has it stand still.
    ///
    /// # Errors
    /// If it does not, or is over.
    fn halt(&self) -> Result<(), LiveError>;

    /// Has it go on; whether the rest is done without it.
    fn go_on(&self, is_copied: bool);

    /// Whether the snapshot is still wanted. From then on it is there.
    fn claim(&self) -> bool;
}

impl Subject {
    /// Takes the snapshot of a machine that runs; the label of its memory.
    ///
    /// # Errors
    /// Why there is none. The machine goes on all the same.
    pub(crate) fn save_live(
        self,
        create: &SnapshotCreate,
        reins: &impl Reins,
    ) -> Result<MemoryLabel, CreateError> {
        self.can_be_copied()?;
        let mut begun = self.begin(create)?;
        memory::begin(&begun.label, &begun.memory).map_err(in_memory(create))?;
        reins.halt()?;
        let copied = self.copy(create, &begun);
        reins.go_on(copied.is_ok());
        let (snapshot, noted, copy) = copied?;
        let state = begun.write_state(create, &snapshot);
        copy.wait().map_err(|failure| match failure {
            Failure::Host(errno) => in_memory(create)(MemoryFileError::refused(errno.into())),
            // Nothing else of it is a file that can lack a page.
            Failure::Killed(libc::SIGBUS) => in_memory(create)(MemoryFileError::Lost),
            Failure::Killed(signal) => LiveError::Killed(signal).into(),
            Failure::Ended => LiveError::Ended.into(),
        })?;
        state?;
        memory::finish(&begun.label, &begun.memory).map_err(in_memory(create))?;
        if !reins.claim() {
            return Err(LiveError::Over.into());
        }
        self.publish(create)?;
        noted.forget();
        Ok(begun.label)
    }

    /// Whether a copy of the process has all of the guest's memory.
    ///
    /// # Errors
    /// What it would lack.
    pub(crate) fn can_be_copied(&self) -> Result<(), LiveError> {
        match self.missing {
            Some(Missing::WithProcess) => return Err(LiveError::Filled),
            Some(Missing::InFile(_)) => return Err(LiveError::Recorded),
            None => {}
        }
        let mut regions = self.memory.iter();
        match regions.any(|region| region.is_hugetlbfs() == Some(true)) {
            true => Err(LiveError::HugePages),
            false => Ok(()),
        }
    }

    /// What there is to do while the machine stands still.
    fn copy(
        &self,
        create: &SnapshotCreate,
        begun: &Begun,
    ) -> Result<(Snapshot, Noted, Copy), CreateError> {
        let began = Instant::now();
        let snapshot = self.state(begun.label.clone(), PATIENCE)?;
        let with_state = began.elapsed();
        let noted = self.noted()?;
        let chosen = begun.choose(self, &noted).map_err(in_memory(create))?;
        let with_pages = began.elapsed();
        let file = begun.memory.as_fd();
        let write = || -> Result<(), Errno> { memory::write_pages(&self.memory, &chosen, file) };
        let copy = Copy::make(write).map_err(LiveError::NoCopy)?;
        let (state, pages) = (
            with_state.as_micros(),
            (with_pages - with_state).as_micros(),
        );
        let copied = (began.elapsed() - with_pages).as_micros();
        tracing::debug!("state {state} us, pages {pages} us, copy {copied} us");
        Ok((snapshot, noted, copy))
    }
}
