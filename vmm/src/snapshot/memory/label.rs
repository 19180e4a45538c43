//! The label behind the memory in its file: which snapshots its pages are of.
//!
//! ```text
//! size of the memory  + 0      the label: magic, version, how many, size, the chain of ids, CRC-64
//!                     + 4096   link 0: magic, number and id of the full snapshot, CRC-64
//!                     + 8192   link 1: of the first diff on top of it
//!                     ...      up to link 63
//! ```
//!
//! A full file has the label and link 0. A diff has the label, whose chain names all snapshots that it builds on, and its own link; the rest
//! is a hole, like pages that were not written. So whoever copies the data of a diff over the file before it, by whatever
//! program, makes a file whose label is the diff's and whose links are all there; and a file that lacks a link lacks pages. Each is in
//! a block of its own, because no hole is smaller.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::rand::{GetRandomFlags, getrandom};

use super::MemoryFileError;
use crate::snapshot::format::crc64;
use crate::snapshot::format::v1::MemoryLabel;

/// Bytes of each part.
const BLOCK: usize = 4096;
/// The most snapshots on top of each other.
pub(crate) const LONGEST: usize = 64;
/// What is behind the memory, in bytes.
pub(super) const TAIL: u64 = (BLOCK * (1 + LONGEST)) as u64;

const LABEL: [u8; 8] = *b"HULLMEMO";
const LINK: [u8; 8] = *b"HULLLINK";
const VERSION: u32 = 1;
/// Bytes of an id.
const ID: usize = 16;
/// Bytes before the ids of the label, and before the id of a link.
const HEAD: usize = 24;
/// Bytes of a checksum.
const SUM: usize = 8;

impl MemoryLabel {
    /// A new one, for a full snapshot of so many bytes, or for what is written on top of another one.
    ///
    /// # Errors
    /// If the host has no random bytes, or there are too many on top of each other.
    pub(crate) fn new(size: u64, on: Option<&Self>) -> Result<Self, MemoryFileError> {
        let mut id = [0; ID];
        let filled = getrandom(&mut id, GetRandomFlags::empty());
        filled.map_err(|error| MemoryFileError::Write(error.into()))?;
        let mut chain = on.map(|on| on.chain.clone()).unwrap_or_default();
        if chain.len() >= LONGEST {
            return Err(MemoryFileError::TooManyDiffs);
        }
        chain.push(id);
        Ok(Self { size, chain })
    }

    /// Bytes of a file with this memory.
    pub(super) fn file_size(&self) -> u64 {
        self.size.saturating_add(TAIL)
    }

    /// Writes it, and the last link, which is the writer's.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn write(&self, file: &File) -> Result<(), MemoryFileError> {
        let last = self.chain.len().saturating_sub(1);
        let link = self.link(last);
        let written = file.write_all_at(&self.block(), self.size);
        let written = written.and_then(|()| file.write_all_at(&link, self.place_of(last)));
        written.map_err(MemoryFileError::refused)
    }

    /// Checks that a file has this memory, all of it.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn check(&self, file: &File) -> Result<(), MemoryFileError> {
        if !(1..=LONGEST).contains(&self.chain.len()) {
            return Err(MemoryFileError::Label);
        }
        let found = Self::read(file)?;
        if found.chain != self.chain || found.size != self.size {
            return Err(MemoryFileError::Other);
        }
        for number in 0..self.chain.len() {
            let mut link = [0; BLOCK];
            let read = file.read_exact_at(&mut link, self.place_of(number));
            read.map_err(MemoryFileError::Read)?;
            if link[..] != self.link(number) {
                let missing = match link.iter().all(|byte| *byte == 0) {
                    true => MemoryFileError::Incomplete {
                        number,
                        count: self.chain.len(),
                    },
                    false => MemoryFileError::Label,
                };
                return Err(missing);
            }
        }
        Ok(())
    }

    /// The label of a file, which need not have all that it names.
    ///
    /// # Errors
    /// If it is no memory of a snapshot.
    pub(super) fn read(file: &File) -> Result<Self, MemoryFileError> {
        let length = file.metadata().map_err(MemoryFileError::Read)?.len();
        let size = length.checked_sub(TAIL).ok_or(MemoryFileError::Foreign)?;
        let mut block = [0; BLOCK];
        let read = file.read_exact_at(&mut block, size);
        read.map_err(MemoryFileError::Read)?;
        if !block.starts_with(&LABEL) {
            return Err(MemoryFileError::Foreign);
        }
        let found = Self::parse(&block).ok_or(MemoryFileError::Label)?;
        match found.size == size {
            true => Ok(found),
            false => Err(MemoryFileError::Label),
        }
    }

    fn parse(block: &[u8]) -> Option<Self> {
        let (content, sum) = block.split_at_checked(block.len().checked_sub(SUM)?)?;
        if crc64(content).to_le_bytes() != sum {
            return None;
        }
        let number = |at: usize| {
            let bytes = content.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let count = usize::try_from(number(12)?).ok()?;
        if number(8)? != VERSION || !(1..=LONGEST).contains(&count) {
            return None;
        }
        let size = u64::from_le_bytes(content.get(16..HEAD)?.try_into().ok()?);
        let (chain, _) = content.get(HEAD..HEAD + count * ID)?.as_chunks::<ID>();
        Some(Self {
            size,
            chain: chain.to_vec(),
        })
    }

    fn block(&self) -> Vec<u8> {
        let count = u32::try_from(self.chain.len()).unwrap_or(u32::MAX);
        let mut block = LABEL.to_vec();
        block.extend(VERSION.to_le_bytes());
        block.extend(count.to_le_bytes());
        block.extend(self.size.to_le_bytes());
        block.extend(self.chain.iter().flatten());
        close(block)
    }

    fn link(&self, number: usize) -> Vec<u8> {
        let mut block = LINK.to_vec();
        block.extend(VERSION.to_le_bytes());
        block.extend((number as u64).to_le_bytes());
        block.resize(HEAD, 0);
        block.extend(self.chain.get(number).unwrap_or(&[0; ID]));
        close(block)
    }

    fn place_of(&self, number: usize) -> u64 {
        self.size + (BLOCK * (1 + number)) as u64
    }
}

/// Fills a block and puts its checksum at its end.
fn close(mut block: Vec<u8>) -> Vec<u8> {
    block.resize(BLOCK - SUM, 0);
    block.extend(crc64(&block).to_le_bytes());
    block
}
