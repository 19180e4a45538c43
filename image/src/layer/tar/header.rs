//! One header of 512 bytes: the fields of POSIX ustar, with GNU's and Schily's variations.

use super::{Member, RECORD, Type};

/// A header whose checksum is right.
#[derive(Debug)]
pub(super) struct Header([u8; RECORD]);

impl Header {
    pub(super) fn parse(record: [u8; RECORD]) -> Result<Self, &'static str> {
        let header = Self(record);
        let sum = |value: fn(u8) -> i64| -> i64 {
            let bytes = record.iter().enumerate();
            // The checksum counts itself as blanks.
            let counted = bytes.map(|(at, byte)| match at {
                148..156 => i64::from(b' '),
                _ => value(*byte),
            });
            counted.sum()
        };
        let stored = number(header.field(148, 8)).ok_or("a header's checksum is no number")?;
        let signed = |byte: u8| i64::from(byte.cast_signed());
        if stored != sum(i64::from) && stored != sum(signed) {
            return Err("a header's checksum is wrong");
        }
        Ok(header)
    }

    /// The type flag as it stands there.
    pub(super) fn flag(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    pub(super) fn kind(&self) -> Option<Type> {
        Some(match self.flag() {
            // Before POSIX, directories were told by their name.
            0 if self.name().ends_with(b"/") => Type::Directory,
            0 | b'0' | b'7' | b'S' => Type::Regular,
            b'1' => Type::HardLink,
            b'2' => Type::Symlink,
            b'3' => Type::Character,
            b'4' => Type::Block,
            b'5' => Type::Directory,
            b'6' => Type::Fifo,
            _ => return None,
        })
    }

    /// Whether nothing follows, whatever the size field says.
    pub(super) fn is_only_header(&self) -> bool {
        matches!(self.flag(), b'1'..=b'6')
    }

    /// Bytes that follow.
    pub(super) fn size(&self) -> Result<u64, &'static str> {
        let size = number(self.field(124, 12)).ok_or("a size is no number")?;
        u64::try_from(size).map_err(|_| "a size is negative")
    }

    /// The path, with the prefix that POSIX's variant has.
    pub(super) fn path(&self) -> Vec<u8> {
        let prefix = match (self.field(257, 8), self.field(508, 4)) {
            (b"ustar\x0000", b"tar\0") => text(self.field(345, 131)),
            (b"ustar\x0000", _) => text(self.field(345, 155)),
            _ => &[],
        };
        if prefix.is_empty() {
            return self.name().to_vec();
        }
        [prefix, self.name()].join(&b'/')
    }

    /// What the header alone says.
    pub(super) fn member(&self, kind: Type) -> Result<Member, &'static str> {
        let has_device = matches!(kind, Type::Character | Type::Block);
        let device = if has_device {
            (
                number(self.field(329, 8)).ok_or("a device number is no number")?,
                number(self.field(337, 8)).ok_or("a device number is no number")?,
            )
        } else {
            (0, 0)
        };
        Ok(Member {
            path: self.path(),
            link: text(self.field(157, 100)).to_vec(),
            kind,
            mode: number(self.field(100, 8)).ok_or("a mode is no number")?,
            uid: number(self.field(108, 8)).ok_or("an owner is no number")?,
            gid: number(self.field(116, 8)).ok_or("a group is no number")?,
            mtime: (number(self.field(136, 12)).ok_or("a time is no number")?, 0),
            device,
            xattrs: Vec::new(),
            size: 0,
            segments: Vec::new(),
        })
    }

    /// `length` bytes at `offset`; both are constants inside the header.
    pub(super) fn field(&self, offset: usize, length: usize) -> &[u8] {
        self.0.get(offset..offset + length).unwrap_or_default()
    }

    fn name(&self) -> &[u8] {
        text(self.field(0, 100))
    }
}

/// Text that ends with NUL or with its field.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits between blanks and NULs, or big-endian two's complement if the first bit is set. An empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The bit below the marker is the sign.
        let start = i128::from((first << 1).cast_signed() >> 1);
        let bits = rest.iter().try_fold(start, |value, byte| {
            let value = value.checked_mul(256)? + i128::from(*byte);
            i64::try_from(value).is_ok().then_some(value)
        })?;
        return i64::try_from(bits).ok();
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let begin = field.iter().position(|byte| !is_blank(byte));
    let digits = field.get(begin.unwrap_or(field.len())..)?;
    let end = digits.iter().position(is_blank);
    let digits = digits.get(..end.unwrap_or(digits.len()))?;
    if digits.is_empty() {
        return Some(0);
    }
    let digits = str::from_utf8(digits).ok()?;
    if digits.starts_with('+') || digits.starts_with('-') {
        return None;
    }
    i64::from_str_radix(digits, 8).ok()
}
