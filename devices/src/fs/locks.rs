//! Locks: GETLK, SETLK, SETLKW, of ranges (fcntl(2)) and of whole files (flock(2)).
//!
//! They are the host's, so that guests which share a directory, and programs on the host, see each other's. A process of
//! the guest is an *owner*; for each file on which it holds ranges there is an open file description of its own, whose
//! locks (F_OFD_SETLK) are the owner's. A lock of flock(2) is on the handle's description. No call waits: a request that
//! should is set aside, see [`super::waiting`].

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::host::{self, LockKind, Range};
use super::server::{Answer, Request, Result, Server};

/// lk_flags: it is flock(2).
const LK_FLOCK: u32 = 1;
/// The most ranges that one owner holds on one file, for they are remembered to be saved.
const MAX_RANGES: usize = 1024;

/// A lock that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LockRequest {
    pub(super) node: u64,
    pub(super) fh: u64,
    pub(super) owner: u64,
    pub(super) range: Range,
    pub(super) kind: LockKind,
    pub(super) flock: bool,
}

impl LockRequest {
    fn parse(request: &mut Request<'_>) -> Result<Self> {
        let node = request.node();
        let args = &mut request.args;
        let (fh, owner) = (args.u64()?, args.u64()?);
        let (first, last) = (args.u64()?, args.u64()?);
        let kind = LockKind::parse(args.u32()?)?;
        args.skip(4)?;
        let flags = args.u32()?;
        let range = Range {
            first: i64::try_from(first).map_err(|_| Errno::INVAL)?,
            last: i64::try_from(last).unwrap_or(i64::MAX),
        };
        let lock = Self {
            node,
            fh,
            owner,
            range,
            kind,
            flock: flags & LK_FLOCK != 0,
        };
        if lock.is_sound() {
            Ok(lock)
        } else {
            Err(Errno::INVAL)
        }
    }

    /// Also for saved ones.
    pub(super) fn is_sound(&self) -> bool {
        self.range.first >= 0 && self.range.first <= self.range.last
    }
}

/// What one owner holds on one file.
#[derive(Debug)]
struct Owner {
    file: OwnedFd,
    ranges: Vec<(LockKind, Range)>,
}

/// The ranges of all owners, by node and owner.
#[derive(Debug, Default)]
pub(super) struct Locks {
    owners: HashMap<(u64, u64), Owner>,
}

impl Locks {
    pub(super) fn clear(&mut self) {
        self.owners.clear();
    }

    /// Open file descriptions.
    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// An owner gives up all that it holds on a file; whether it held something.
    pub(super) fn release(&mut self, node: u64, owner: u64) -> bool {
        self.owners.remove(&(node, owner)).is_some()
    }

    /// All ranges in a fixed order: node, owner, kind, range.
    pub(super) fn all(&self) -> Vec<(u64, u64, LockKind, Range)> {
        let mut all = Vec::new();
        for ((node, owner), held) in &self.owners {
            all.extend(held.ranges.iter().map(|(k, r)| (*node, *owner, *k, *r)));
        }
        all.sort_by_key(|(node, owner, _, range)| (*node, *owner, range.first));
        all
    }
}

impl Server {
    pub(super) fn getlk(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let lock = LockRequest::parse(&mut request)?;
        let file = self.handles.file(lock.fh, lock.node)?;
        // By the owner's own description, or its own locks would be in its way.
        let file = match self.locks.owners.get(&(lock.node, lock.owner)) {
            Some(owner) => owner.file.as_fd(),
            None => file.as_fd(),
        };
        let (kind, range) =
            host::conflict(file, lock.kind, lock.range)?.unwrap_or((LockKind::Unlock, lock.range));
        self.out.u64(u64::try_from(range.first).unwrap_or(0));
        self.out.u64(u64::try_from(range.last).unwrap_or(0));
        self.out.u32(kind.raw());
        // Who holds it is not a process of this guest, as far as is known.
        self.out.u32(0);
        Ok(Answer::Payload)
    }

    pub(super) fn setlk(&mut self, mut request: Request<'_>, waits: bool) -> Result<Answer> {
        let lock = LockRequest::parse(&mut request)?;
        match self.lock(&lock) {
            Ok(()) => Ok(Answer::Payload),
            Err(Errno::AGAIN) if waits => Ok(Answer::Wait(lock)),
            Err(error) => Err(error),
        }
    }

    /// Locks or unlocks without waiting; AGAIN if someone else holds it.
    pub(super) fn lock(&mut self, lock: &LockRequest) -> Result<()> {
        if lock.flock {
            let handle = self.handles.get(lock.fh, lock.node)?;
            let file = handle.file.as_ref().ok_or(Errno::STALE)?;
            let locked = host::flock(file.as_fd(), lock.kind);
            // The lock that was held is gone even where the new one is not to be had: flock(2) converts in two steps.
            let had = handle.flock.take().is_some();
            self.unlocked |= had;
            locked?;
            handle.flock = (lock.kind != LockKind::Unlock).then_some(lock.kind);
        } else {
            self.handles.file(lock.fh, lock.node)?;
            self.lock_range(lock)?;
        }
        // A weaker lock lets others in too.
        self.unlocked |= lock.kind != LockKind::Write;
        Ok(())
    }

    pub(super) fn lock_range(&mut self, lock: &LockRequest) -> Result<()> {
        let key = (lock.node, lock.owner);
        let Some(owner) = self.locks.owners.get_mut(&key) else {
            if lock.kind == LockKind::Unlock {
                return Ok(());
            }
            self.handles.check_room(self.locks.len())?;
            let file = self.open_for_lock(lock.node)?;
            host::lock_range(file.as_fd(), lock.kind, lock.range)?;
            let ranges = vec![(lock.kind, lock.range)];
            self.locks.owners.insert(key, Owner { file, ranges });
            return Ok(());
        };
        if owner.ranges.len() >= MAX_RANGES && lock.kind != LockKind::Unlock {
            return Err(Errno::NOLCK);
        }
        host::lock_range(owner.file.as_fd(), lock.kind, lock.range)?;
        set_range(&mut owner.ranges, lock.kind, lock.range);
        if owner.ranges.is_empty() {
            self.locks.owners.remove(&key);
        }
        Ok(())
    }

    /// A description with which both kinds of lock can be had, if the file may be written at all.
    fn open_for_lock(&mut self, node: u64) -> Result<OwnedFd> {
        if !self.read_only {
            match self.open_node(node, OFlags::RDWR) {
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY) => {}
                result => return result,
            }
        }
        self.open_node(node, OFlags::RDONLY)
    }
}

/// What is held after `range` was locked or unlocked: it replaces what it covers.
fn set_range(held: &mut Vec<(LockKind, Range)>, kind: LockKind, range: Range) {
    let mut left = Vec::with_capacity(held.len() + 2);
    for (old_kind, old) in held.drain(..) {
        if old.last < range.first || old.first > range.last {
            left.push((old_kind, old));
            continue;
        }
        if old.first < range.first {
            let last = range.first - 1;
            left.push((old_kind, Range { last, ..old }));
        }
        if old.last > range.last {
            let first = range.last + 1;
            left.push((old_kind, Range { first, ..old }));
        }
    }
    if kind != LockKind::Unlock {
        left.push((kind, range));
    }
    left.sort_by_key(|(_, range)| range.first);
    // Neighbours of one kind are one lock, as in the host's kernel.
    left.dedup_by(|next, before| {
        let joined = before.0 == next.0 && before.1.last.checked_add(1) == Some(next.1.first);
        if joined {
            before.1.last = next.1.last;
        }
        joined
    });
    *held = left;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LockKind, Range, set_range};

    const KINDS: [LockKind; 3] = [LockKind::Read, LockKind::Write, LockKind::Unlock];

    proptest! {
        #[test]
        fn ranges_are_what_was_last_set_byte_by_byte(
            steps in prop::collection::vec((0_usize..3, 0_usize..30, 1_usize..10), 1..40),
        ) {
            let mut model = [LockKind::Unlock; 40];
            let mut held = Vec::new();
            for (kind, first, len) in steps {
                model[first..first + len].fill(KINDS[kind]);
                let first = i64::try_from(first).unwrap();
                let last = first + i64::try_from(len).unwrap() - 1;
                set_range(&mut held, KINDS[kind], Range { first, last });
            }
            for (at, kind) in (0..).zip(model) {
                let is_in = |(_, range): &&(LockKind, Range)| range.first <= at && at <= range.last;
                let found: Vec<_> = held.iter().filter(is_in).collect();
                prop_assert!(found.len() <= 1);
                prop_assert_eq!(found.first().map_or(LockKind::Unlock, |found| found.0), kind);
            }
            // None that could be joined.
            for pair in held.windows(2) {
                prop_assert!(pair[0].0 != pair[1].0 || pair[0].1.last + 1 < pair[1].1.first);
            }
        }
    }
}
