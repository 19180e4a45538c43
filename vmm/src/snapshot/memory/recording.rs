//! Memory that comes page by page while a working set is recorded ([`super::working_set`]).
//!
//! The first time that a snapshot is loaded its guest's memory is empty, and a thread puts the file's page there when somebody first touches
//! it (`userfaultfd`), because no mapping of a file tells which of its pages were touched. It notes them until the recording is over,
//! and goes on without notes for as long as the machine lives. It touches no memory of the guest itself, and waits for nothing but
//! the file, so whoever waits for it goes on. A thread that gives memory back waits until this one has taken note.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hull_devices::GuestMemory;
use hull_vm_api::ExitCause;
use hull_vm_api::config::HostPath;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use vm_memory::GuestMemoryBackend;

use super::Backing;
use super::pages::PAGE;
use super::userfault::{Event, Page, Put, Userfault};
use super::working_set::Notes;
use crate::error::with_sources;
use crate::files::Files;
use crate::last_words::Words;
use crate::sandbox::Confinement;
use crate::sandbox::seccomp::Kind;
use crate::snapshot::errands::Errands;
use crate::snapshot::format::v1::MemoryLabel;

/// How long a guest runs until its recording is over.
const LENGTH: Duration = Duration::from_secs(10);
/// How soon a page is tried again while memory is being given back.
const SOON: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000,
};
/// It has a page and some messages on its stack.
const STACK: usize = 128 << 10;
/// What the guest's memory is mapped from is told with these words elsewhere, too ([`crate::lost_memory`]).
const SHORTER: &str = "the file of the snapshot's memory was made shorter while it was mapped";

/// Where a working set is to be.
#[derive(Debug)]
pub(crate) struct Target {
    /// A new file, without its name.
    pub(crate) file: File,
    pub(crate) path: HostPath,
    /// The memory that it is of.
    pub(crate) label: MemoryLabel,
    pub(crate) files: Files,
}

/// What it takes to record.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) backing: Backing,
    /// `/dev/userfaultfd`.
    pub(crate) device: OwnedFd,
    pub(crate) target: Arc<Target>,
}

/// A recording, and behind it memory that still comes page by page.
#[derive(Debug)]
pub(crate) struct Recorder {
    notes: Shared,
    backing: Backing,
    target: Arc<Target>,
    /// Since when the guest runs.
    began: Option<Instant>,
    stop: Arc<OwnedFd>,
}

/// None when the recording is over.
type Shared = Arc<Mutex<Option<Notes>>>;

impl Recording {
    /// Has a thread fill some memory, which nobody has touched yet.
    ///
    /// # Errors
    /// The host's answer.
    pub(crate) fn begin(
        &self,
        memory: &GuestMemory,
        confinement: &Confinement,
    ) -> io::Result<Recorder> {
        let faults = Userfault::new(&self.device)?;
        let mut parts = Vec::new();
        let mut offset = 0;
        for region in memory.iter() {
            let addresses = faults.register(region)?;
            let size = addresses.end - addresses.start;
            parts.push((addresses, offset));
            offset += size;
        }
        let notes = Arc::new(Mutex::new(Some(Notes::new(offset))));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let filler = Filler {
            faults,
            parts,
            file: self.backing.clone(),
            notes: notes.clone(),
            removed: Removed::default(),
        };
        let (confinement, stopped) = (confinement.clone(), stop.clone());
        confinement.expect(1);
        let run = move || {
            let entered = confinement.enter(Kind::Memory);
            confinement.arrived();
            match entered {
                Ok(()) => filler.run(&stopped),
                Err(error) => end(&with_sources(&error)),
            }
        };
        // Nobody waits for its end: it may be at a disk that does not answer.
        let thread = thread::Builder::new().name("memory".to_owned());
        drop(thread.stack_size(STACK).spawn(run)?);
        Ok(Recorder {
            notes,
            backing: self.backing.clone(),
            target: self.target.clone(),
            began: None,
            stop,
        })
    }
}

impl Recorder {
    /// The file that the memory comes from, as long as this is there.
    pub(super) fn backing(&self) -> Backing {
        self.backing.clone()
    }

    /// The guest runs.
    pub(crate) fn go_on(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// How long until the recording is over, if it is not.
    pub(crate) fn due(&self) -> Option<Duration> {
        let began = self.began?;
        let is_on = lock(&self.notes).is_some();
        is_on.then(|| LENGTH.saturating_sub(began.elapsed()))
    }

    /// Ends the recording. What there is of it is written by that thread, which is waited for so long. Nothing is there of a guest that
    /// has not run.
    pub(crate) fn end(&self, errands: &Errands, patience: Duration) {
        let Some(notes) = lock(&self.notes).take() else {
            return;
        };
        let Some(began) = self.began else {
            return;
        };
        let length = began.elapsed();
        let target = self.target.clone();
        let (done, is_done) = mpsc::channel::<()>();
        errands.send(move || {
            target.write(&notes, length);
            drop(done);
        });
        // It ends without a message.
        let _ = is_done.recv_timeout(patience);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // It is the first thing that is written there.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
    }
}

impl Target {
    fn write(&self, notes: &Notes, length: Duration) {
        let set = notes.set();
        let bytes = set.to_bytes(&self.label);
        // The descriptor that a path names may have something else.
        let written = self.file.set_len(0);
        let written = written.and_then(|()| self.file.write_all_at(&bytes, 0));
        let written = written.and_then(|()| self.file.sync_all());
        let (path, count) = (&self.path, set.count());
        match written.and_then(|()| self.files.publish_working_set()) {
            Ok(()) => tracing::info!(
                "working set recorded: {count} pages within {} ms, in {path}",
                length.as_millis()
            ),
            Err(error) => tracing::warn!("the working set {path} was not written: {error}"),
        }
    }
}

/// The thread.
struct Filler {
    faults: Userfault,
    /// Addresses, and where in the memory's file that is.
    parts: Vec<(Range<u64>, u64)>,
    file: Backing,
    notes: Shared,
    removed: Removed,
}

/// A page that somebody waits for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    address: u64,
    is_write: bool,
}

impl Filler {
    fn run(mut self, stop: &OwnedFd) {
        let mut wanted = Vec::new();
        loop {
            let mut fds = [
                PollFd::new(&self.faults, PollFlags::IN),
                PollFd::new(stop, PollFlags::IN),
            ];
            let soon = (!wanted.is_empty()).then_some(&SOON);
            match poll(&mut fds, soon) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => end(&format!("faults of its memory are not told: {error}")),
            }
            let [_, stopped] = &fds;
            if !stopped.revents().is_empty() {
                return;
            }
            let removed = &mut self.removed;
            let told = self.faults.events(|event| match event {
                Event::Fault { address, is_write } => wanted.push(Wanted { address, is_write }),
                Event::Removed { start, end } => removed.add(start..end),
            });
            if let Err(error) = told {
                end(&format!("faults of its memory are not told: {error}"));
            }
            wanted.retain(|wanted| self.fill(*wanted) == Put::Again);
        }
    }

    /// Puts a page where it is wanted.
    fn fill(&self, wanted: Wanted) -> Put {
        let Wanted { address, is_write } = wanted;
        let part = self.parts.iter().find(|(part, _)| part.contains(&address));
        let Some((part, offset)) = part else {
            return Put::Gone;
        };
        let place = offset + (address - part.start);
        let mut page: Page = [0; 4096];
        // What was given back is nobody's any more, and not the file's again.
        if !self.removed.has(address) {
            match self.file.read_page(&mut page, place) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => end(SHORTER),
                Err(error) => end(&format!(
                    "the file of the snapshot's memory cannot be read: {error}"
                )),
            }
        }
        if let Some(notes) = &mut *lock(&self.notes) {
            notes.note(place / PAGE, is_write);
        }
        let put = match page.iter().all(|byte| *byte == 0) {
            true => self.faults.zero(address),
            false => self.faults.copy(address, &page),
        };
        put.unwrap_or_else(|error| end(&format!("the host takes no page of its memory: {error}")))
    }
}

/// What was given back: ranges of addresses that do not touch, in ascending order.
#[derive(Debug, Default)]
struct Removed(Vec<Range<u64>>);

impl Removed {
    fn add(&mut self, mut range: Range<u64>) {
        let first = self.0.partition_point(|there| there.end < range.start);
        let last = self.0.partition_point(|there| there.start <= range.end);
        if let Some(there) = self.0.get(first..last)
            && let (Some(a), Some(b)) = (there.first(), there.last())
        {
            range = range.start.min(a.start)..range.end.max(b.end);
        }
        drop(self.0.splice(first..last.max(first), [range]));
    }

    fn has(&self, address: u64) -> bool {
        let behind = self.0.partition_point(|there| there.end <= address);
        self.0
            .get(behind)
            .is_some_and(|there| there.contains(&address))
    }
}

/// Ends the process: there is no way on for whoever waits for a page.
fn end(why: &str) -> ! {
    let mut words = Words::default();
    words.push(why);
    words.end(
        ExitCause::NoResource,
        "the host lacks what the machine needs: ",
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut removed = Removed::default();
        for range in [10..20, 40..50, 30..35, 20..25] {
            removed.add(range);
        }
        assert_eq!(removed.0, [10..25, 30..35, 40..50]);
        removed.add(5..45);
        removed.add(60..61);
        assert_eq!(removed.0, [5..50, 60..61]);
    }

    proptest! {
        #[test]
        fn what_was_given_back_is_known(ranges in proptest::collection::vec((0..200_u64, 1..30_u64), 0..40)) {
            let mut removed = Removed::default();
            for (start, length) in &ranges {
                removed.add(*start..start + length);
            }
            for address in 0..240 {
                let is_in = |(start, length): &(u64, u64)| (*start..start + length).contains(&address);
                prop_assert_eq!(removed.has(address), ranges.iter().any(is_in), "{}", address);
            }
            prop_assert!(removed.0.windows(2).all(|two| two[0].end < two[1].start));
        }
    }
}
