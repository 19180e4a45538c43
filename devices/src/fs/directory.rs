//! Open directories: OPENDIR, READDIR, READDIRPLUS.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::config::FsCache;
use super::file::{FOPEN_CACHE_DIR, FOPEN_KEEP_CACHE};
use super::handles::Handle;
use super::nodes::ROOT;
use super::server::{Answer, Request, Result, Server, lock, to_u64};

/// The most bytes of entries in one reply.
const MAX_LISTING: u64 = 64 << 10;
/// Bytes before an entry's name: number, offset, length, type.
const DIRENT: usize = 24;
/// Bytes that READDIRPLUS puts before that.
const ENTRY_OUT: usize = 128;
/// Room for one entry of the longest name, as the host's kernel has it.
const ONE_ENTRY: usize = 1024;

/// An entry of a directory.
struct Entry<'a> {
    name: &'a CStr,
    kind: FileType,
    ino: u64,
    /// Where the next one is.
    next: u64,
}

impl Server {
    pub(super) fn opendir(&mut self, request: &Request<'_>) -> Result<Answer> {
        let node = request.node();
        let kind = self.nodes().kind(node)?;
        if kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        self.check_handles()?;
        let directory = self.open_directory(node)?;
        let flags = match self.cache {
            FsCache::Always => FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE,
            FsCache::Auto | FsCache::Never => 0,
        };
        self.put_open(Handle::new(node, directory, true, 0), flags);
        Ok(Answer::Payload)
    }

    pub(super) fn open_directory(&mut self, node: u64) -> Result<OwnedFd> {
        let fd = self.node_fd(node)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.open_with(|| self.proc_self_fd.reopen(fd.as_fd(), flags))
    }

    pub(super) fn readdir(&mut self, mut request: Request<'_>, plus: bool) -> Result<Answer> {
        let (fh, offset) = (request.args.u64()?, request.args.u64()?);
        let room = u64::from(request.args.u32()?);
        let room = room.min(request.room).min(MAX_LISTING);
        let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
        let node = request.node();
        let directory = self.handles().directory(fh, node)?.clone();
        let turn = Arc::clone(&self.handles().get(fh, node)?.turn);
        // The position is the handle's, so two listings of it can't go on at once.
        let _turn = lock(&turn);
        let position = self.handles().get(fh, node)?.position.take();
        if position != Some(offset) {
            if i64::try_from(offset).is_err() {
                return Err(Errno::INVAL);
            }
            rustix::fs::seek(&*directory, SeekFrom::Start(offset))?;
        }
        let mut entries = std::mem::take(&mut self.entries);
        // Entries of the host's kernel are about as long as those of READDIR, and a sixth of those of READDIRPLUS.
        let wanted = if plus { room / 6 } else { room };
        entries.resize(wanted.max(ONE_ENTRY), MaybeUninit::uninit());
        let listed = self.list(node, &directory, &mut entries, plus, room);
        self.entries = entries;
        let position = listed?;
        if let Ok(handle) = self.handles().get(fh, node) {
            handle.position = position;
        }
        Ok(Answer::Payload)
    }

    /// Lists as much as there is room for. Where the host's kernel goes on, if that is where the guest will.
    fn list(
        &mut self,
        node: u64,
        directory: &OwnedFd,
        buffer: &mut [MaybeUninit<u8>],
        plus: bool,
        room: usize,
    ) -> Result<Option<u64>> {
        let mut listing = RawDir::new(directory, buffer);
        let mut position = None;
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(_) if self.out.len() > 0 => break,
                // A directory that was removed has no entries any more.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error),
            };
            let entry = Entry {
                name: entry.file_name(),
                kind: entry.file_type(),
                ino: entry.ino(),
                next: entry.next_entry_cookie(),
            };
            if !self.put_dirent(node, &entry, plus, room) {
                if self.out.len() == 0 {
                    return Err(Errno::INVAL);
                }
                return Ok(None);
            }
            position = Some(entry.next);
            if listing.is_buffer_empty() && to_u64(self.out.len() + ONE_ENTRY) > to_u64(room) {
                break;
            }
        }
        Ok(position)
    }

    /// `fuse_dirent` or `fuse_direntplus`; false if there is no room for it.
    fn put_dirent(&mut self, node: u64, entry: &Entry<'_>, plus: bool, room: usize) -> bool {
        let name = entry.name.to_bytes();
        let head = if plus { ENTRY_OUT + DIRENT } else { DIRENT };
        if self.out.len() + (head + name.len()).next_multiple_of(8) > room {
            return false;
        }
        let is_dots = name == b"." || name == b"..";
        if plus {
            // What can't be looked up is listed all the same; the guest then asks for it when it needs it.
            let found = (!is_dots).then(|| self.look_up(node, entry.name));
            match found {
                Some(Ok((id, stat))) => self.put_entry(id, &stat),
                _ => self.out.zeros(ENTRY_OUT),
            }
        }
        // What is above the root is nobody's business.
        let ino = if node == ROOT && name == b".." {
            ROOT
        } else {
            self.nodes().ino_in(node, entry.ino)
        };
        self.out.u64(ino);
        self.out.u64(entry.next);
        self.out.u32(u32::try_from(name.len()).unwrap_or(0));
        self.out.u32(entry.kind.as_raw_mode() >> 12);
        self.out.slice(name);
        self.out.align();
        true
    }
}
