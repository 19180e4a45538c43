//! What a file is by its first bytes, for those that people give and a microVM cannot use as they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{SpecError, VmError};
use crate::Error;

/// Formats of disks other than the raw one, by their first bytes, with their names for `qemu-img`.
const IMAGES: [(&[u8], &str); 5] = [
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vpc"),
    (b"<<< ", "vdi"),
];

/// Compressed files, with the programs that unpack them to standard output.
const COMPRESSED: [(&[u8], &str); 5] = [
    (&[0x1f, 0x8b], "zcat"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstdcat"),
    (b"\xfd7zXZ\0", "xzcat"),
    (b"BZh", "bzcat"),
    (&[0x02, 0x21, 0x4c, 0x18], "lz4cat"),
];

/// Refuses a file whose bytes are not what the guest is to see.
pub(super) fn raw(what: &'static str, path: &Path) -> Result<(), VmError> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    if let Some(format) = image_format(&file).map_err(Error::io("read", path))? {
        let path = path.display().to_string();
        return Err(SpecError::ImageFormat { path, format }.into());
    }
    if let Some(unpacker) = unpacker(&file).map_err(Error::io("read", path))? {
        let path = path.display().to_string();
        return Err(SpecError::Compressed {
            what,
            path,
            unpacker,
        }
        .into());
    }
    Ok(())
}

/// The name for `qemu-img` of a disk's format, if it is one that is not raw.
fn image_format(file: &File) -> io::Result<Option<&'static str>> {
    by_first_bytes(file, &IMAGES)
}

/// The program that unpacks a file, if it is compressed.
fn unpacker(file: &File) -> io::Result<Option<&'static str>> {
    by_first_bytes(file, &COMPRESSED)
}

fn by_first_bytes(
    file: &File,
    known: &[(&[u8], &'static str)],
) -> io::Result<Option<&'static str>> {
    let mut bytes = [0; 8];
    let mut there = 0;
    while there < bytes.len() {
        match file.read_at(&mut bytes[there..], there as u64)? {
            0 => break,
            more => there += more,
        }
    }
    let begins = |first: &[u8]| bytes[..there].starts_with(first);
    let found = known.iter().find(|(first, _)| begins(first));
    Ok(found.map(|(_, name)| *name))
}
