//! Members as headers. What an old header cannot say goes into an extended one before it.

use super::{BLOCK, Kind, Member, checksum, field, padding, pax};

/// The largest number that `digits` octal digits hold.
const fn octal_max(digits: u32) -> u64 {
    (1 << (3 * digits)) - 1
}

/// Appends the header of a member, whose content and its [`padding`] follow.
pub(crate) fn header(member: &Member, output: &mut Vec<u8>) {
    let mut extended = Vec::new();
    let mut header = [0; BLOCK];
    if !put_name(&mut header, &member.path) {
        pax::record(b"path", &member.path, &mut extended);
    }
    if !put(&mut header, field::LINK, &member.link) {
        pax::record(b"linkpath", &member.link, &mut extended);
    }
    let numbers = [
        (field::UID, &b"uid"[..], u64::from(member.uid)),
        (field::GID, b"gid", u64::from(member.gid)),
        (field::SIZE, b"size", member.size),
    ];
    for (field, name, value) in numbers {
        if !put_octal(&mut header, field, value) {
            pax::record(name, value.to_string().as_bytes(), &mut extended);
        }
    }
    let (seconds, _) = member.mtime;
    let positive = u64::try_from(seconds).ok();
    if !positive.is_some_and(|seconds| put_octal(&mut header, field::MTIME, seconds)) {
        put_octal(&mut header, field::MTIME, 0);
        pax::record(b"mtime", seconds.to_string().as_bytes(), &mut extended);
    }
    put_octal(&mut header, field::MODE, (member.mode & 0o7777).into());
    let (major, minor) = member.device;
    put_octal(&mut header, field::MAJOR, major.into());
    put_octal(&mut header, field::MINOR, minor.into());
    for (name, value) in &member.xattrs {
        pax::record(
            &[b"SCHILY.xattr.", &name[..]].concat(),
            value,
            &mut extended,
        );
    }
    if !extended.is_empty() {
        extension(&member.path, &extended, output);
    }
    let letter = Kind::ALL.iter().find(|(kind, _)| *kind == member.kind);
    finish(&mut header, letter.map_or(b'0', |(_, letter)| *letter));
    output.extend_from_slice(&header);
}

/// Appends the end of an archive.
pub(crate) fn end(output: &mut Vec<u8>) {
    output.extend_from_slice(&[0; 2 * BLOCK]);
}

fn extension(path: &[u8], records: &[u8], output: &mut Vec<u8>) {
    let mut header = [0; BLOCK];
    // For who does not know extended headers and unpacks them as files.
    let name = path
        .rsplit(|byte| *byte == b'/')
        .find(|name| !name.is_empty());
    let name = [b"PaxHeaders.0/", name.unwrap_or(b"root")].concat();
    put(&mut header, field::NAME, name.get(..100).unwrap_or(&name));
    put_octal(&mut header, field::MODE, 0o644);
    for field in [field::UID, field::GID, field::MTIME] {
        put_octal(&mut header, field, 0);
    }
    let size = records.len() as u64;
    put_octal(&mut header, field::SIZE, size);
    finish(&mut header, b'x');
    output.extend_from_slice(&header);
    output.extend_from_slice(records);
    let padding = usize::try_from(padding(size)).unwrap_or(0);
    output.resize(output.len() + padding, 0);
}

fn finish(header: &mut [u8; BLOCK], letter: u8) {
    header[field::KIND] = letter;
    put(header, field::MAGIC, b"ustar\0");
    put(header, field::VERSION, b"00");
    let sum = format!("{:06o}\0 ", checksum(header));
    put(header, field::CHECKSUM, sum.as_bytes());
}

/// Whether `value` fits.
fn put(header: &mut [u8; BLOCK], field: std::ops::Range<usize>, value: &[u8]) -> bool {
    let place = header.get_mut(field);
    let Some(place) = place.and_then(|place| place.get_mut(..value.len())) else {
        return false;
    };
    place.copy_from_slice(value);
    true
}

/// Puts a path into one or both of its fields.
fn put_name(header: &mut [u8; BLOCK], path: &[u8]) -> bool {
    if put(header, field::NAME, path) {
        return true;
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    for (slash, _) in slashes {
        let (prefix, name) = (path.get(..slash), path.get(slash + 1..));
        let (prefix, name) = (prefix.unwrap_or_default(), name.unwrap_or_default());
        let fits = !prefix.is_empty() && !name.is_empty() && name.len() <= field::NAME.len();
        if fits && put(header, field::PREFIX, prefix) {
            return put(header, field::NAME, name);
        }
    }
    false
}

fn put_octal(header: &mut [u8; BLOCK], field: std::ops::Range<usize>, value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = u32::try_from(digits).is_ok_and(|digits| value <= octal_max(digits));
    let value = if fits { value } else { 0 };
    put(header, field, format!("{value:0digits$o}\0").as_bytes()) && fits
}
