//! Reading a program and what it is linked with into the page cache, so that it is there in every clone of this machine. Nothing
//! is executed, and nothing of it needs to succeed: what is not found here is read when it is needed.
//!
//! The files are the image's: their parser believes nothing, and follows at most [`MAX_FILES`] names.

mod elf;

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::{Errno, pread};

use crate::sys::time;

/// The most files that are looked for: libraries have libraries, each of which may be in several places.
const MAX_FILES: usize = 256;
/// The most bytes of one file that are read.
const MAX_BYTES: u64 = 32 << 20;
/// How long all of it may take, in microseconds: somebody waits for the machine, and a slow one reads 2 MB a second, or less where it shares
/// its processor. What is not read now is read in each clone, into memory of its own.
const PATIENCE_US: u64 = 15_000_000;
/// How much is read at once.
const PIECE: usize = 64 * 1024;
/// What begins a file that names its interpreter (execve(2)).
const SCRIPT: &[u8] = b"#!";
/// Linux reads no more of the first line of a script.
const MAX_LINE: usize = 256;

/// Where libraries are looked for that no path is known of, in Debian's, Fedora's and Alpine's trees.
const LIBRARIES: [&str; 7] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

/// Reads the first of `programs` that is there, and what it needs. Paths are the container's.
pub(crate) fn warm(root: &impl AsFd, programs: &[String]) {
    let Some(program) = programs.iter().find(|path| open(root, path).is_ok()) else {
        return;
    };
    let mut ahead = VecDeque::from([program.clone()]);
    let mut seen = BTreeSet::new();
    let until = time::since_boot_us() + PATIENCE_US;
    while let Some(path) = ahead.pop_front() {
        if seen.len() >= MAX_FILES || !seen.insert(path.clone()) {
            continue;
        }
        let Ok(file) = open(root, &path) else {
            continue;
        };
        let _ = read_through(&file, until);
        let needs = match elf::Needs::of(&file) {
            Some(needs) => needs,
            None => elf::Needs {
                interpreter: interpreter(&file),
                ..elf::Needs::default()
            },
        };
        ahead.extend(needs.interpreter);
        for library in needs.libraries {
            if library.contains('/') {
                ahead.push_back(library);
                continue;
            }
            let own = needs.directories.iter().map(String::as_str);
            let places = own
                .chain(LIBRARIES)
                .map(|place| format!("{place}/{library}"));
            let found = places.into_iter().find(|path| open(root, path).is_ok());
            ahead.extend(found);
        }
    }
}

/// Opens a regular file, by links that stay inside the container.
fn open(root: &impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(Errno::INVAL),
    }
}

fn read_through(file: &OwnedFd, until: u64) -> Result<(), Errno> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < MAX_BYTES && time::since_boot_us() < until {
        match pread(file, &mut piece, at)? {
            0 => break,
            count => at += count as u64,
        }
    }
    Ok(())
}

/// The interpreter that the first line of a script names.
fn interpreter(file: &OwnedFd) -> Option<String> {
    let mut line = [0; MAX_LINE];
    let count = pread(file, &mut line, 0).ok()?;
    let line = line.get(..count)?.strip_prefix(SCRIPT)?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let text = std::str::from_utf8(line).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn what_is_no_program_is_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let root = File::open(base.path()).unwrap();
        fs::create_dir(base.path().join("directory")).unwrap();
        fs::write(base.path().join("script"), "#!/script\nendless").unwrap();
        fs::write(
            base.path().join("long"),
            [b"#!".as_slice(), &[b'x'; 5000]].concat(),
        )
        .unwrap();
        std::os::unix::fs::symlink("/../../etc/passwd", base.path().join("link")).unwrap();
        for path in ["/none", "/directory", "/script", "/long", "/link", ""] {
            warm(&root, &[path.to_owned()]);
        }
        assert!(open(&root, "/link").is_err(), "it leads out");
    }

    #[test]
    fn a_program_of_this_host_names_what_it_needs() {
        let root = File::open("/").unwrap();
        let own = std::env::current_exe().unwrap();
        let file = open(&root, own.to_str().unwrap()).unwrap();
        let needs = elf::Needs::of(&file).unwrap();
        let interpreter = needs.interpreter.unwrap();
        assert!(open(&root, &interpreter).is_ok(), "{interpreter}");
        assert!(
            needs
                .libraries
                .iter()
                .any(|name| name.starts_with("libc.so")),
            "{:?}",
            needs.libraries
        );
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("script");
        for (text, expected) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            ("#! /usr/bin/env  python3\n", Some("/usr/bin/env")),
            ("#!", None),
            ("text", None),
            ("", None),
        ] {
            fs::write(&path, text).unwrap();
            let file = File::open(&path).unwrap().into();
            assert_eq!(interpreter(&file).as_deref(), expected, "{text}");
        }
    }
}
