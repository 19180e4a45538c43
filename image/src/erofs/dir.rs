//! Directories on disk: blocks which each have a table of entries and then the names, all in the order of their bytes.

use crate::layer::BLOCK;

/// Bytes of `struct erofs_dirent`.
const DIRENT: usize = 12;

/// A name in a directory: what it is called, the number of its inode, the kind of file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dirent<'a> {
    pub(super) name: &'a [u8],
    pub(super) nid: u64,
    pub(super) kind: u8,
}

/// Bytes that a directory with these names takes. Each name has 255 bytes at most.
pub(super) fn size<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut blocks = 0;
    let mut used = 0;
    for name in names {
        let length = DIRENT + name.len();
        if used + length > BLOCK {
            blocks += 1;
            used = 0;
        }
        used += length;
    }
    u64::try_from(blocks * BLOCK + used).unwrap_or(u64::MAX)
}

/// The bytes of a directory; `entries` are sorted.
pub(super) fn encode(entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = rest.iter().take_while(|entry| {
            used += DIRENT + entry.name.len();
            used <= BLOCK
        });
        let (block, after) = rest.split_at(fits.count().max(1));
        // The last block ends with its last name, all others are full.
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        encode_block(block, &mut bytes);
        rest = after;
    }
    bytes
}

fn encode_block(entries: &[Dirent<'_>], bytes: &mut Vec<u8>) {
    let mut name_at = DIRENT * entries.len();
    for entry in entries {
        bytes.extend(entry.nid.to_le_bytes());
        bytes.extend(u16::try_from(name_at).unwrap_or(0).to_le_bytes());
        bytes.extend([entry.kind, 0]);
        name_at += entry.name.len();
    }
    for entry in entries {
        bytes.extend(entry.name);
    }
}

/// Sorted names of a directory together with `.` and `..`, sorted.
pub(super) fn with_dots<'a>(
    names: impl Iterator<Item = &'a [u8]>,
) -> impl Iterator<Item = &'a [u8]> {
    let mut dots: &[&[u8]] = &[b".", b".."];
    let mut names = names.peekable();
    std::iter::from_fn(move || match (dots.split_first(), names.peek()) {
        (Some((dot, rest)), name) if name.is_none_or(|name| dot < name) => {
            dots = rest;
            Some(*dot)
        }
        _ => names.next(),
    })
}
