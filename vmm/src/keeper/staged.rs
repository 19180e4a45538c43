//! New files that are written by the machine's process and have no name until they are whole: who is killed on the way leaves nothing.
//!
//! Where the file system can it makes a file without any name (`O_TMPFILE`), which goes with its last descriptor. Elsewhere it has a name
//! of its own beside the one that it is to have.
//!
//! Two files cannot get their names at once. So the one that is the last, a snapshot's state, has a name beside its own before the first
//! gets its own, and whoever looks for it looks there as well: at every moment the files before are there, or these.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_vm_api::request::PENDING;
use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// A file that is being written.
#[derive(Debug, Clone)]
pub(crate) struct Staged(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    /// The name that it is to have.
    target: PathBuf,
    /// The one that it has until then, if it has to have one.
    passing: PathBuf,
}

impl Staged {
    /// Makes a file that is to be at `path`, in the place of whatever file is there: readable for its owner alone, as a guest's memory
    /// should be.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn make(path: &Path) -> io::Result<(OwnedFd, Self)> {
        // Where a link leads to, if there is one.
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let passing = beside(&target)?;
        let file = without_name(&target).or_else(|_| with_name(&passing))?;
        let staged = Self(Arc::new(Inner {
            file,
            target,
            passing,
        }));
        Ok((staged.0.file.try_clone()?.into(), staged))
    }

    /// Where it is to be.
    pub(super) fn target(&self) -> &Path {
        &self.0.target
    }

    /// Where it is when it is whole, and what it belongs to is not in its place yet.
    fn pending(&self) -> PathBuf {
        let mut pending = self.0.target.clone().into_os_string();
        pending.push(PENDING);
        pending.into()
    }

    /// Puts it where `name` says, in the place of what is there.
    fn put(&self, name: &Path, step: Step<'_>) -> io::Result<()> {
        let Inner { file, passing, .. } = &*self.0;
        if file.metadata()?.nlink() == 0 {
            // Nothing can be put in the place of a file but by another name.
            linkat(CWD, own(file), CWD, passing, AtFlags::SYMLINK_FOLLOW)?;
            step();
        }
        fs::rename(passing, name)?;
        step();
        Ok(())
    }

    /// Has its directory on its disk.
    fn settle(&self) -> io::Result<OwnedFd> {
        let directory = File::open(directory(&self.0.target))?;
        directory.sync_all()?;
        Ok(directory.into())
    }
}

/// Called when something has changed for others.
type Step<'a> = &'a mut dyn FnMut();

/// Gives files their names that belong together, in this order, and has their directories on their disks.
///
/// # Errors
/// The host's answer.
pub(super) fn publish(staged: &[Staged]) -> io::Result<OwnedFd> {
    publish_by_steps(staged, &mut || {})
}

fn publish_by_steps(staged: &[Staged], step: Step<'_>) -> io::Result<OwnedFd> {
    let (last, others) = staged.split_last().ok_or(Errno::NOENT)?;
    let Some((first, others)) = others.split_first() else {
        last.put(last.target(), step)?;
        return last.settle();
    };
    let pending = last.pending();
    last.put(&pending, step)?;
    let put = last.settle().and_then(|_| first.put(first.target(), step));
    if let Err(error) = put {
        // Nothing is in its place, so it is of no use.
        let _ = fs::remove_file(pending);
        return Err(error);
    }
    // From here on it stays there if something fails, for the snapshot before is gone.
    first.settle()?;
    for other in others {
        other.put(other.target(), step)?;
        other.settle()?;
    }
    fs::rename(pending, last.target())?;
    step();
    last.settle()
}

/// What is not published goes.
impl Drop for Inner {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.passing);
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name beside another that nobody has.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let mut passing = name.to_owned();
    passing.push(format!(".{:016x}.partial", u64::from_ne_bytes(random)));
    Ok(path.with_file_name(passing))
}

fn own(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn without_name(target: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    let file = options
        .custom_flags(libc::O_TMPFILE)
        .open(directory(target))?;
    // It gets its name by way of `/proc`, which need not be there.
    fs::metadata(own(&file))?;
    Ok(file)
}

fn with_name(passing: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(passing)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_published_and_replaces_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("state", dir.path().join("link")).unwrap();
        let mut old = File::open(&path).unwrap();
        let (file, staged) = Staged::make(&dir.path().join("link")).unwrap();
        File::from(file).write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        publish(std::slice::from_ref(&staged)).unwrap();
        drop(staged);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // Who has the old one open has it still.
        let mut seen = String::new();
        io::Read::read_to_string(&mut old, &mut seen).unwrap();
        assert_eq!(seen, "old");
        assert_eq!(names(dir.path()), ["link", "state"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        drop(Staged::make(&path).unwrap());
        let passing = beside(&path).unwrap();
        let named = Staged(Arc::new(Inner {
            file: with_name(&passing).unwrap(),
            target: path.clone(),
            passing: passing.clone(),
        }));
        assert_eq!(names(dir.path()).len(), 1);
        drop(named);
        assert_eq!(names(dir.path()), [""; 0]);
        let named = Staged(Arc::new(Inner {
            file: with_name(&passing).unwrap(),
            target: path,
            passing,
        }));
        publish(std::slice::from_ref(&named)).unwrap();
        drop(named);
        assert_eq!(names(dir.path()), ["memory"]);
        assert!(Staged::make(&dir.path().join("missing/file")).is_err());
    }

    /// What of a snapshot is found by its names, as who loads one looks for it: the memory, and the state that belongs to it.
    fn found(dir: &Path) -> Option<String> {
        let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
        let memory = read("memory")?;
        let states = [read("state"), read(&format!("state{PENDING}"))];
        states.into_iter().flatten().find(|state| *state == memory)
    }

    fn stage(dir: &Path, content: &str, with_names: bool) -> Vec<Staged> {
        let stage = |name: &str| {
            let path = dir.join(name);
            let staged = match with_names {
                false => Staged::make(&path).unwrap().1,
                true => {
                    let passing = beside(&path).unwrap();
                    Staged(Arc::new(Inner {
                        file: with_name(&passing).unwrap(),
                        target: path,
                        passing,
                    }))
                }
            };
            (&staged.0.file).write_all(content.as_bytes()).unwrap();
            staged
        };
        vec![stage("memory"), stage("state")]
    }

    #[test]
    fn whoever_is_killed_between_the_names_leaves_a_whole_snapshot() {
        for with_names in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            publish(&stage(dir.path(), "old", with_names)).unwrap();
            assert_eq!(found(dir.path()).as_deref(), Some("old"));
            let staged = stage(dir.path(), "new", with_names);
            // All that anybody can ever see.
            let mut seen = vec![found(dir.path()).unwrap()];
            publish_by_steps(&staged, &mut || seen.push(found(dir.path()).unwrap())).unwrap();
            drop(staged);
            assert_eq!(seen.first().unwrap(), "old");
            assert_eq!(seen.last().unwrap(), "new");
            assert!(
                seen.len() > 3 && seen.is_sorted_by_key(|what| what == "new"),
                "{seen:?}"
            );
            assert_eq!(names(dir.path()), ["memory", "state"]);
        }
    }

    #[test]
    fn what_cannot_be_put_in_its_place_leaves_the_snapshot_before() {
        let dir = tempfile::tempdir().unwrap();
        publish(&stage(dir.path(), "old", false)).unwrap();
        let mut staged = stage(dir.path(), "new", false);
        staged.remove(0);
        let place = dir.path().join("place");
        fs::create_dir(&place).unwrap();
        let memory = Staged::make(&place.join("memory")).unwrap().1;
        staged.insert(0, memory);
        fs::remove_dir_all(&place).unwrap();
        assert!(publish(&staged).is_err());
        drop(staged);
        assert_eq!(found(dir.path()).as_deref(), Some("old"));
        assert_eq!(names(dir.path()), ["memory", "state"]);
    }
}
