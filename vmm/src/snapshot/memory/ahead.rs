//! Bringing in ahead what was recorded ([`super::working_set`]), beside the guest that begins.
//!
//! The memory's file is mapped as always, so that all who start from it share what they do not write. First its pages are asked for,
//! all of them at once and in the order of the file, which is what a disk does best. Then they are mapped, and those that were written
//! at once are copied for this machine, so that its guest finds them there.

#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use hull_devices::GuestMemory;
use hull_vm_api::ExitCause;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::pages::PAGE;
use super::working_set::WorkingSet;
use crate::error::with_sources;
use crate::last_words::Words;
use crate::sandbox::Confinement;
use crate::sandbox::seccomp::Kind;

/// It calls nothing deep.
const STACK: usize = 64 << 10;
/// Pages between two ranges that are asked for with them: a disk reads so many as fast as none.
const GAP: u64 = 8;

/// Memory that is brought in, as long as this is there.
#[derive(Debug)]
pub(crate) struct Ahead(Arc<AtomicBool>);

impl Ahead {
    /// Has a thread bring in pages of the memory's file, whose regions are mapped one behind the other.
    ///
    /// # Errors
    /// If the host has no thread.
    pub(crate) fn begin(
        set: Arc<WorkingSet>,
        memory: GuestMemory,
        confinement: &Confinement,
    ) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (confinement, ends) = (confinement.clone(), is_over.clone());
        confinement.expect(1);
        let run = move || {
            let entered = confinement.enter(Kind::Memory);
            confinement.arrived();
            if let Err(error) = entered {
                let mut words = Words::default();
                words.push(&with_sources(&error));
                words.end(ExitCause::Failure, "");
            }
            bring_in(&set, &memory, &ends);
        };
        // Nobody waits for its end: it may be at a disk that does not answer.
        let thread = thread::Builder::new().name("memory".to_owned());
        drop(thread.stack_size(STACK).spawn(run)?);
        Ok(Self(is_over))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn bring_in(set: &WorkingSet, memory: &GuestMemory, is_over: &AtomicBool) {
    let began = Instant::now();
    let ranges = set.ranges();
    let pages = |range: &Range<u32>| u64::from(range.start)..u64::from(range.end);
    let mut asked = ranges.iter().map(|range| pages(&range.pages)).peekable();
    while let Some(mut range) = asked.next() {
        while let Some(next) = asked.next_if(|next| next.start <= range.end + GAP) {
            range.end = next.end;
        }
        if is_over.load(Ordering::Relaxed) || !advise(memory, &range, libc::MADV_WILLNEED) {
            return;
        }
    }
    let in_reach = began.elapsed();
    for range in ranges {
        let advice = match range.is_written {
            true => libc::MADV_POPULATE_WRITE,
            false => libc::MADV_POPULATE_READ,
        };
        if is_over.load(Ordering::Relaxed) || !advise(memory, &pages(&range.pages), advice) {
            return;
        }
    }
    tracing::info!(
        "working set brought in: {} pages within {} ms, asked for within {}",
        set.count(),
        began.elapsed().as_millis(),
        in_reach.as_millis()
    );
}

/// Gives advice on pages of the memory's file; whether there is a point in going on.
fn advise(memory: &GuestMemory, pages: &Range<u64>, advice: libc::c_int) -> bool {
    let mut offset = 0;
    for region in memory.iter() {
        let part = offset..offset + region.len();
        offset = part.end;
        let start = (pages.start * PAGE).max(part.start);
        let end = (pages.end * PAGE).min(part.end);
        let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else {
            continue;
        };
        let place = usize::try_from(start - part.start).unwrap_or(usize::MAX);
        let length = usize::try_from(length).unwrap_or_default();
        // SAFETY: the pages are within the region's mapping, which lives as long as the borrow. None of these changes what is in them.
        let done = unsafe { libc::madvise(region.as_ptr().add(place).cast(), length, advice) };
        if done < 0 {
            let error = io::Error::last_os_error();
            // A page that is not there is told by whoever needs it.
            tracing::debug!(
                "the working set is not brought in any further: madvise {advice}: {error}"
            );
            return false;
        }
    }
    true
}
