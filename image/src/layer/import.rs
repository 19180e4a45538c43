//! From a tar stream to a blob and an index.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::blob::BlobWriter;
use super::entry::Bytes;
use super::headers::HeadersWriter;
use super::index::IndexWriter;
use super::path::{Role, normalise, role};
use super::record::Recorder;
use super::stream::hashed;
use super::tar::{Archive, Member, Type};
use super::{Content, Entry, Error, Kind, MAX_FILE, MAX_NAME, MAX_PATH, MAX_XATTRS, Meta};
use crate::digest::Digest;

/// The names of what [`import`] writes.
pub(crate) const BLOB: &str = "blob";
pub(crate) const INDEX: &str = "index";

/// A layer that has been imported, not yet in a store.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The digest of the tar stream, to its end.
    pub diff_id: Digest,
    /// The contents of its files.
    pub blob: PathBuf,
    /// Everything else that counts.
    pub index: PathBuf,
    /// What else the tar stream consists of.
    pub headers: PathBuf,
    /// Length of the blob in bytes: a multiple of 4096, maybe 0.
    pub blob_len: u64,
    /// Length of the index in bytes.
    pub index_len: u64,
    /// Length of the headers in bytes.
    pub headers_len: u64,
    /// Members of the archive, whiteouts included.
    pub entries: u64,
    /// Length of the tar stream in bytes.
    pub tar_len: u64,
}

/// Imports the uncompressed tar stream `reader` into the new files `blob`, `index` and `headers` in `dir`. All are on the disk
/// when this returns; none is there if it fails. The stream is read to its end, beyond the end of the archive,
/// since the digest counts everything. Blocks; `reader` is read on another thread.
///
/// # Errors
/// When `reader` fails, the archive is malformed or has what no file system takes, or `dir` cannot be written to.
pub fn import(reader: impl Read + Send, dir: &Path) -> Result<Imported, Error> {
    let blob = dir.join(BLOB);
    let index = dir.join(INDEX);
    let headers = dir.join("headers");
    let result = write(reader, &blob, &index, &headers);
    if result.is_err() {
        // What remains of a failure is rubbish, and the failure itself is what the caller should hear of.
        let _ = fs::remove_file(&blob);
        let _ = fs::remove_file(&index);
        let _ = fs::remove_file(&headers);
    }
    result
}

/// Whether the uncompressed stream `reader` begins with a member's header, as every archive does that has members.
///
/// # Errors
/// When the stream fails before one can tell.
pub(crate) fn begins_archive(reader: impl Read) -> Result<bool, Error> {
    match Archive::new(BufReader::new(reader)).begins() {
        Err(Error::Malformed { .. }) => Ok(false),
        told => told,
    }
}

fn write(
    reader: impl Read + Send,
    blob: &Path,
    index: &Path,
    headers: &Path,
) -> Result<Imported, Error> {
    let mut files = BlobWriter::create(blob)?;
    let mut records = IndexWriter::create(index)?;
    let mut rest = HeadersWriter::create(headers)?;
    let ((), diff_id, tar_len) = hashed(reader, |source| {
        let mut archive = Archive::new(Recorder::new(source, &mut rest));
        let read = read(&mut archive, &mut files, &mut records);
        read.map_err(|error| archive.source().cause(error))
    })?;
    let blob_len = files.finish()?;
    let (entries, index_len) = records.finish(&diff_id, blob_len)?;
    Ok(Imported {
        diff_id,
        blob: blob.to_owned(),
        index: index.to_owned(),
        headers: headers.to_owned(),
        blob_len,
        index_len,
        headers_len: rest.finish(&diff_id, tar_len)?,
        entries,
        tar_len,
    })
}

/// Takes the archive apart, to the end of the stream.
fn read(
    archive: &mut Archive<Recorder<'_, impl BufRead>>,
    files: &mut BlobWriter,
    records: &mut IndexWriter,
) -> Result<(), Error> {
    while let Some(member) = archive.next()? {
        add(archive, member, files, records)?;
    }
    archive.source().drain().map_err(Error::Read)
}

/// Adds one member.
fn add(
    archive: &mut Archive<Recorder<'_, impl BufRead>>,
    member: Member,
    files: &mut BlobWriter,
    records: &mut IndexWriter,
) -> Result<(), Error> {
    let path = normalise(&member.path)?;
    let (path, hides) = match role(&path)? {
        Role::Ignored => return Ok(()),
        Role::Plain => (path, None),
        Role::Whiteout(hidden) => (hidden, Some(Kind::Whiteout)),
        Role::Opaque(directory) => (directory, Some(Kind::Opaque)),
    };
    if let Some(kind) = hides {
        return records.push(&Entry {
            path: &path,
            meta: Meta::default(),
            xattrs: Vec::new(),
            kind,
        });
    }
    if path.is_empty() && member.kind != Type::Directory {
        return Err(Error::member(&member.path, "the root must be a directory"));
    }

    let refuse = |what| Error::member(&member.path, what);
    let target;
    let mut inline = Vec::new();
    let kind = match member.kind {
        Type::Directory => Kind::Directory,
        Type::Fifo => Kind::Fifo,
        Type::Symlink => Kind::Symlink(symlink(&member.link).map_err(refuse)?),
        Type::HardLink => {
            target = normalise(&member.link)?;
            if target.is_empty() {
                return Err(refuse("it is a hard link to the root"));
            }
            Kind::HardLink(&target)
        }
        Type::Character => {
            let (major, minor) = device(member.device).map_err(refuse)?;
            Kind::Character(major, minor)
        }
        Type::Block => {
            let (major, minor) = device(member.device).map_err(refuse)?;
            Kind::Block(major, minor)
        }
        Type::Regular => Kind::File {
            size: member.size,
            content: content(archive, &member, records.count(), files, &mut inline)?,
        },
    };
    let meta = if member.kind == Type::HardLink {
        Meta::default()
    } else {
        meta(&member).map_err(refuse)?
    };
    let xattrs = xattrs(&member.xattrs).map_err(refuse)?;
    records.push(&Entry {
        path: &path,
        meta,
        xattrs,
        kind,
    })
}

/// Takes the content of a regular file, whose record will be number `entry`, out of the archive.
fn content<'a>(
    archive: &mut Archive<Recorder<'_, impl BufRead>>,
    member: &Member,
    entry: u64,
    files: &mut BlobWriter,
    inline: &'a mut Vec<u8>,
) -> Result<Content<'a>, Error> {
    if member.size > MAX_FILE {
        return Err(Error::member(&member.path, "it is larger than 64 PiB"));
    }
    let mut file = files.file(member.size);
    for segment in &member.segments {
        file.seek(segment.offset)?;
        let source = archive.source();
        source.begin_content(entry, segment.offset, segment.length)?;
        archive.content(segment.length, |bytes| file.write(bytes))?;
        archive.source().end_content();
    }
    file.finish(inline)
}

fn symlink(target: &[u8]) -> Result<&[u8], &'static str> {
    if target.is_empty() || target.contains(&0) {
        return Err("its target is empty or contains a NUL byte");
    }
    if target.len() > MAX_PATH {
        return Err("its target is longer than 4095 bytes");
    }
    Ok(target)
}

fn device((major, minor): (i64, i64)) -> Result<(u32, u32), &'static str> {
    let wrong = "its device number is more than Linux has (12 and 20 bits)";
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major @ 0..=0xfff), Ok(minor @ 0..=0xf_ffff)) => Ok((major, minor)),
        _ => Err(wrong),
    }
}

fn meta(member: &Member) -> Result<Meta, &'static str> {
    // The highest number means "nobody in particular" to the kernel.
    let id = |id: i64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let (mtime, nanos) = member.mtime;
    Ok(Meta {
        // Some archivers put the type's bits there too.
        mode: u16::try_from(member.mode & 0o7777).unwrap_or_default(),
        uid: id(member.uid).ok_or("its owner is no user number")?,
        gid: id(member.gid).ok_or("its group is no group number")?,
        mtime,
        nanos,
    })
}

/// What is kept of the extended attributes, sorted; of one name, the last.
fn xattrs(all: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<(Bytes<'_>, Bytes<'_>)>, &'static str> {
    let mut kept: Vec<(Bytes<'_>, Bytes<'_>)> = Vec::new();
    for (name, value) in all.iter().rev() {
        if is_kept(name) && !kept.iter().any(|(other, _)| other.0 == *name) {
            if name.len() > MAX_NAME || name.contains(&0) {
                return Err("an extended attribute has an impossible name");
            }
            if value.len() > usize::from(u16::MAX) {
                return Err("an extended attribute is longer than 65535 bytes");
            }
            kept.push((Bytes(name), Bytes(value)));
        }
        if kept.len() > 1024 {
            return Err("it has more than 1024 extended attributes");
        }
    }
    let total = kept
        .iter()
        .map(|(name, value)| name.0.len() + value.0.len());
    if total.sum::<usize>() > MAX_XATTRS {
        return Err("its extended attributes are longer than 128 KiB");
    }
    kept.sort_unstable();
    Ok(kept)
}

/// See the module [`super`] for what and why.
fn is_kept(name: &[u8]) -> bool {
    let named = |prefix: &[u8]| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty())
    };
    match name {
        b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ if name.starts_with(b"trusted.overlay.") => false,
        _ => named(b"user.") || named(b"trusted.") || named(b"security."),
    }
}
