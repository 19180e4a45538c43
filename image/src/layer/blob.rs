//! The blob of a layer: the contents of its files one after the other, each from a block of its own on.
//!
//! Blocks that are all zero are never written, so they are holes in the blob. In files with a lot of them they do not even take
//! addresses: such files consist of granules, and a granule without content is left out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{BLOCK, BLOCK_U64, Content, Error, INLINE_MAX, MAX_FILE, Run};

/// Bytes that are handed to the kernel at once.
const BUFFER: usize = 1 << 20;
/// Smallest granule: 64 KiB. Less would cut ordinary programs, which have pages of zeros, into pieces.
const MIN_GRANULE_BITS: u8 = 4;
/// Most granules of one file, which bounds what a file takes in the image's metadata.
const MAX_GRANULES: u64 = 16 << 10;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A blob that is being written.
#[derive(Debug)]
pub(super) struct BlobWriter {
    file: File,
    path: PathBuf,
    /// Blocks that are given away.
    blocks: u64,
    /// What is not written yet, and where it goes, in bytes.
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl BlobWriter {
    /// Creates the file, which must not exist.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create_new(path).map_err(|e| Error::io("create", path, e))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            blocks: 0,
            buffer: Vec::with_capacity(BUFFER),
            buffer_at: 0,
        })
    }

    /// Begins a file of `size` bytes.
    pub(super) fn file(&mut self, size: u64) -> FileWriter<'_> {
        let blocks = size.div_ceil(BLOCK_U64);
        let mut bits = MIN_GRANULE_BITS;
        while bits < 31 && blocks >> bits > MAX_GRANULES {
            bits += 1;
        }
        FileWriter {
            blob: self,
            size,
            bits,
            position: 0,
            block: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Completes the blob and makes it durable. Returns its length.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        self.flush()?;
        let length = self.blocks * BLOCK_U64;
        self.file
            .set_len(length)
            .and_then(|()| self.file.sync_all())
            .map_err(|e| Error::io("write", &self.path, e))?;
        Ok(length)
    }

    /// Gives away addresses; returns the first.
    fn allocate(&mut self, blocks: u64) -> Result<u32, Error> {
        let first = u32::try_from(self.blocks);
        self.blocks += blocks;
        match first {
            // The addresses of an image's disk have 32 bits, of which one value stands for a hole.
            Ok(first) if self.blocks < u64::from(u32::MAX) => Ok(first),
            _ => Err(Error::TooLarge {
                limit: BLOCK_U64 << 32,
                what: "bytes of file contents",
            }),
        }
    }

    /// Writes a whole block.
    fn put(&mut self, at: u64, block: &[u8]) -> Result<(), Error> {
        let end = self.buffer_at + u64::try_from(self.buffer.len()).unwrap_or(0);
        if at != end || self.buffer.len() >= BUFFER {
            self.flush()?;
            self.buffer_at = at;
        }
        self.buffer.extend_from_slice(block);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file
            .write_all_at(&self.buffer, self.buffer_at)
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.buffer.clear();
        Ok(())
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct FileWriter<'a> {
    blob: &'a mut BlobWriter,
    size: u64,
    bits: u8,
    /// Bytes so far, those in `block` included.
    position: u64,
    /// The present block, if only a part of it is there. Also the whole content of a tiny file.
    block: Vec<u8>,
    runs: Vec<Run>,
}

impl FileWriter<'_> {
    /// Whether the content goes into the index.
    fn is_inline(&self) -> bool {
        usize::try_from(self.size).is_ok_and(|size| size <= INLINE_MAX)
    }

    /// Appends `bytes`. The caller never gives more than the size.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if self.is_inline() {
            self.block.extend_from_slice(bytes);
            return Ok(());
        }
        if !self.block.is_empty() {
            let missing = BLOCK - self.block.len();
            let (first, rest) = bytes.split_at(missing.min(bytes.len()));
            self.block.extend_from_slice(first);
            self.position += u64::try_from(first.len()).unwrap_or(0);
            bytes = rest;
            if self.block.len() < BLOCK {
                return Ok(());
            }
            let block = std::mem::take(&mut self.block);
            self.put(self.position - BLOCK_U64, &block)?;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            self.put(self.position, block)?;
            self.position += BLOCK_U64;
        }
        self.block.extend_from_slice(rest);
        self.position += u64::try_from(rest.len()).unwrap_or(0);
        Ok(())
    }

    /// Goes on at `offset`; what is between is zero.
    pub(super) fn seek(&mut self, offset: u64) -> Result<(), Error> {
        if self.is_inline() {
            let length = usize::try_from(offset).unwrap_or(INLINE_MAX);
            self.block.resize(length.max(self.block.len()), 0);
            return Ok(());
        }
        let Some(gap) = offset.checked_sub(self.position).filter(|gap| *gap > 0) else {
            return Ok(());
        };
        if !self.block.is_empty() {
            let missing = BLOCK - self.block.len();
            let zeros = usize::try_from(gap).map_or(missing, |gap| gap.min(missing));
            self.write(ZEROS.get(..zeros).unwrap_or_default())?;
        }
        let rest = offset.saturating_sub(self.position);
        self.position += rest - rest % BLOCK_U64;
        let rest = usize::try_from(rest % BLOCK_U64).unwrap_or(0);
        self.write(ZEROS.get(..rest).unwrap_or_default())
    }

    /// Completes the file. `inline` takes the content of a tiny one.
    pub(super) fn finish(mut self, inline: &mut Vec<u8>) -> Result<Content<'_>, Error> {
        if self.size > MAX_FILE {
            return Err(Error::TooLarge {
                limit: MAX_FILE,
                what: "bytes in one file",
            });
        }
        self.seek(self.size)?;
        if self.is_inline() {
            *inline = self.block;
            return Ok(Content::Inline(inline));
        }
        if !self.block.is_empty() {
            let mut block = std::mem::take(&mut self.block);
            let start = self.position - self.position % BLOCK_U64;
            block.resize(BLOCK, 0);
            self.put(start, &block)?;
        }
        Ok(Content::Stored {
            bits: self.bits,
            runs: self.runs,
        })
    }

    /// Writes the block of the file that begins at byte `position`.
    fn put(&mut self, position: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes == ZEROS {
            return Ok(());
        }
        let block = position / BLOCK_U64;
        let granule = block >> self.bits;
        let start = self.address(granule)?;
        let within = block - (granule << self.bits);
        self.blob
            .put((u64::from(start) + within) * BLOCK_U64, bytes)
    }

    /// Where a granule begins in the blob; it gets its place when it is first asked for, and is never before the last one.
    fn address(&mut self, granule: u64) -> Result<u32, Error> {
        let wrong = || Error::TooLarge {
            limit: MAX_FILE,
            what: "bytes in one file",
        };
        let granule = u32::try_from(granule).map_err(|_| wrong())?;
        let mut next_address = None;
        if let Some(run) = self.runs.last() {
            let within = u64::from(granule - run.granule);
            let address = u64::from(run.block) + (within << self.bits);
            if within < u64::from(run.granules) {
                return u32::try_from(address).map_err(|_| wrong());
            }
            let is_next = within == u64::from(run.granules);
            next_address = is_next.then_some(address);
        }
        let first = u64::from(granule) << self.bits;
        let total = self.size.div_ceil(BLOCK_U64);
        let length = total.saturating_sub(first).min(1 << self.bits);
        let block = self.blob.allocate(length)?;
        match self.runs.last_mut() {
            Some(run) if next_address == Some(u64::from(block)) => run.granules += 1,
            _ => self.runs.push(Run {
                granule,
                granules: 1,
                block,
            }),
        }
        Ok(block)
    }
}
