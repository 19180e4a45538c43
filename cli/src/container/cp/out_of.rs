//! From a container to this host.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use http_body_util::BodyExt as _;
use hyper::Method;
use tar::Archive;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::Args;
use super::archive::{Count, Renamed};
use super::places::{Destination, Plan, Source, asserts_dir, split};
use super::stat::{Stat, place, resolved};
use crate::client::{Daemon, Exchange};
use crate::out;

/// How much is written at once, in bytes.
const PIECE: usize = 64 * 1024;
/// How many links in a row are followed.
const LINKS: usize = 10;

/// How many bytes the archive had; nothing where it is what was asked for.
pub(super) async fn copy(
    daemon: &Daemon,
    container: &str,
    from: &str,
    to: &str,
    args: &Args,
) -> anyhow::Result<Option<u64>> {
    let (mut from, mut name) = (from.to_owned(), None);
    if args.follow_link {
        let (_, target) = Stat::followed(daemon, container, &from).await?;
        if target != from {
            (from, name) = resolved(&from, &target);
        }
    }
    if to != "-" {
        check(to)?;
    }
    let exchange = Exchange::new(Method::GET, place(container, &from));
    let answer = daemon.exchange(exchange).await?;
    let stat = Stat::in_head(&answer)?;
    let data = answer.into_body().into_data_stream();
    let archive = StreamReader::new(Box::pin(data.map_err(std::io::Error::other)));
    if to == "-" {
        return to_stdout(archive).await.map(|()| None);
    }
    let archived = split(&from).1;
    let source = Source {
        name: name.unwrap_or_else(|| archived.clone()),
        is_dir: stat.is_dir(),
    };
    let plan = Plan::of(&source, &destination(to)?)?;
    let name = plan.name.unwrap_or(source.name);
    let (dir, keeps_all) = (plan.dir, args.archive);
    let count = Count::default();
    let counted = count.of(SyncIoBridge::new(archive));
    let unpacked = tokio::task::spawn_blocking(move || {
        unpack(counted, archived, name, Path::new(&dir), keeps_all)
    });
    unpacked.await??;
    Ok(Some(count.get()))
}

async fn to_stdout(mut archive: impl tokio::io::AsyncRead + Unpin) -> anyhow::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if archive.read_buf(&mut piece).await? == 0 {
            return Ok(());
        }
        tokio::task::spawn_blocking(move || out::write(&piece)).await??;
    }
}

/// Refuses what nothing can be copied to before anything is.
fn check(to: &str) -> anyhow::Result<()> {
    let (dir, _) = split(to);
    let is_dir = |path: &str| fs::metadata(path).is_ok_and(|meta| meta.is_dir());
    if !is_dir(&dir) && !is_dir(to) {
        bail!("invalid output path: directory \"{dir}\" does not exist");
    }
    let is_special = |meta: fs::Metadata| !meta.is_dir() && !meta.is_file();
    if fs::metadata(to).is_ok_and(is_special) {
        bail!("invalid output path: {to} is neither a file nor a directory");
    }
    Ok(())
}

/// What is there, with links followed.
fn destination(to: &str) -> anyhow::Result<Destination> {
    let mut path = PathBuf::from(to);
    for _ in 0..LINKS {
        // What ends in a slash is what the link leads to, anyway.
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(&path)?;
                path = path.parent().unwrap_or(Path::new("/")).join(target);
            }
            found => {
                let text = path.to_str().context("the path is no text in UTF-8")?;
                let slash = if asserts_dir(to) && !asserts_dir(text) {
                    "/"
                } else {
                    ""
                };
                return Ok(Destination {
                    path: format!("{text}{slash}"),
                    exists: found.is_ok(),
                    is_dir: found.is_ok_and(|meta| meta.is_dir()),
                });
            }
        }
    }
    bail!("{to} is a link to a link and so on, more than {LINKS} times")
}

/// Unpacks what is called `archived` in the archive as `name` in a directory. No member gets out of that.
fn unpack(
    archive: impl Read + Send + 'static,
    archived: String,
    name: String,
    dir: &Path,
    keeps_all: bool,
) -> anyhow::Result<()> {
    let failed = || format!("it cannot be copied to {}", dir.display());
    let archive: Box<dyn Read> = match archived == name {
        true => Box::new(archive),
        false => Box::new(Renamed::new(archive, archived, name).with_context(failed)?),
    };
    set(Archive::new(archive), keeps_all)
        .unpack(dir)
        .with_context(failed)
}

fn set<R: Read>(mut archive: Archive<R>, keeps_all: bool) -> Archive<R> {
    // Else files are whose who copies them, and a program from a container runs as nobody else on the host.
    archive.set_preserve_permissions(keeps_all);
    archive.set_preserve_ownerships(keeps_all);
    archive
}
