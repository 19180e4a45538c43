//! A working set: which pages of a snapshot's memory its guest touched at first, when it was loaded once.
//!
//! ```text
//! offset  bytes
//!      0      8  "HULLWSET"
//!      8      4  version
//!     12      4  number of ranges
//!     16      8  bytes of the guest's memory
//!     24     16  id of the last snapshot in the memory's label
//!     40  8 each ranges in ascending order: number of the first page; how many there are, with the highest bit set if they were written
//!    end      8  CRC-64 of all before it
//! ```
//!
//! All numbers are little-endian. It is a hint: a page that is not in it comes when it is touched, and one that should not be in it costs
//! its place in memory. So one that does not fit is recorded anew. What is no working set is left alone, for it may be somebody's data.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::pages::PAGE;
use crate::snapshot::format::crc64;
use crate::snapshot::format::v1::MemoryLabel;

const MAGIC: [u8; 8] = *b"HULLWSET";
const VERSION: u32 = 1;
/// Bytes before the ranges, of a range, and of the checksum.
const HEADER: usize = 40;
const RANGE: usize = 8;
const SUM: usize = 8;
/// A range that was written.
const WRITTEN: u32 = 1 << 31;
/// The most pages of one: 1 GiB.
pub(super) const MOST: u64 = 1 << 18;
/// The most bytes of a file, which has a range for each page at worst.
const LONGEST: u64 = HEADER as u64 + MOST * RANGE as u64 + SUM as u64;

/// Why a file is not what was recorded of this snapshot.
#[derive(Debug, thiserror::Error)]
pub enum WorkingSetError {
    /// It is something else.
    #[error("it is no working set of Hull's; name a file that can be made, or one that was")]
    Foreign,
    /// It is not whole.
    #[error("it was altered or is damaged")]
    Damaged,
    /// It is of another version.
    #[error("it is of version {0}, and this hull-vmm reads version {VERSION}")]
    Version(u32),
    /// It is another snapshot's.
    #[error("it was recorded of another snapshot")]
    Other,
    /// The host's answer.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

/// Pages that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Their numbers in the memory's file.
    pub pages: Range<u32>,
    /// The guest wrote them at once.
    pub is_written: bool,
}

/// Which pages there are, each in one range, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkingSet(Vec<Touched>);

impl WorkingSet {
    /// What was recorded of a snapshot; none if the file is empty.
    ///
    /// # Errors
    /// What it has instead.
    pub(crate) fn read(file: &File, label: &MemoryLabel) -> Result<Option<Self>, WorkingSetError> {
        let length = file.metadata().map_err(WorkingSetError::Read)?.len();
        if length == 0 {
            return Ok(None);
        }
        let length = usize::try_from(length.min(LONGEST + 1)).unwrap_or_default();
        let mut bytes = vec![0; length];
        let read = file.read_exact_at(&mut bytes, 0);
        read.map_err(WorkingSetError::Read)?;
        Self::parse(&bytes, label).map(Some)
    }

    fn parse(bytes: &[u8], label: &MemoryLabel) -> Result<Self, WorkingSetError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(WorkingSetError::Foreign);
        }
        let parts = Parts::split(bytes).ok_or(WorkingSetError::Damaged)?;
        if parts.version != VERSION {
            return Err(WorkingSetError::Version(parts.version));
        }
        let set = parts.ranges().ok_or(WorkingSetError::Damaged)?;
        match parts.size == label.size && label.chain.last() == Some(&parts.id) {
            true => Ok(set),
            false => Err(WorkingSetError::Other),
        }
    }

    /// The bytes of its file.
    pub(super) fn to_bytes(&self, label: &MemoryLabel) -> Vec<u8> {
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(label.size.to_le_bytes());
        bytes.extend(label.chain.last().unwrap_or(&[0; 16]));
        for Touched { pages, is_written } in &self.0 {
            let count = pages.end - pages.start;
            bytes.extend(pages.start.to_le_bytes());
            bytes.extend((count | if *is_written { WRITTEN } else { 0 }).to_le_bytes());
        }
        bytes.extend(crc64(&bytes).to_le_bytes());
        bytes
    }

    /// Its ranges.
    pub(super) fn ranges(&self) -> &[Touched] {
        &self.0
    }

    /// How many pages there are.
    pub(super) fn count(&self) -> u64 {
        let counts = self.0.iter();
        counts
            .map(|range| u64::from(range.pages.end - range.pages.start))
            .sum()
    }

    /// Adds pages behind the others.
    fn push(&mut self, first: u32, count: u32, is_written: bool) {
        if let Some(last) = self.0.last_mut()
            && last.pages.end == first
            && last.is_written == is_written
        {
            last.pages.end += count;
            return;
        }
        self.0.push(Touched {
            pages: first..first + count,
            is_written,
        });
    }
}

/// What is where in a file whose checksum is right.
struct Parts<'a> {
    version: u32,
    size: u64,
    id: [u8; 16],
    ranges: &'a [[u8; RANGE]],
}

impl<'a> Parts<'a> {
    fn split(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() as u64 > LONGEST {
            return None;
        }
        let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
        if crc64(content).to_le_bytes() != sum {
            return None;
        }
        let (header, rest) = content.split_at_checked(HEADER)?;
        let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let (ranges, none) = rest.as_chunks();
        let is_whole = none.is_empty() && ranges.len() as u64 == u64::from(number(12)?);
        is_whole.then_some(Self {
            version: number(8)?,
            size: u64::from_le_bytes(header.get(16..24)?.try_into().ok()?),
            id: header.get(24..HEADER)?.try_into().ok()?,
            ranges,
        })
    }

    /// The ranges, which are in order, in the memory, and no more than there may be.
    fn ranges(&self) -> Option<WorkingSet> {
        let mut set = WorkingSet::default();
        let mut end = 0;
        let mut total = 0;
        for [a, b, c, d, rest @ ..] in self.ranges {
            let first = u32::from_le_bytes([*a, *b, *c, *d]);
            let flagged = u32::from_le_bytes(*rest);
            let count = flagged & !WRITTEN;
            let is_behind = first >= end && count > 0;
            end = first.checked_add(count)?;
            total += u64::from(count);
            if !is_behind || u64::from(end) > self.size / PAGE || total > MOST {
                return None;
            }
            set.0.push(Touched {
                pages: first..end,
                is_written: flagged & WRITTEN != 0,
            });
        }
        Some(set)
    }
}

/// Pages as they are touched: of each a bit, and another one if it was written.
#[derive(Debug)]
pub(super) struct Notes {
    touched: Vec<u64>,
    written: Vec<u64>,
    count: u64,
}

impl Notes {
    /// Of a memory of so many bytes, in which nothing was touched.
    pub(super) fn new(size: u64) -> Self {
        let words = usize::try_from((size / PAGE).div_ceil(64)).unwrap_or_default();
        Self {
            touched: vec![0; words],
            written: vec![0; words],
            count: 0,
        }
    }

    /// Notes a page. There is an end to how many are noted.
    pub(super) fn note(&mut self, page: u64, is_write: bool) {
        let word = usize::try_from(page / 64).unwrap_or(usize::MAX);
        let bit = 1 << (page % 64);
        let Some(touched) = self.touched.get_mut(word) else {
            return;
        };
        if *touched & bit != 0 || self.count >= MOST {
            return;
        }
        *touched |= bit;
        self.count += 1;
        if let Some(written) = self.written.get_mut(word).filter(|_| is_write) {
            *written |= bit;
        }
    }

    /// All that were noted.
    pub(super) fn set(&self) -> WorkingSet {
        let mut set = WorkingSet::default();
        for (first, (touched, written)) in (0..)
            .step_by(64)
            .zip(self.touched.iter().zip(&self.written))
        {
            let mut rest = *touched;
            while rest != 0 {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                set.push(first + bit, 1, written >> bit & 1 == 1);
            }
        }
        set
    }
}

/// Parses bytes as they are, and with a right checksum behind them. For fuzzing.
pub fn fuzz(data: &[u8]) {
    let label = MemoryLabel {
        size: 64 << 20,
        chain: vec![[7; 16]],
    };
    let check = |bytes: &[u8]| {
        if let Ok(set) = WorkingSet::parse(bytes, &label) {
            assert!(set.count() <= MOST.min(label.size / PAGE));
            assert_eq!(set.to_bytes(&label), bytes);
        }
    };
    check(data);
    let mut whole = MAGIC.to_vec();
    whole.extend(data);
    whole.extend(crc64(&whole).to_le_bytes());
    check(&whole);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(id: u8) -> MemoryLabel {
        MemoryLabel {
            size: 64 << 20,
            chain: vec![[9; 16], [id; 16]],
        }
    }

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn noted(pages: &[(u64, bool)]) -> WorkingSet {
        let mut notes = Notes::new(64 << 20);
        for (page, is_write) in pages {
            notes.note(*page, *is_write);
        }
        notes.set()
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let pages = [
            (63, false),
            (64, false),
            (3, true),
            (3, false),
            (65, true),
            (16383, false),
        ];
        let set = noted(&pages);
        let range = |pages, is_written| Touched { pages, is_written };
        let expected = [
            range(3..4, true),
            range(63..65, false),
            range(65..66, true),
            range(16383..16384, false),
        ];
        assert_eq!(set.ranges(), expected);
        assert_eq!(set.count(), 5);
        let file = file(&set.to_bytes(&label(1)));
        assert_eq!(WorkingSet::read(&file, &label(1)).unwrap(), Some(set));
        let other = WorkingSet::read(&file, &label(2));
        assert!(matches!(other, Err(WorkingSetError::Other)), "{other:?}");
    }

    #[test]
    fn what_lies_outside_of_the_memory_is_not_noted() {
        assert_eq!(
            noted(&[(16384, true), (u64::MAX, false)]),
            WorkingSet::default()
        );
    }

    #[test]
    fn no_set_is_endless() {
        let mut notes = Notes::new((MOST + 2) * PAGE);
        for page in 0..MOST + 2 {
            notes.note(page, false);
        }
        assert_eq!(notes.set().count(), MOST);
    }

    #[test]
    fn what_is_no_working_set_is_told_from_one_that_is_damaged() {
        let read = |bytes: &[u8]| WorkingSet::read(&file(bytes), &label(1));
        assert!(matches!(read(b""), Ok(None)));
        assert!(matches!(read(b"# notes"), Err(WorkingSetError::Foreign)));
        assert!(matches!(read(b"HULLWSET"), Err(WorkingSetError::Damaged)));
        let whole = noted(&[(1, true), (7, false)]).to_bytes(&label(1));
        for at in 8..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert!(
                matches!(read(&altered), Err(WorkingSetError::Damaged)),
                "{at}"
            );
            assert!(read(&whole[..at]).is_err(), "{at}");
        }
        let close = |mut bytes: Vec<u8>| {
            bytes.truncate(bytes.len() - SUM);
            bytes.extend(crc64(&bytes).to_le_bytes());
            bytes
        };
        let mut later = whole.clone();
        later[8] = 2;
        assert!(matches!(
            read(&close(later)),
            Err(WorkingSetError::Version(2))
        ));
        // Two ranges that overlap, and one behind the memory's end.
        for (at, value) in [(48, 1), (50, 1)] {
            let mut wrong = whole.clone();
            wrong[at] = value;
            assert!(
                matches!(read(&close(wrong)), Err(WorkingSetError::Damaged)),
                "{at}"
            );
        }
        let long = vec![0; usize::try_from(LONGEST).unwrap() + 10];
        let long = [&MAGIC[..], &long].concat();
        assert!(matches!(read(&long), Err(WorkingSetError::Damaged)));
    }

    proptest! {
        #[test]
        fn whatever_is_noted_is_read_again(
            pages in proptest::collection::vec((0..17000_u64, any::<bool>()), 0..200),
        ) {
            let set = noted(&pages);
            let bytes = set.to_bytes(&label(1));
            prop_assert_eq!(WorkingSet::parse(&bytes, &label(1)).unwrap(), set);
        }

        #[test]
        fn any_bytes_are_accepted_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
    }
}
