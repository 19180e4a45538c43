//! Which file a command names, and executing it, with runc's words for what can go wrong.

use std::ffi::{CStr, CString};

use hull_agent_protocol::{Failure, FailureKind, Start};
use rustix::fs::{FileType, stat};
use rustix::io::Errno;

use crate::failure::{Result, words};
use crate::sys::exec::{Strings, execve};

/// A command, ready for `execve`: nothing of it is allocated in the child.
#[derive(Debug)]
pub(super) struct Program {
    /// What the user called it.
    name: String,
    /// Where it may be; one path if the name has a slash.
    candidates: Vec<CString>,
    searched: bool,
    arguments: Strings,
    environment: Strings,
}

impl Program {
    /// Prepares the command of `start` for a user whose home directory is `home`.
    pub(super) fn new(start: &Start, home: &str) -> Result<Self> {
        let Some(name) = start.argv.first().filter(|name| !name.is_empty()) else {
            return Err(Failure::new(FailureKind::Invalid, "no command specified"));
        };
        let mut environment = strings(&start.env)?;
        if !start
            .env
            .iter()
            .any(|variable| variable.starts_with("HOME="))
        {
            environment.extend(strings(&[format!("HOME={home}")])?);
        }
        let searched = !name.contains('/');
        let candidates = if searched {
            search(name, &start.env)?
        } else {
            strings(&[name])?
        };
        Ok(Self {
            name: name.clone(),
            candidates,
            searched,
            arguments: Strings::new(strings(&start.argv)?),
            environment: Strings::new(environment),
        })
    }

    /// Executes it; returns only if that fails.
    pub(super) fn execute(&self) -> Failure {
        for path in &self.candidates {
            match executable(path) {
                Ok(()) => {
                    let error = execve(path, &self.arguments, &self.environment);
                    return self.not_executed(path, error);
                }
                Err(_) if self.searched => {}
                Err(failure) => return self.not_found(path, failure),
            }
        }
        let message = format!("exec: {:?}: executable file not found in $PATH", self.name);
        Failure::new(FailureKind::NotFound, message)
    }

    fn not_found(&self, path: &CStr, error: Errno) -> Failure {
        let (name, path) = (&self.name, path.to_string_lossy());
        match error {
            Errno::ISDIR => Failure::new(
                FailureKind::IsDirectory,
                format!("exec: {name:?}: is a directory"),
            ),
            Errno::ACCESS => Failure::new(
                FailureKind::PermissionDenied,
                format!("exec: {name:?}: permission denied"),
            ),
            error => Failure::new(
                FailureKind::NotFound,
                format!("exec: {name:?}: stat {path}: {}", words(error)),
            ),
        }
    }

    fn not_executed(&self, path: &CStr, error: Errno) -> Failure {
        let kind = match error {
            // The file is there: it is its interpreter that is not.
            Errno::NOENT => FailureKind::NotFound,
            Errno::ACCESS | Errno::PERM => FailureKind::PermissionDenied,
            Errno::NOEXEC => FailureKind::NotExecutable,
            _ => FailureKind::System,
        };
        let path = path.to_string_lossy();
        if error == Errno::TOOBIG {
            let message = format!("exec {path}: argument list too long");
            return Failure::new(FailureKind::PermissionDenied, message);
        }
        Failure::new(kind, format!("exec {path}: {}", words(error)))
    }
}

/// Whether a file may be executed, as far as can be told before trying.
fn executable(path: &CStr) -> std::result::Result<(), Errno> {
    let stat = stat(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        _ if stat.st_mode & 0o111 == 0 => Err(Errno::ACCESS),
        _ => Ok(()),
    }
}

/// Where `name` may be, by the `PATH` among `env`.
fn search(name: &str, env: &[String]) -> Result<Vec<CString>> {
    // The last one counts, as it does for the C library.
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="));
    let directories = path
        .unwrap_or_default()
        .split(':')
        .filter(|d| !d.is_empty());
    let paths: Vec<_> = directories
        .map(|d| format!("{}/{name}", d.trim_end_matches('/')))
        .collect();
    strings(&paths)
}

fn strings<S: AsRef<str>>(strings: &[S]) -> Result<Vec<CString>> {
    strings
        .iter()
        .map(|string| {
            CString::new(string.as_ref()).map_err(|_| {
                let message = format!("{:?} holds a zero byte", string.as_ref());
                Failure::new(FailureKind::Invalid, message)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_searched_in_order() {
        let env = [
            "PATH=/ignored".to_owned(),
            "PATH=/usr/bin/::/bin".to_owned(),
        ];
        assert_eq!(
            search("ls", &env).unwrap(),
            [c"/usr/bin/ls".to_owned(), c"/bin/ls".to_owned()]
        );
        assert!(search("ls", &[]).unwrap().is_empty());
    }

    #[test]
    fn what_may_be_executed_is_told_apart() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        let path = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
        assert_eq!(executable(&path(base.path())), Err(Errno::ISDIR));
        assert_eq!(executable(&path(&file)), Err(Errno::ACCESS));
        assert_eq!(
            executable(&path(&base.path().join("none"))),
            Err(Errno::NOENT)
        );
        assert_eq!(executable(c"/bin/sh"), Ok(()));
    }
}
