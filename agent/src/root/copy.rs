//! Copies of whole directories: all kinds of files with owners, modes, times, extended attributes
//! and hard links. Nobody else changes either side meanwhile; no process of the container runs yet.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chmodat, chownat,
    lgetxattr, linkat, llistxattr, lsetxattr, lstat, mkdirat, mknodat, openat, readlinkat,
    sendfile, symlinkat, utimensat,
};
use rustix::io::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// As many bytes as the value of an extended attribute may have.
const MAX_XATTR: usize = 64 * 1024;

/// Copies the directory `from` and everything in it to `to`, which must not exist.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    mkdirat(CWD, to, Mode::from_raw_mode(0o700))?;
    copy_into(from, to)
}

/// Copies everything in the directory `from`, and what belongs to itself, to the empty directory `to`.
pub(super) fn copy_into(from: &Path, to: &Path) -> Result<()> {
    let top = to;
    let mut linked: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    // Directories get their times last, when nothing is put into them any more.
    let mut directories = Vec::new();
    let mut ahead = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = ahead.pop() {
        let stat = lstat(&from)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = linked.get(&identity) {
                linkat(CWD, first, CWD, &to, AtFlags::empty())?;
                continue;
            }
            linked.insert(identity, to.clone());
        }
        if to != top {
            make_like(&from, &to, &stat, kind)?;
        }
        if kind == FileType::Directory {
            for name in names(&from)? {
                ahead.push((from.join(&name), to.join(&name)));
            }
            directories.push((from, to, stat));
        } else {
            copy_attributes(&from, &to, &stat, kind)?;
        }
    }
    for (from, to, stat) in directories.into_iter().rev() {
        copy_attributes(&from, &to, &stat, FileType::Directory)?;
    }
    Ok(())
}

/// Removes a directory with everything in it; it may be missing.
pub(super) fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        _ => Ok(()),
    }
}

pub(super) fn names(directory: &Path) -> Result<Vec<std::ffi::OsString>> {
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let entries = std::fs::read_dir(directory).map_err(io)?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name()).map_err(io))
        .collect()
}

fn make_like(from: &Path, to: &Path, stat: &Stat, kind: FileType) -> Result<()> {
    let mode = Mode::from_raw_mode(0o600);
    match kind {
        FileType::Directory => mkdirat(CWD, to, Mode::from_raw_mode(0o700)),
        FileType::RegularFile => copy_content(from, to),
        FileType::Symlink => symlinkat(readlinkat(CWD, from, Vec::new())?, CWD, to),
        _ => mknodat(CWD, to, kind, mode, stat.st_rdev),
    }
}

fn copy_content(from: &Path, to: &Path) -> Result<()> {
    let source = openat(CWD, from, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let target = openat(CWD, to, flags, Mode::from_raw_mode(0o600))?;
    while sendfile(&target, &source, None, 1 << 20)? > 0 {}
    Ok(())
}

pub(super) fn copy_attributes(from: &Path, to: &Path, stat: &Stat, kind: FileType) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        // After the owner: changing that clears the set-user-id bit.
        chmodat(
            CWD,
            to,
            Mode::from_raw_mode(stat.st_mode & 0o7777),
            AtFlags::empty(),
        )?;
        copy_xattrs(from, to)?;
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_xattrs(from: &Path, to: &Path) -> Result<()> {
    let mut list = Vec::with_capacity(MAX_XATTR);
    match llistxattr(from, spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    }
    for name in list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let mut value = Vec::with_capacity(MAX_XATTR);
        lgetxattr(from, &name, spare_capacity(&mut value))?;
        match lsetxattr(to, &name, &value, rustix::fs::XattrFlags::empty()) {
            // A share of a file system without such attributes.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_copied_with_all_that_belongs_to_it() {
        let base = tempfile::tempdir().unwrap();
        let (from, to) = (base.path().join("from"), base.path().join("to"));
        fs::create_dir_all(from.join("sub/empty")).unwrap();
        fs::write(from.join("sub/file"), vec![7; 100_000]).unwrap();
        fs::hard_link(from.join("sub/file"), from.join("again")).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(from.join("sub/empty"), fs::Permissions::from_mode(0o1777)).unwrap();

        copy_tree(&from, &to).unwrap();

        assert_eq!(fs::read(to.join("sub/file")).unwrap(), vec![7; 100_000]);
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("/nowhere")
        );
        let metadata = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!(metadata("sub/file").ino(), metadata("again").ino());
        assert_eq!(metadata("sub/file").mode() & 0o7777, 0o4711);
        assert_eq!(metadata("sub/empty").mode() & 0o7777, 0o1777);
        for path in ["sub", "sub/file", "link"] {
            let original = fs::symlink_metadata(from.join(path)).unwrap();
            assert_eq!(metadata(path).mtime_nsec(), original.mtime_nsec(), "{path}");
        }
        remove_tree(&to).unwrap();
        remove_tree(&to).unwrap();
        assert!(!to.exists());
    }
}
