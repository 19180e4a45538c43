//! The one form in which a record of an index becomes a header of an archive: POSIX ustar, with PAX records where it must be.

use super::{Entry, Error, Kind};

/// Bytes of a record of the archive.
const RECORD: usize = 512;
/// The largest numbers that the octal fields of 8 and 12 bytes take.
const MAX_ID: u64 = 0o7_777_777;
const MAX_LONG: u64 = 0o77_777_777_777;

/// The header of a member, with its PAX header before it if it needs one. What follows is the content of the file.
pub(crate) fn header(entry: &Entry<'_>) -> Result<Vec<u8>, Error> {
    let (path, flag) = name(entry);
    let (link, device, size) = match &entry.kind {
        Kind::Symlink(target) | Kind::HardLink(target) => (*target, (0, 0), 0),
        Kind::Character(major, minor) | Kind::Block(major, minor) => (&[][..], (*major, *minor), 0),
        Kind::File { size, .. } => (&[][..], (0, 0), *size),
        _ => (&[][..], (0, 0), 0),
    };
    let meta = &entry.meta;
    let mut records = Vec::new();
    let mut note = |key: &[u8], value: &[u8]| record(&mut records, key, value);
    // Bytes beyond ASCII have no meaning in the header itself.
    let fits = |text: &[u8]| text.len() <= 100 && text.is_ascii();
    if !fits(&path) {
        note(b"path", &path);
    }
    if !fits(link) {
        note(b"linkpath", link);
    }
    let number = |value: u64, max: u64| (value <= max).then_some(value);
    let mut numbers = Vec::new();
    for (key, value, max) in [
        ("uid", u64::from(meta.uid), MAX_ID),
        ("gid", u64::from(meta.gid), MAX_ID),
        ("size", size, MAX_LONG),
    ] {
        if number(value, max).is_none() {
            note(key.as_bytes(), value.to_string().as_bytes());
        }
        numbers.push(number(value, max).unwrap_or(0));
    }
    let seconds = u64::try_from(meta.mtime).ok();
    let whole = seconds.and_then(|seconds| number(seconds, MAX_LONG));
    if whole.is_none() || meta.nanos > 0 {
        note(b"mtime", time(meta.mtime, meta.nanos).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        note(&[b"SCHILY.xattr.", name.0].concat(), value.0);
    }
    let [uid, gid, size] = numbers[..] else {
        return Err(Error::member(&path, "it has no owner"));
    };
    let mut bytes = Vec::new();
    if !records.is_empty() {
        let length = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let mut extension = Fields::new(b"PaxHeaders/0", b'x');
        extension.octal(100, 8, 0o644);
        extension.octal(124, 12, length);
        bytes.extend(extension.finish());
        bytes.extend(&records);
        bytes.resize(bytes.len().next_multiple_of(RECORD), 0);
    }
    let mut fields = Fields::new(path.get(..path.len().min(100)).unwrap_or_default(), flag);
    fields.octal(100, 8, u64::from(meta.mode));
    fields.octal(108, 8, uid);
    fields.octal(116, 8, gid);
    fields.octal(124, 12, size);
    fields.octal(136, 12, whole.unwrap_or(0));
    fields.put(157, link.get(..link.len().min(100)).unwrap_or_default());
    fields.octal(329, 8, u64::from(device.0));
    fields.octal(337, 8, u64::from(device.1));
    bytes.extend(fields.finish());
    Ok(bytes)
}

/// The path and the type flag that a member has in an archive.
fn name(entry: &Entry<'_>) -> (Vec<u8>, u8) {
    let path = entry.path;
    let (parent, last) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (
            path.get(..=slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (&[][..], path),
    };
    match entry.kind {
        Kind::Directory if path.is_empty() => (b"./".to_vec(), b'5'),
        Kind::Directory => ([path, b"/"].concat(), b'5'),
        Kind::File { .. } => (path.to_vec(), b'0'),
        Kind::HardLink(_) => (path.to_vec(), b'1'),
        Kind::Symlink(_) => (path.to_vec(), b'2'),
        Kind::Character(..) => (path.to_vec(), b'3'),
        Kind::Block(..) => (path.to_vec(), b'4'),
        Kind::Fifo => (path.to_vec(), b'6'),
        Kind::Whiteout => ([parent, b".wh.", last].concat(), b'0'),
        Kind::Opaque if path.is_empty() => (b".wh..wh..opq".to_vec(), b'0'),
        Kind::Opaque => ([path, b"/.wh..wh..opq"].concat(), b'0'),
    }
}

/// `LENGTH KEY=VALUE`, of which the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(length.to_string().as_bytes());
    records.push(b' ');
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// Seconds with nine digits behind the point where they are not whole; before 1970 both count backwards.
fn time(seconds: i64, nanos: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (whole, rest) = (
        total.unsigned_abs() / 1_000_000_000,
        total.unsigned_abs() % 1_000_000_000,
    );
    let sign = if total < 0 { "-" } else { "" };
    if rest == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{rest:09}")
    }
}

/// A header that is being filled.
struct Fields([u8; RECORD]);

impl Fields {
    fn new(name: &[u8], flag: u8) -> Self {
        let mut fields = Self([0; RECORD]);
        fields.put(0, name);
        fields.octal(100, 8, 0);
        fields.octal(108, 8, 0);
        fields.octal(116, 8, 0);
        fields.octal(124, 12, 0);
        fields.octal(136, 12, 0);
        fields.put(156, &[flag]);
        fields.put(257, b"ustar\x0000");
        fields
    }

    /// Writes `bytes` at `offset`; both are constants inside the header, or cut to fit.
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(offset..offset + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    fn octal(&mut self, offset: usize, width: usize, value: u64) {
        let digits = width - 1;
        self.put(offset, format!("{value:0digits$o}").as_bytes());
    }

    fn finish(mut self) -> [u8; RECORD] {
        self.put(148, b"        ");
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}
