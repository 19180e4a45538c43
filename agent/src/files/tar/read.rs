//! Members from headers, which anybody may have made: ustar, PAX and GNU, as Go's `archive/tar` takes them, except sparse files.
//! Nothing of an archive is held but one header, whose length has a limit.

use std::os::fd::AsFd;

use hull_agent_protocol::{Failure, FailureKind, MAX_PATH};
use rustix::io::Errno;

use super::{BLOCK, Kind, Member, checksum, field, padding, pax};
use crate::failure::words;
use crate::sys::read;

/// The longest extended header, in bytes, as in Go.
const MAX_EXTENSION: u64 = 1 << 20;
/// The most extended headers before a member.
const MAX_EXTENSIONS: usize = 16;
/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// Why an archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    Read(Errno),
    Malformed(&'static str),
}

type Result<T> = std::result::Result<T, Error>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Read(errno) => {
                let message = format!("cannot read the archive: {}", words(errno));
                Failure::new(FailureKind::System, message)
            }
            Error::Malformed(what) => {
                Failure::new(FailureKind::Archive, format!("invalid tar archive: {what}"))
            }
        }
    }
}

/// An archive that is being read.
#[derive(Debug)]
pub(crate) struct Archive<F> {
    input: F,
    buffer: Vec<u8>,
    /// How much of `buffer` was taken.
    taken: usize,
    /// Bytes of the present member's content that were not taken.
    left: u64,
    /// Zeros that follow it.
    padding: u64,
}

/// What extended headers say of the next member.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<F: AsFd> Archive<F> {
    pub(crate) fn new(input: F) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            taken: 0,
            left: 0,
            padding: 0,
        }
    }

    /// The next member; `None` at the end of the archive. What is left of the present one is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let mut extended = Extended::default();
        for _ in 0..MAX_EXTENSIONS {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number(header.get(field::SIZE))?;
            match header[field::KIND] {
                b'x' => extended.take(&self.extension(size)?)?,
                b'L' => extended.path = Some(until_zero(&self.extension(size)?).to_vec()),
                b'K' => extended.link = Some(until_zero(&self.extension(size)?).to_vec()),
                // For all members that follow; as Docker does, it is read over.
                b'g' => self.extension(size).map(drop)?,
                _ => return self.member(&header, extended).map(Some),
            }
        }
        Err(Error::Malformed("too many extended headers"))
    }

    fn member(&mut self, header: &[u8; BLOCK], extended: Extended) -> Result<Member> {
        let path = extended.path.unwrap_or_else(|| name(header));
        let text = |field| until_zero(header.get(field).unwrap_or_default()).to_vec();
        let link = extended.link.unwrap_or_else(|| text(field::LINK));
        if path.is_empty() || path.len() > MAX_PATH || link.len() > MAX_PATH {
            return Err(Error::Malformed(
                "a name that is empty or longer than 4096 bytes",
            ));
        }
        let letter = header[field::KIND];
        let kind = match letter {
            // Older than the letter for directories.
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            0 | b'7' => Kind::Regular,
            b'S' => return Err(Error::Malformed("sparse files are not understood")),
            _ => {
                let known = Kind::ALL.iter().find(|(_, known)| *known == letter);
                known
                    .map(|(kind, _)| *kind)
                    .ok_or(Error::Malformed("a member of an unknown kind"))?
            }
        };
        let size = match extended.size {
            Some(size) => size,
            None => number(header.get(field::SIZE))?,
        };
        let size = if kind == Kind::Regular { size } else { 0 };
        let id = |field, said: Option<u32>| match said {
            Some(id) => Ok(id),
            None => small(number(header.get(field))?),
        };
        let device = match kind {
            Kind::Character | Kind::Block => (
                small(number(header.get(field::MAJOR))?)?,
                small(number(header.get(field::MINOR))?)?,
            ),
            _ => (0, 0),
        };
        let mtime = match extended.mtime {
            Some(time) => time,
            // Before 1970 it is said in ways that are not worth an error.
            None => {
                let seconds = number(header.get(field::MTIME)).unwrap_or(0);
                (i64::try_from(seconds).unwrap_or(0), 0)
            }
        };
        self.left = size;
        self.padding = padding(size);
        Ok(Member {
            path,
            link,
            kind,
            mode: small(number(header.get(field::MODE))? & 0o7777)?,
            uid: id(field::UID, extended.uid)?,
            gid: id(field::GID, extended.gid)?,
            mtime,
            size,
            device,
            xattrs: extended.xattrs,
        })
    }

    /// The next piece of the present member's content; empty at its end.
    pub(crate) fn content(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        if self.buffered().is_empty() && !self.fill()? {
            return Err(Error::Malformed("it ends within a file"));
        }
        let count = self
            .buffered()
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= count as u64;
        let start = self.taken;
        self.taken += count;
        Ok(self.buffer.get(start..self.taken).unwrap_or_default())
    }

    fn skip(&mut self) -> Result<()> {
        while !self.content()?.is_empty() {}
        self.left = std::mem::take(&mut self.padding);
        while !self.content()?.is_empty() {}
        Ok(())
    }

    /// The next header; `None` at the end, which is one of zeros or nothing more.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let Some(header) = self.block()? else {
            return Ok(None);
        };
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // Historic programs have summed signed bytes.
        let sum = number(header.get(field::CHECKSUM))?;
        let signed: i64 = header
            .iter()
            .map(|byte| i64::from(byte.cast_signed()))
            .sum();
        let own: i64 = header
            .get(field::CHECKSUM)
            .unwrap_or_default()
            .iter()
            .map(|byte| i64::from(byte.cast_signed()))
            .sum();
        let signed = signed - own + 8 * i64::from(b' ');
        if sum != u64::from(checksum(&header)) && i64::try_from(sum) != Ok(signed) {
            return Err(Error::Malformed("a header with a wrong checksum"));
        }
        Ok(Some(header))
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        while self.buffered().len() < BLOCK {
            if !self.fill()? {
                return match self.buffered().is_empty() {
                    true => Ok(None),
                    false => Err(Error::Malformed("it ends within a header")),
                };
            }
        }
        let block = self.buffered().first_chunk().copied();
        self.taken += BLOCK;
        Ok(block)
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(Error::Malformed("an extended header of more than 1 MiB"));
        }
        self.left = size;
        self.padding = padding(size);
        let mut all = Vec::new();
        loop {
            let piece = self.content()?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(piece);
        }
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.drain(..std::mem::take(&mut self.taken));
        loop {
            match read::append(&self.input, &mut self.buffer, PIECE) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
    }
}

impl Extended {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        for record in pax::records(bytes) {
            let (name, value) =
                record.map_err(|()| Error::Malformed("a broken extended header"))?;
            let decimal = || {
                std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok())
            };
            let decimal =
                || decimal().ok_or(Error::Malformed("an extended header with a bad number"));
            match name {
                // Nothing is said by an empty value.
                _ if value.is_empty() && !name.starts_with(b"SCHILY.xattr.") => {}
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(decimal()?),
                b"uid" => self.uid = Some(small(decimal()?)?),
                b"gid" => self.gid = Some(small(decimal()?)?),
                b"mtime" => {
                    let time = pax::time(value);
                    self.mtime = Some(time.ok_or(Error::Malformed("a time that is none"))?);
                }
                _ if name.starts_with(b"GNU.sparse.") => {
                    return Err(Error::Malformed("sparse files are not understood"));
                }
                _ => {
                    if let Some(name) = name.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
}

fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let text = |field| until_zero(header.get(field).unwrap_or_default());
    let (prefix, name) = (text(field::PREFIX), text(field::NAME));
    // GNU has something else in the place of the prefix.
    let is_posix = header.get(field::MAGIC) == Some(b"ustar\0");
    match is_posix && !prefix.is_empty() {
        true => [prefix, b"/", name].concat(),
        false => name.to_vec(),
    }
}

/// An octal number, or a binary one of GNU's.
fn number(field: Option<&[u8]>) -> Result<u64> {
    let bad = Error::Malformed("a header with a bad number");
    let field = field.unwrap_or_default();
    if let Some((first @ 0x80.., rest)) = field.split_first() {
        // Negative ones begin with 0xff; none of these fields may be negative.
        let mut value = u64::from(first & 0x7f);
        for byte in rest {
            value = match value.checked_mul(256) {
                Some(value) => value | u64::from(*byte),
                None => return Err(bad),
            };
        }
        return Ok(value);
    }
    let text = std::str::from_utf8(until_zero(field)).map_err(|_| bad.clone())?;
    match text.trim_matches(' ') {
        "" => Ok(0),
        digits => u64::from_str_radix(digits, 8).map_err(|_| bad),
    }
}

fn small(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Malformed("a number that is too large"))
}
