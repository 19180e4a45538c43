//! PAX extended headers: lines of `LENGTH KEYWORD=VALUE`, of which the length counts the whole line.

use super::Member;
use super::sparse::{PaxSparse, SparseRecords};

/// The records that matter for the member after them. Of a repeated keyword the last counts; an empty value takes it back.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) size: Option<u64>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<i64>,
    gid: Option<i64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: SparseRecords,
}

impl Records {
    pub(super) fn parse(mut text: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        while !text.is_empty() {
            let malformed = "a PAX record is malformed";
            let blank = text.iter().take(12).position(|byte| *byte == b' ');
            let (length, _) = text.split_at(blank.ok_or(malformed)?);
            let length = decimal(length).ok_or(malformed)?;
            let length = usize::try_from(length).map_err(|_| malformed)?;
            let (line, rest) = text.split_at_checked(length).ok_or(malformed)?;
            let start = blank.unwrap_or_default() + 1;
            let line = line.get(start..).and_then(|line| line.strip_suffix(b"\n"));
            let line = line.ok_or(malformed)?;
            let equals = line
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or(malformed)?;
            let (key, value) = line.split_at(equals);
            records.set(key, value.get(1..).unwrap_or_default())?;
            text = rest;
        }
        Ok(records)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        let wrong = "a PAX record has a number that is none";
        let number = || -> Result<Option<u64>, &'static str> {
            if value.is_empty() {
                return Ok(None);
            }
            decimal(value).map(Some).ok_or(wrong)
        };
        let id = || number().map(|id| id.map(|id| i64::try_from(id).unwrap_or(i64::MAX)));
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link = bytes(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = id()?,
            b"gid" => self.gid = id()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or(wrong)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value)?;
                }
            }
        }
        Ok(())
    }

    /// Overrides what the header said. The size is the caller's business; what says that the file is sparse is returned.
    pub(super) fn apply(self, member: &mut Member) -> Option<PaxSparse> {
        let (name, sparse) = self.sparse.finish();
        if let Some(path) = name.or(self.path) {
            member.path = path;
        }
        if let Some(link) = self.link {
            member.link = link;
        }
        member.uid = self.uid.unwrap_or(member.uid);
        member.gid = self.gid.unwrap_or(member.gid);
        member.mtime = self.mtime.unwrap_or(member.mtime);
        member.xattrs = self.xattrs;
        sparse
    }
}

/// Decimal digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with a fraction, of which nine digits count: `-1.5` is half a second before -1.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (text.get(..point)?, text.get(point + 1..)?),
        None => (text, &[][..]),
    };
    if seconds.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(seconds)?).ok()?;
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0'));
    let nanos = digits
        .take(9)
        .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}
