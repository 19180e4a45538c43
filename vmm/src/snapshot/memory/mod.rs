//! The memory's file: as long as the guest's memory, one region behind the other, with a label behind it.
//!
//! It is what Firecracker's is, as far as that goes: page for page what the guest had, with holes for pages of zeros, and a diff is a file
//! of the same size with holes for pages that were not written. So a diff is put on the snapshot before it by copying its data, and
//! nothing else of it, over that one's file.

pub(crate) mod ahead;
pub(crate) mod base;
pub(crate) mod dirty;
pub(crate) mod faults;
pub(crate) mod label;
mod map;
mod pages;
pub(crate) mod recording;
#[cfg(test)]
mod tests;
mod userfault;
pub mod working_set;
mod write;

use std::io;

use rustix::io::Errno;

use ahead::Ahead;
use faults::Faults;
pub(crate) use map::{Backing, Origin, map};
use recording::Recorder;
pub(crate) use write::{Chosen, Saved, Which, begin, choose, finish, write, write_pages};

/// What is done about memory for as long as the machine lives.
#[derive(Debug)]
pub(crate) enum Filling {
    /// Another process fills it.
    Process { _faults: Faults },
    /// This one does, and may record what is touched.
    Recorded(Recorder),
    /// What was recorded is brought in.
    Ahead { _ahead: Ahead },
}

/// Who has the pages of memory that are not there. They are not zeros.
#[derive(Debug, Clone)]
pub(crate) enum Missing {
    /// Another process.
    WithProcess,
    /// This one, in that file.
    InFile(Backing),
}

impl Filling {
    /// Who has the pages that are not there, unless the kernel does.
    pub(crate) fn missing(&self) -> Option<Missing> {
        match self {
            Self::Process { .. } => Some(Missing::WithProcess),
            Self::Recorded(recorder) => Some(Missing::InFile(recorder.backing())),
            Self::Ahead { .. } => None,
        }
    }
}

/// Why the memory's file cannot be used, or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryFileError {
    /// It begins with something else.
    #[error(
        "it is no memory of a snapshot of Hull's, or it is cut off; name the file that /snapshot/create wrote as mem_file_path"
    )]
    Foreign,
    /// It has the label of another snapshot.
    #[error(
        "it belongs to another snapshot than the state's file does; name the two that were written together"
    )]
    Other,
    /// Its label is damaged.
    #[error("its label was altered or is damaged; take the snapshot again")]
    Label,
    /// It has pages of diffs only.
    #[error(
        "it lacks the pages of snapshot {number} of the {count} that it consists of: a diff has only what was written since the one before it. \
         Copy its data, without its holes, over a copy of that one's file, and load the result"
    )]
    Incomplete {
        /// The first that is missing.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// A descriptor that has what the diff is of.
    #[error(
        "it has the snapshot before this one, which a Diff must not overwrite; hand over another file, or name a path"
    )]
    Base,
    /// No more fit.
    #[error(
        "there are {} snapshots on top of each other already; take a Full one",
        label::LONGEST
    )]
    TooManyDiffs,
    /// The host has no room.
    #[error("there is no room for it on its file system; make some, or write it elsewhere")]
    Full,
    /// The host's answer.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The host's answer.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
    /// What the guest's memory is mapped from is not there any more.
    #[error("the file that this microVM's memory comes from was made shorter while it was mapped")]
    Lost,
    /// The kernel does not tell which pages there are.
    #[error(
        "this host's kernel does not tell which pages of memory are in use (CONFIG_PROC_PAGE_MONITOR), which snapshots need"
    )]
    Pagemap(#[source] io::Error),
}

impl MemoryFileError {
    /// The host did not take something that was written.
    pub(crate) fn refused(error: io::Error) -> Self {
        let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
        match full
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
        {
            true => Self::Full,
            false => Self::Write(error),
        }
    }
}
