//! The two directories that Hull keeps its things in: whether they can be made and written, and hold sockets.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::Check;
use crate::Paths;

pub(super) fn checks(paths: &Paths) -> Vec<Check> {
    vec![state(paths), runtime(paths)]
}

/// Images, containers and the host's profile.
fn state(paths: &Paths) -> Check {
    const NAME: &str = "state directory";
    let below = [
        paths.images(),
        paths.containers(),
        paths.names(),
        paths.templates(),
    ];
    let dirs = below.iter().filter(|dir| dir.exists());
    let wrong = std::iter::once(paths.root())
        .chain(dirs.map(std::path::PathBuf::as_path))
        .find_map(unwritable);
    match wrong {
        None => Check::good(NAME, paths.root().display().to_string()),
        Some(wrong) => Check::bad(
            NAME,
            wrong,
            "set HULL_ROOT to a directory that you can write, or make this one yours",
        ),
    }
}

/// Sockets.
fn runtime(paths: &Paths) -> Check {
    const NAME: &str = "runtime directory";
    let run = paths.run();
    let (longest, limit) = (paths.longest_socket(), Paths::SOCKET_LIMIT);
    if longest > limit || run.to_str().is_none() {
        let wrong = format!(
            "{} is too long for sockets ({longest} bytes with their names, of {limit}), or no UTF-8",
            run.display()
        );
        return Check::bad(NAME, wrong, "set HULL_RUN to a shorter path");
    }
    match unwritable(run) {
        None => Check::good(NAME, run.display().to_string()),
        Some(wrong) => Check::bad(
            NAME,
            wrong,
            "set HULL_RUN to a directory that you can write, or make this one yours",
        ),
    }
}

/// Why nothing can be made in a directory, which may have to be made first.
fn unwritable(dir: &Path) -> Option<String> {
    // A relative path begins where we are.
    let nearest = dir
        .ancestors()
        .map(|path| {
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            }
        })
        .find(|path| path.exists())?;
    let shown = nearest.display();
    if !nearest.is_dir() {
        return Some(format!("{shown} is no directory"));
    }
    // Tried, because permissions alone do not tell: root has all of them in /proc, too. It has no name and goes at once.
    match tempfile::tempfile_in(nearest) {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            Some(format!("{shown} is on a file system that is read-only"))
        }
        Err(error) => {
            // The library adds the path.
            let error = error
                .raw_os_error()
                .map_or(error, io::Error::from_raw_os_error);
            Some(format!("{shown} cannot be written: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn directories_that_can_be_made_are_fine() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("a/b"), dir.path().join("run"));
        for check in checks(&paths) {
            assert_eq!(check.verdict, Verdict::Good, "{check:?}");
        }
        assert!(!dir.path().join("a").exists(), "nothing was made");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let paths = Paths::new(file.join("root"), file.join("run"));
        for check in checks(&paths) {
            assert_eq!(check.verdict, Verdict::Bad);
            assert!(check.found.contains("is no directory"), "{check:?}");
            assert!(check.advice.is_some());
        }
        // What is below counts, too.
        let paths = Paths::new(dir.path(), dir.path().join("run"));
        fs::write(paths.containers(), "").unwrap();
        assert_eq!(state(&paths).verdict, Verdict::Bad);
    }

    #[test]
    fn where_nobody_can_write_is_bad() {
        // Even root can make no directory there.
        let paths = Paths::new("/proc/hull/root", "/proc/hull/run");
        for check in checks(&paths) {
            assert_eq!(check.verdict, Verdict::Bad, "{check:?}");
        }
    }

    #[test]
    fn sockets_need_a_short_path() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(100));
        let check = runtime(&Paths::new(dir.path(), long));
        assert_eq!(check.verdict, Verdict::Bad);
        assert!(check.found.contains("of 107"), "{check:?}");
    }
}
