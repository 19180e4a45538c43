//! Extended attributes: SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR.
//!
//! Which ones a guest may have: `user.*`, access control lists, and file capabilities. The rest (`trusted.*`, the labels
//! of security modules) says what the host's kernel should think of a file, and is not the guest's: it is neither listed
//! nor set. The calls need a file that is open, so only regular files and directories that this process may read have any.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags, XattrFlags};
use rustix::io::Errno;

use super::host;
use super::init::SETXATTR_EXT;
use super::server::{Answer, Request, Result, Server, to_u64};
use super::wire::NAME_MAX;

/// The kernel's limits for a value, and for a list of names.
const VALUE_MAX: usize = 64 << 10;
const LIST_MAX: usize = 64 << 10;
/// setxattr_flags: clear the set-group-ID bit, for the new list does not let the owner keep it.
const ACL_KILL_SGID: u32 = 1;
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";

fn is_allowed(name: &[u8]) -> bool {
    let whole: [&[u8]; 3] = [
        ACL_ACCESS,
        b"system.posix_acl_default",
        b"security.capability",
    ];
    name.starts_with(b"user.") || whole.contains(&name)
}

fn check(name: &CStr) -> Result<()> {
    if is_allowed(name.to_bytes()) {
        Ok(())
    } else {
        Err(Errno::OPNOTSUPP)
    }
}

impl Server {
    pub(super) fn setxattr(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let extended = self.has(SETXATTR_EXT);
        let args = &mut request.args;
        let (size, flags) = (args.u32()?, args.u32()?);
        let kill = if extended {
            let kill = args.u32()?;
            args.skip(4)?;
            kill
        } else {
            0
        };
        let name = args.string(NAME_MAX)?;
        let value = args.bytes(usize::try_from(size).map_err(|_| Errno::TOOBIG)?)?;
        check(name)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        let file = self.open_for_xattr(request.node())?;
        rustix::fs::fsetxattr(&file, name, value, flags)?;
        if kill & ACL_KILL_SGID != 0 && name.to_bytes() == ACL_ACCESS {
            let mode = u32::from(host::stat(file.as_fd())?.stx_mode);
            rustix::fs::fchmod(&file, host::permissions(mode & !host::SETGID))?;
        }
        Ok(Answer::Payload)
    }

    pub(super) fn getxattr(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let size = request.args.u32()?;
        request.args.skip(4)?;
        let name = request.args.string(NAME_MAX)?;
        if !is_allowed(name.to_bytes()) {
            return Err(Errno::NODATA);
        }
        let file = self.open_for_xattr(request.node());
        let file = file.map_err(|error| match error {
            Errno::OPNOTSUPP => Errno::NODATA,
            error => error,
        })?;
        if size == 0 {
            let len = rustix::fs::fgetxattr_query(&file, name)?;
            return self.put_size(len);
        }
        let room = usize::try_from(size).map_err(|_| Errno::INVAL)?;
        self.out.fill(room.min(VALUE_MAX), |buffer| {
            rustix::fs::fgetxattr(&file, name, buffer)
        })?;
        self.fits(size, &request)
    }

    pub(super) fn listxattr(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let size = request.args.u32()?;
        let file = match self.open_for_xattr(request.node()) {
            Ok(file) => Some(file),
            Err(Errno::OPNOTSUPP) => None,
            Err(error) => return Err(error),
        };
        let mut list = vec![0; LIST_MAX];
        let len = match &file {
            Some(file) => rustix::fs::flistxattr(file, &mut list[..])?,
            None => 0,
        };
        let names = list
            .get(..len)
            .unwrap_or_default()
            .split_inclusive(|byte| *byte == 0);
        for name in names {
            if name.split_last().is_some_and(|(_, name)| is_allowed(name)) {
                self.out.slice(name);
            }
        }
        if size == 0 {
            let len = self.out.len();
            return self.put_size(len);
        }
        self.fits(size, &request)
    }

    pub(super) fn removexattr(&mut self, mut request: Request<'_>) -> Result<Answer> {
        let name = request.args.string(NAME_MAX)?;
        check(name)?;
        let file = self.open_for_xattr(request.node())?;
        rustix::fs::fremovexattr(file, name)?;
        Ok(Answer::Payload)
    }

    fn open_for_xattr(&mut self, node: u64) -> Result<OwnedFd> {
        let kind = self.nodes().kind(node)?;
        match kind {
            FileType::RegularFile => match self.open_node(node, OFlags::RDONLY) {
                // Any way of opening it is good enough.
                Err(Errno::ACCESS) => self.open_node(node, OFlags::WRONLY),
                result => result,
            },
            FileType::Directory => self.open_directory(node),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    /// The answer to a request that asks how long the answer is.
    fn put_size(&mut self, len: usize) -> Result<Answer> {
        self.out.truncate(0);
        self.out.u32(u32::try_from(len).map_err(|_| Errno::TOOBIG)?);
        self.out.u32(0);
        Ok(Answer::Payload)
    }

    fn fits(&self, size: u32, request: &Request<'_>) -> Result<Answer> {
        if to_u64(self.out.len()) > u64::from(size).min(request.room) {
            return Err(Errno::RANGE);
        }
        Ok(Answer::Payload)
    }
}
