//! ELF notes of a kernel: whether it is Linux, and where it is entered by PVH.
//!
//! Every Linux has notes of the owner `Linux` (`init/version-timestamp.c`) and most have a PVH entry besides. They
//! are entered by their own 64-bit protocol, which has fewer instructions to run and a place for a random seed;
//! PVH is for the others.

use std::io::{Read, Seek};

use super::Error;
use super::elf::{MAX_NOTES, read_at, word};

/// `XEN_ELFNOTE_PHYS32_ENTRY` (Xen `xen/include/public/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;
const HEADER_SIZE: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) linux: bool,
    /// The physical address of the 32-bit entry point.
    pub(super) pvh_entry: Option<u64>,
}

impl Notes {
    /// Reads the notes of one segment. Damaged notes end the reading, not the boot: what was found counts.
    pub(super) fn read<F: Read + Seek>(
        &mut self,
        file: &mut F,
        offset: u64,
        size: u64,
    ) -> Result<(), Error> {
        let size = usize::try_from(size.min(MAX_NOTES)).unwrap_or(0);
        let mut bytes = vec![0; size];
        read_at(file, offset, &mut bytes)?;
        let mut rest = bytes.as_slice();
        while let Some(note) = Note::first(rest) {
            match note.owner {
                b"Linux\0" => self.linux = true,
                b"Xen\0" if note.kind == PHYS32_ENTRY => {
                    self.pvh_entry = Some(u64::from(word(note.content, 0)));
                }
                _ => {}
            }
            rest = note.next;
        }
        Ok(())
    }
}

struct Note<'a> {
    owner: &'a [u8],
    kind: u32,
    content: &'a [u8],
    next: &'a [u8],
}

impl<'a> Note<'a> {
    /// The first note of a segment; its owner and its content are padded to four bytes each.
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_SIZE)?;
        let length = |at| usize::try_from(word(header, at)).ok();
        let (owner, content) = (length(0)?, length(4)?);
        let rest = bytes.get(HEADER_SIZE..)?;
        let body = rest.get(owner.checked_next_multiple_of(4)?..)?;
        Some(Self {
            owner: rest.get(..owner)?,
            kind: word(header, 8),
            content: body.get(..content)?,
            next: body
                .get(content.checked_next_multiple_of(4)?..)
                .unwrap_or_default(),
        })
    }
}
