//! The guest's kernel and initramfs: whether they look like what they should be, as far as a truncated download or a
//! wrong file shows. Whether a kernel boots, only its boot can tell.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A header of either kind is in the first page.
const HEAD: u64 = 4096;
/// A machine's instruction set, as ELF numbers it.
const X86_64: u16 = 62;
/// A part of the file that is to be loaded.
const PT_LOAD: u32 = 1;

/// What a kernel is.
///
/// # Errors
/// Why the file is none, as part of a sentence.
pub(super) fn kernel(path: &Path) -> Result<&'static str, String> {
    let (head, length) = head(path).map_err(|error| error.to_string())?;
    if head.starts_with(b"\x7fELF") {
        elf(&head, length).map(|()| "ELF")
    } else if at(&head, 0x1fe) == Some(0xaa55_u16.to_le_bytes())
        && at(&head, 0x202) == Some(*b"HdrS")
    {
        Ok("bzImage")
    } else {
        Err("it is neither an ELF file nor a bzImage".to_owned())
    }
}

/// That all of it is there.
fn elf(head: &[u8], length: u64) -> Result<(), String> {
    let cut = || "its ELF header is cut off".to_owned();
    let half = |place| at(head, place).map(u16::from_le_bytes).ok_or_else(cut);
    let long = |place| at(head, place).map(u64::from_le_bytes).ok_or_else(cut);
    if at(head, 4) != Some([2, 1]) || half(18)? != X86_64 {
        return Err("it is an ELF file, but none for x86-64".to_owned());
    }
    let (table, size, count) = (long(32)?, half(54)?, half(56)?);
    let mut loaded = false;
    for index in 0..count {
        let entry = table
            .checked_add(u64::from(index) * u64::from(size))
            .and_then(|entry| usize::try_from(entry).ok())
            .ok_or_else(cut)?;
        if at(head, entry).map(u32::from_le_bytes).ok_or_else(cut)? != PT_LOAD {
            continue;
        }
        loaded = true;
        let end = long(entry.saturating_add(8))?.checked_add(long(entry.saturating_add(32))?);
        match end {
            Some(end) if end <= length => {}
            Some(end) => return Err(format!("it has {length} bytes and should have {end}")),
            None => return Err(cut()),
        }
    }
    if loaded {
        Ok(())
    } else {
        Err("it is an ELF file with nothing to load".to_owned())
    }
}

/// What an initramfs is.
///
/// # Errors
/// Why the file is none, as part of a sentence.
pub(super) fn initramfs(path: &Path) -> Result<&'static str, String> {
    let (head, length) = head(path).map_err(|error| error.to_string())?;
    if !head.starts_with(b"070701") && !head.starts_with(b"070702") {
        return Err("it is no cpio archive (newc, not compressed)".to_owned());
    }
    let end = end(path, length).map_err(|error| error.to_string())?;
    let trailer = b"TRAILER!!!";
    if end.windows(trailer.len()).any(|bytes| bytes == trailer) {
        Ok("cpio")
    } else {
        Err("its end is missing".to_owned())
    }
}

/// The beginning of a file, and its length.
fn head(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok((head, length))
}

fn end(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(HEAD)))?;
    let mut end = Vec::new();
    file.take(HEAD).read_to_end(&mut end)?;
    Ok(end)
}

fn at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn put(bytes: &mut [u8], place: usize, value: &[u8]) {
        bytes[place..place + value.len()].copy_from_slice(value);
    }

    /// A file of one part.
    fn small_elf() -> Vec<u8> {
        let mut bytes = vec![0; 200];
        put(&mut bytes, 0, b"\x7fELF\x02\x01\x01");
        put(&mut bytes, 18, &X86_64.to_le_bytes());
        put(&mut bytes, 32, &64_u64.to_le_bytes());
        put(&mut bytes, 54, &56_u16.to_le_bytes());
        put(&mut bytes, 56, &1_u16.to_le_bytes());
        put(&mut bytes, 64, &PT_LOAD.to_le_bytes());
        put(&mut bytes, 64 + 8, &120_u64.to_le_bytes());
        put(&mut bytes, 64 + 32, &80_u64.to_le_bytes());
        bytes
    }

    fn judged(
        check: fn(&Path) -> Result<&'static str, String>,
        bytes: &[u8],
    ) -> Result<&str, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        check(file.path())
    }

    #[test]
    fn kernels_are_known_by_their_headers() {
        assert_eq!(judged(kernel, &small_elf()), Ok("ELF"));
        let mut image = vec![0; 1024];
        put(&mut image, 0x1fe, &[0x55, 0xaa]);
        put(&mut image, 0x202, b"HdrS");
        assert_eq!(judged(kernel, &image), Ok("bzImage"));
    }

    #[test]
    fn what_is_no_kernel_is_said() {
        let elf = small_elf();
        let mut other = elf.clone();
        put(&mut other, 18, &183_u16.to_le_bytes());
        let mut empty = elf.clone();
        put(&mut empty, 56, &0_u16.to_le_bytes());
        for (bytes, words) in [
            (&b""[..], "neither"),
            (b"#!/bin/sh\n", "neither"),
            (&elf[..199], "should have 200"),
            (&elf[..60], "cut off"),
            (&other, "x86-64"),
            (&empty, "nothing to load"),
        ] {
            let error = judged(kernel, bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(kernel(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn an_initramfs_has_a_beginning_and_an_end() {
        let whole = b"070701000000TRAILER!!!\0\0";
        assert_eq!(judged(initramfs, whole), Ok("cpio"));
        assert!(judged(initramfs, &whole[..16]).unwrap_err().contains("end"));
        assert!(judged(initramfs, b"\x1f\x8b").unwrap_err().contains("cpio"));
        assert!(judged(initramfs, b"").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, place in 0_usize..200, value: u64) {
            let _ = judged(kernel, &bytes);
            let mut elf = small_elf();
            elf.resize(256, 0);
            put(&mut elf, place, &value.to_le_bytes());
            let _ = judged(kernel, &elf);
        }
    }
}
