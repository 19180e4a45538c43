//! From this host into a container.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use futures_util::TryStreamExt as _;
use tar::Builder;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, SyncIoBridge};

use super::Args;
use super::archive::Count;
use super::places::{Destination, Plan, Source, asserts_dir, is_dot, split};
use super::stat::Stat;
use crate::client::{Daemon, escaped, said};

/// How much is passed on at once, in bytes.
const PIECE: usize = 64 * 1024;

/// How many bytes the archive had.
pub(super) async fn copy(
    daemon: &Daemon,
    from: &str,
    container: &str,
    to: &str,
    args: &Args,
) -> anyhow::Result<u64> {
    let (stat, target) = Stat::followed(daemon, container, to).await?;
    let is_dir = stat.as_ref().is_some_and(Stat::is_dir);
    let count = Count::default();
    if from == "-" {
        if !is_dir && stat.is_some() {
            bail!("destination \"{container}:{to}\" must be a directory");
        }
        let stdin = tokio::io::stdin();
        upload(daemon, container, &target, stdin, &count, args).await?;
        return Ok(count.get());
    }
    let (path, source) = source(from, args.follow_link)?;
    let slash = if asserts_dir(to) && !asserts_dir(&target) {
        "/"
    } else {
        ""
    };
    let destination = Destination {
        path: format!("{target}{slash}"),
        exists: stat.is_some(),
        is_dir,
    };
    let plan = Plan::of(&source, &destination)?;
    let name = plan.name.unwrap_or(source.name);
    let (reader, writer) = tokio::io::duplex(PIECE);
    let writer = SyncIoBridge::new(writer);
    let packing = tokio::task::spawn_blocking(move || pack(&path, &name, source.is_dir, writer));
    let uploaded = upload(daemon, container, &plan.dir, reader, &count, args).await;
    // What keeps files from being read is why the daemon did not get them.
    match packing.await? {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).with_context(|| format!("{from} cannot be read"))
        }
        _ => uploaded.map(|()| count.get()),
    }
}

/// What is copied, and where it is.
fn source(from: &str, follows: bool) -> anyhow::Result<(PathBuf, Source)> {
    let path = Path::new(from);
    let found = match follows || asserts_dir(from) {
        true => fs::metadata(path),
        false => fs::symlink_metadata(path),
    };
    let meta = found.with_context(|| format!("{from} cannot be copied"))?;
    if asserts_dir(from) && !meta.is_dir() {
        bail!("{from} is not a directory");
    }
    let mut name = split(from).1;
    let mut path = path.to_owned();
    if name == ".." || (name == "." && !is_dot(from)) {
        // `..` is called as the directory that it means.
        let real = fs::canonicalize(&path)?;
        let real_name = real.file_name().unwrap_or_default();
        name = real_name.to_string_lossy().into_owned();
    }
    if follows {
        path = fs::canonicalize(&path)?;
    }
    let is_dir = meta.is_dir();
    Ok((path, Source { name, is_dir }))
}

fn pack(path: &Path, name: &str, is_dir: bool, writer: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(writer);
    archive.follow_symlinks(false);
    // Holes of a file are none of the daemon's.
    archive.sparse(false);
    match (is_dir, name) {
        // What is in it goes where the archive is unpacked.
        (true, "." | "/") => archive.append_dir_all("", path)?,
        (true, name) => archive.append_dir_all(name, path)?,
        (false, name) => archive.append_path_with_name(path, name)?,
    }
    archive.into_inner()?.flush()
}

async fn upload(
    daemon: &Daemon,
    container: &str,
    to: &str,
    archive: impl AsyncRead + Send + 'static,
    count: &Count,
    args: &Args,
) -> anyhow::Result<()> {
    let how = UploadToContainerOptionsBuilder::new()
        .path(to)
        .no_overwrite_dir_non_dir("true")
        .copy_uidgid(if args.archive { "true" } else { "false" });
    let count = count.clone();
    let pieces = ReaderStream::with_capacity(archive, PIECE);
    let pieces = pieces.inspect_ok(move |piece| count.add(piece.len()));
    let body = bollard::body_try_stream(pieces);
    let (docker, container) = (daemon.docker(), escaped(container));
    let uploaded = docker.upload_to_container(&container, Some(how.build()), body);
    uploaded.await.map_err(said)
}
