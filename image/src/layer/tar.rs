//! Reads tar archives from sources that are not to be trusted: ustar, PAX and GNU, as Go's `archive/tar` takes them,
//! since that is what defines what a layer is.
//!
//! Memory is bounded whatever the headers say: extension headers and sparse maps have limits, contents are never held.

mod header;
mod pax;
mod sparse;

use std::io::{self, BufRead};

use self::header::Header;
use self::pax::Records;
pub(super) use self::sparse::Segment;
use super::Error;

/// Bytes of a record of the archive.
const RECORD: usize = 512;
/// Longest extension header (PAX records, GNU long names), in bytes, as in Go.
const MAX_EXTENSION: u64 = 1 << 20;

/// What kind of file a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Regular,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// One member, its extension headers already applied.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: Type,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) device: (i64, i64),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of the file, in bytes.
    pub(super) size: u64,
    /// Which parts of a sparse file the archive has; all others are zero.
    pub(super) segments: Vec<Segment>,
}

/// An archive that is being read.
#[derive(Debug)]
pub(super) struct Archive<R> {
    inner: R,
    /// Bytes consumed so far.
    offset: u64,
    /// Bytes of the present member's content that have not been read.
    left: u64,
    /// Zeros that follow the content.
    padding: u64,
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            offset: 0,
            left: 0,
            padding: 0,
        }
    }

    /// Where the archive comes from.
    pub(super) fn source(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Whether a header comes, of whatever kind. It is consumed.
    pub(super) fn begins(&mut self) -> Result<bool, Error> {
        Ok(self.header()?.is_some())
    }

    /// The next member, or `None` at the end of the archive. What is left of the present one is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Error> {
        let mut records = Records::default();
        let mut long_name = None;
        let mut long_link = None;
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = if header.is_only_header() {
                0
            } else {
                header.size().map_err(|what| self.malformed(what))?
            };
            self.expect(size);
            match header.flag() {
                b'x' | b'X' => {
                    let text = self.extension()?;
                    records = Records::parse(&text).map_err(|what| self.malformed(what))?;
                }
                b'g' => {}
                b'L' => long_name = Some(cut_at_nul(self.extension()?)),
                b'K' => long_link = Some(cut_at_nul(self.extension()?)),
                _ => {
                    let mut member = self.member(&header, records)?;
                    member.path = long_name.unwrap_or(member.path);
                    member.link = long_link.unwrap_or(member.link);
                    return Ok(Some(member));
                }
            }
        }
    }

    /// Hands the next `length` bytes of the present member's content to `take`, piece by piece.
    pub(super) fn content(
        &mut self,
        length: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if length > self.left {
            return Err(self.malformed("a sparse file has less content than its map says"));
        }
        self.left -= length;
        self.pieces(length, &mut take)
    }

    /// Applies the extension headers.
    fn member(&mut self, header: &Header, records: Records) -> Result<Member, Error> {
        let kind = header.kind().ok_or_else(|| {
            Error::member(&header.path(), "it is of a type that Hull does not know")
        })?;
        let mut member = header.member(kind).map_err(|what| self.malformed(what))?;
        if let Some(size) = records.size
            && !header.is_only_header()
        {
            self.expect(size);
        }
        member.size = self.left;
        let sparse = records.apply(&mut member);
        let old_sparse = header.flag() == b'S';
        if old_sparse {
            (member.size, member.segments) = self.old_sparse_map(header)?;
        } else if let Some(sparse) = sparse
            && kind == Type::Regular
        {
            member.size = sparse.size.unwrap_or(member.size);
            member.segments = match sparse.map {
                Some(map) => map,
                None => self.sparse_map_in_content()?,
            };
        } else if member.size > 0 {
            member.segments.push(Segment {
                offset: 0,
                length: member.size,
            });
        }
        sparse::check(&member.segments, member.size, self.left)
            .map_err(|what| self.malformed(what))?;
        Ok(member)
    }

    /// Reads a header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let Some(record) = self.record()? else {
            return Ok(None);
        };
        if record.iter().all(|byte| *byte == 0) {
            return match self.record()? {
                Some(second) if second.iter().any(|byte| *byte != 0) => {
                    Err(self.malformed("one zero block stands alone"))
                }
                _ => Ok(None),
            };
        }
        Header::parse(record)
            .map(Some)
            .map_err(|what| self.malformed(what))
    }

    /// Reads 512 bytes; `None` at the end of the stream.
    fn record(&mut self) -> Result<Option<[u8; RECORD]>, Error> {
        if self.inner.fill_buf().map_err(Error::Read)?.is_empty() {
            return Ok(None);
        }
        let mut record = [0; RECORD];
        self.inner.read_exact(&mut record).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.malformed("it ends within a header")
            } else {
                Error::Read(error)
            }
        })?;
        self.offset += 512;
        Ok(Some(record))
    }

    /// The content of an extension header.
    fn extension(&mut self) -> Result<Vec<u8>, Error> {
        if self.left > MAX_EXTENSION {
            return Err(self.malformed("an extension header is longer than 1 MiB"));
        }
        let mut text = Vec::new();
        let length = self.left;
        self.content(length, |piece| {
            text.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(text)
    }

    fn expect(&mut self, length: u64) {
        self.left = length;
        self.padding = length.wrapping_neg() % 512;
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let left = std::mem::take(&mut self.left);
        let padding = std::mem::take(&mut self.padding);
        self.pieces(left, &mut |_| Ok(()))?;
        // Go's reader takes an archive whose last padding is missing.
        if !self.inner.fill_buf().map_err(Error::Read)?.is_empty() {
            self.pieces(padding, &mut |_| Ok(()))?;
        }
        Ok(())
    }

    fn pieces(
        &mut self,
        mut length: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while length > 0 {
            let available = self.inner.fill_buf().map_err(Error::Read)?;
            if available.is_empty() {
                return Err(self.malformed("it ends within a file"));
            }
            let count = usize::try_from(length).map_or(available.len(), |l| l.min(available.len()));
            take(available.get(..count).unwrap_or_default())?;
            self.inner.consume(count);
            let count = u64::try_from(count).unwrap_or(length);
            length -= count;
            self.offset += count;
        }
        Ok(())
    }

    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed {
            offset: self.offset,
            what,
        }
    }
}

fn cut_at_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}
