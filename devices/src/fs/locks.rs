//! Locks: GETLK, SETLK, SETLKW, of ranges (fcntl(2)) and of whole files (flock(2)).
//!
//! They are the host's, so that guests which share a directory, and programs on the host, see each other's. A process of
//! the guest is an *owner*; for each file on which it holds ranges there is an open file description of its own, whose
//! locks (F_OFD_SETLK) are the owner's. A lock of flock(2) is on the handle's description. No call waits: a request that
//! should is set aside, see [`super::waiting`].

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::host::{self, LockKind, Range};
use super::server::{Answer, Request, Result, Server, lock};

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
    /// The process that asks, as the guest's kernel numbers it.
    pub(super) pid: u32,
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
        let (pid, flags) = (args.u32()?, args.u32()?);
        let range = Range {
            first: i64::try_from(first).map_err(|_| Errno::INVAL)?,
            last: i64::try_from(last).unwrap_or(i64::MAX),
        };
        let wanted = Self {
            node,
            fh,
            owner,
            pid,
            range,
            kind,
            flock: flags & LK_FLOCK != 0,
        };
        if wanted.is_sound() {
            Ok(wanted)
        } else {
            Err(Errno::INVAL)
        }
    }

    /// Also for saved ones.
    pub(super) fn is_sound(&self) -> bool {
        self.range.first >= 0 && self.range.first <= self.range.last
    }
}

/// What one owner holds on one file. Its lock is held while the host is asked, so that what is noted is what is so; that
/// makes only the owner itself wait, for this very file.
#[derive(Debug, Default)]
pub(super) struct Owner {
    /// None before the first lock.
    file: Option<OwnedFd>,
    ranges: Vec<(LockKind, Range)>,
    /// The process that asked last.
    pid: u32,
    /// It is not in the table any more: another must take its place.
    is_gone: bool,
}

/// The ranges of all owners, by node and owner.
#[derive(Debug, Default)]
pub(super) struct Locks {
    owners: HashMap<(u64, u64), Arc<Mutex<Owner>>>,
}

impl Locks {
    /// All that there are, to be closed.
    pub(super) fn clear(&mut self) -> Vec<Arc<Mutex<Owner>>> {
        self.owners.drain().map(|(_, owner)| owner).collect()
    }

    /// Open file descriptions.
    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// All ranges in a fixed order: node, owner, range. Nothing may be under way.
    pub(super) fn all(&self) -> Vec<LockRequest> {
        let mut all = Vec::new();
        for ((node, owner), held) in &self.owners {
            let held = lock(held);
            all.extend(held.ranges.iter().map(|(kind, range)| LockRequest {
                node: *node,
                fh: 0,
                owner: *owner,
                pid: held.pid,
                range: *range,
                kind: *kind,
                flock: false,
            }));
        }
        all.sort_by_key(|lock| (lock.node, lock.owner, lock.range.first));
        all
    }

    /// The process of this guest that holds what is in another owner's way; 0 if it is none, or if that owner is busy.
    fn holder(&self, wanted: &LockRequest, held: (LockKind, Range)) -> u32 {
        let others = self
            .owners
            .iter()
            .filter(|((node, owner), _)| *node == wanted.node && *owner != wanted.owner);
        let mut pids = others.filter_map(|(_, owner)| {
            let owner = owner.try_lock().ok()?;
            owner.ranges.contains(&held).then_some(owner.pid)
        });
        pids.next().unwrap_or(0)
    }
}

impl Server {
    pub(super) fn getlk(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let wanted = LockRequest::parse(&mut request)?;
        let file = self.file(wanted.fh, wanted.node)?;
        let owner = self
            .locks()
            .owners
            .get(&(wanted.node, wanted.owner))
            .cloned();
        let own = owner.as_deref().map(lock);
        // By the owner's own description, or its own locks would be in its way.
        let file = match own.as_ref().and_then(|owner| owner.file.as_ref()) {
            Some(own) => own.as_fd(),
            None => file.as_fd(),
        };
        let held = host::conflict(file, wanted.kind, wanted.range)?;
        drop(own);
        let pid = held.map_or(0, |held| self.locks().holder(&wanted, held));
        let (kind, range) = held.unwrap_or((LockKind::Unlock, wanted.range));
        self.out.u64(u64::try_from(range.first).unwrap_or(0));
        self.out.u64(u64::try_from(range.last).unwrap_or(0));
        self.out.u32(kind.raw());
        self.out.u32(pid);
        Ok(Answer::Payload)
    }

    pub(super) fn setlk(&mut self, mut request: Request<'_>, waits: bool) -> Result<Answer> {
        let wanted = LockRequest::parse(&mut request)?;
        match self.lock(&wanted) {
            Ok(()) => Ok(Answer::Payload),
            Err(Errno::AGAIN) if waits => Ok(Answer::Wait(wanted)),
            Err(Errno::AGAIN) if wanted.flock => Ok(Answer::Refused(wanted)),
            Err(error) => Err(error),
        }
    }

    /// Locks or unlocks without waiting; AGAIN if someone else holds it.
    pub(super) fn lock(&mut self, wanted: &LockRequest) -> Result<()> {
        if wanted.flock {
            self.flock(wanted)?;
        } else {
            self.file(wanted.fh, wanted.node)?;
            self.lock_range(wanted)?;
        }
        // A weaker lock lets others in too.
        self.note_unlock(wanted.kind != LockKind::Write);
        Ok(())
    }

    fn flock(&mut self, wanted: &LockRequest) -> Result<()> {
        let (fh, node) = (wanted.fh, wanted.node);
        let (file, turn) = {
            let mut handles = self.handles();
            let handle = handles.get(fh, node)?;
            (
                handle.file.clone().ok_or(Errno::STALE)?,
                handle.turn.clone(),
            )
        };
        let _turn = lock(&turn);
        let locked = host::flock(file.as_fd(), wanted.kind);
        let mut had = false;
        if let Ok(handle) = self.handles().get(fh, node) {
            // The lock that was held is gone even where the new one is not to be had: flock(2) converts in two steps.
            had = handle.flock.take().is_some();
            let holds = locked.is_ok() && wanted.kind != LockKind::Unlock;
            handle.flock = holds.then_some(wanted.kind);
        }
        self.note_unlock(had);
        locked
    }

    pub(super) fn lock_range(&mut self, wanted: &LockRequest) -> Result<()> {
        let key = (wanted.node, wanted.owner);
        loop {
            let known = self.locks().owners.get(&key).cloned();
            let owner = match known {
                Some(owner) => owner,
                None if wanted.kind == LockKind::Unlock => return Ok(()),
                None => {
                    self.check_handles()?;
                    Arc::clone(self.locks().owners.entry(key).or_default())
                }
            };
            let mut held = lock(&owner);
            if held.is_gone {
                continue;
            }
            let locked = self.lock_range_of(&mut held, wanted);
            if held.ranges.is_empty() {
                held.is_gone = true;
                self.locks().owners.remove(&key);
            }
            return locked;
        }
    }

    fn lock_range_of(&mut self, owner: &mut Owner, wanted: &LockRequest) -> Result<()> {
        if owner.ranges.len() >= MAX_RANGES && wanted.kind != LockKind::Unlock {
            return Err(Errno::NOLCK);
        }
        let file = match &owner.file {
            Some(file) => file,
            None => owner.file.insert(self.open_for_lock(wanted.node)?),
        };
        host::lock_range(file.as_fd(), wanted.kind, wanted.range)?;
        set_range(&mut owner.ranges, wanted.kind, wanted.range);
        owner.pid = wanted.pid;
        Ok(())
    }

    /// An owner gives up all that it holds on a file; whether it held something.
    pub(super) fn release_locks(&self, node: u64, owner: u64) -> bool {
        let owner = self.locks().owners.remove(&(node, owner));
        let Some(owner) = owner else {
            return false;
        };
        let mut held = lock(&owner);
        held.is_gone = true;
        held.ranges.clear();
        // It is closed here, whoever else still has it in hand.
        held.file = None;
        true
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
