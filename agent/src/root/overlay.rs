//! Image and writable disk as one file system.

use std::path::Path;

use hull_agent_protocol::{FailureKind, Root};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, chownat, mkdirat, stat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::failure::{Explain, Result};
use crate::places::Places;

/// What goes to a disk that only guests ever mount. The engine has initialised all of it, so the
/// kernel need not do so in the background; nor need it read all of its maps of blocks there, for most will never be used.
const EXT4_OPTIONS: &str = "noinit_itable,no_prefetch_block_bitmaps,errors=remount-ro";

/// A rename of a directory of the image is a note, not a copy of its content; so is a change of a
/// file's owner or mode. Both trust what is on the writable disk, which nobody but this kernel
/// writes. The other options are Docker's.
const OVERLAY_OPTIONS: &str = "redirect_dir=on,metacopy=on,index=off,xino=auto";

/// Mounts the container's root; see [`Places::container`].
pub(super) fn mount_root(places: &Places, root: &Root) -> Result<()> {
    let (image, disk) = (places.image(), places.disk());
    make(&image, 0o755)?;
    attach(&root.image, &image, "erofs", MountFlags::RDONLY, "")
        .explain(FailureKind::Mount, || {
            format!("mount the image {}", root.image)
        })?;

    make(&disk, 0o700)?;
    match &root.writable {
        Some(device) => attach(device, &disk, "ext4", MountFlags::empty(), EXT4_OPTIONS)
            .explain(FailureKind::Mount, || {
                format!("mount the writable disk {device}")
            })?,
        None => mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), c"mode=755")
            .explain(FailureKind::Mount, || {
                "make a writable layer in memory".into()
            })?,
    }
    let (upper, work) = (places.upper(), disk.join("work"));
    if make(&upper, 0o755)? {
        copy_owner_and_mode(&image, &upper)
            .explain(FailureKind::Mount, || "prepare the writable layer".into())?;
    }
    make(&work, 0o755)?;

    let container = places.container();
    make(&container, 0o755)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={},{OVERLAY_OPTIONS}",
        image.display(),
        upper.display(),
        work.display(),
    );
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL);
    options
        .and_then(|options| {
            mount(
                "overlay",
                &container,
                "overlay",
                MountFlags::empty(),
                options.as_c_str(),
            )
        })
        .explain(FailureKind::Mount, || {
            "mount the writable layer over the image".into()
        })
}

/// Mounts `source`, a block device or a directory.
fn attach(
    source: &str,
    target: &Path,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> std::result::Result<(), Errno> {
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    match mount(source, target, kind, flags, options.as_c_str()) {
        Err(Errno::NOTBLK) => mount_bind(source, target),
        result => result,
    }
}

/// Makes a directory; false if it was there.
pub(super) fn make(path: &Path, mode: u32) -> Result<bool> {
    match mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error).explain(FailureKind::Mount, || {
            format!("make the directory {}", path.display())
        }),
    }
}

/// The root of an overlay looks like the root of its upper layer.
fn copy_owner_and_mode(from: &Path, to: &Path) -> std::result::Result<(), Errno> {
    let stat = stat(from)?;
    if stat.st_uid != 0 || stat.st_gid != 0 {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(CWD, to, Some(uid), Some(gid), AtFlags::empty())?;
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.bits() & 0o7777 != 0o755 {
        rustix::fs::chmod(to, mode)?;
    }
    Ok(())
}
