//! Whose process it is.

use std::fs;
use std::io;

use rustix::process::{Gid, RawGid, RawUid, Uid, getegid, geteuid, getpid};
use rustix::thread::{
    CapabilitySet, capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::capabilities::FOR_SHARES;

/// Behind all ranges that Linux distributions and container engines give to users. Process ids are below 2^22.
const FIRST: RawUid = 0x7000_0000;

/// What it takes to be what one likes.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP);

/// The user of a machine's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// One that no other machine of this host has, nor anybody else.
    Own(RawUid),
    /// Whoever started it, alone in a user namespace.
    Mapped { uid: RawUid, gid: RawGid },
}

impl User {
    /// What the rights of this process, the keeper, allow.
    pub(super) fn choose() -> Self {
        let all = capabilities(None).is_ok_and(|sets| sets.effective.contains(NEEDED));
        if all {
            let number = getpid().as_raw_nonzero().get().cast_unsigned();
            return Self::Own(FIRST | number);
        }
        Self::Mapped {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        }
    }

    /// Gives the process an id in its user namespace: the one that it has outside. Other groups it keeps, since it may not drop them.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn map(self) -> io::Result<()> {
        if let Self::Mapped { uid, gid } = self {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        }
        Ok(())
    }

    /// Becomes the user, and tells which capabilities may be kept for shares: only root's files have other owners than oneself.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn change(self) -> io::Result<CapabilitySet> {
        let Self::Own(id) = self else {
            return Ok(CapabilitySet::empty());
        };
        set_keep_capabilities(true)?;
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        set_keep_capabilities(false)?;
        Ok(FOR_SHARES)
    }
}
