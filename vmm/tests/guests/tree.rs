//! A tree with one of each kind of file, of which many are like trees that people unpack; and what a tree looks like.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

/// How many there are in the tree, its root not counted.
pub(crate) const ENTRIES: usize = 1000;
const DIRECTORIES: usize = 40;
const LINKS: usize = 60;
const SYMLINKS: usize = 60;

/// Makes the tree.
pub(crate) fn make(root: &Path) {
    fs::create_dir(root).unwrap();
    let directory = |number: usize| match number {
        0 => root.join("d 0"),
        _ => root.join(format!("d 0/d{}/d{number}", number % 7)),
    };
    let mut made = 0;
    while made < DIRECTORIES {
        fs::create_dir_all(directory(made)).unwrap();
        made += 1;
    }
    let files = ENTRIES - directories(root) - LINKS - SYMLINKS - 1;
    for number in 0..files {
        let place = directory(number % DIRECTORIES);
        let file = place.join(format!("file {number} – {}", "x".repeat(number % 200)));
        fs::write(&file, contents(number)).unwrap();
        owner_and_mode(&file, number);
        if number < LINKS {
            let other = directory((number + 1) % DIRECTORIES);
            fs::hard_link(&file, other.join(format!("link {number}"))).unwrap();
        }
    }
    for number in 0..SYMLINKS {
        let text = ["../d 0", "/etc/passwd", "nowhere/at/all", "."][number % 4];
        let place = directory(number % DIRECTORIES);
        symlink(text, place.join(format!("symlink {number}"))).unwrap();
    }
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, root.join("pipe"), FileType::Fifo, mode, 0).unwrap();
    for (number, path) in paths(root).iter().enumerate() {
        if path.is_dir() && !path.is_symlink() {
            owner_and_mode(path, number);
        }
    }
    // The times come last: whatever is made in a directory changes them.
    for (number, path) in paths(root).iter().enumerate() {
        let seconds = 1_000_000_000 + i64::try_from(number).unwrap() * 100_000;
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    assert_eq!(paths(root).len(), ENTRIES);
}

fn directories(root: &Path) -> usize {
    paths(root).len()
}

fn contents(number: usize) -> Vec<u8> {
    // Some are empty, and some are of several pages.
    let size = if number.is_multiple_of(10) {
        0
    } else {
        number * 37 % 9000
    };
    let bytes = (0..size).map(|at| (at * 31 + number * 7).to_le_bytes()[0]);
    bytes.collect()
}

fn owner_and_mode(path: &Path, number: usize) {
    let number = u32::try_from(number).unwrap();
    lchown(path, Some(number % 3 * 1000), Some(number % 5 * 100)).unwrap();
    let modes = if path.is_dir() {
        [0o755, 0o1777, 0o2775, 0o700]
    } else {
        [0o644, 0o4755, 0o2711, 0o400]
    };
    let mode = modes[number as usize % 4];
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// All below a directory, in order.
fn paths(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                left.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What can be told of a file: all but its number and when it was changed or read last.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    modified: (i64, i64),
    /// Its contents, or where it leads.
    contents: Vec<u8>,
    /// The first of the names that it has in the tree.
    first_name: PathBuf,
}

/// All below a directory.
pub(crate) fn read(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut names = BTreeMap::new();
    let entries = paths(root).into_iter().map(|path| {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let first = names.entry(metadata.ino()).or_insert_with(|| name.clone());
        let kind = metadata.file_type();
        let contents = if kind.is_symlink() {
            let text = fs::read_link(&path).unwrap();
            text.into_os_string().into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let entry = Entry {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            links: metadata.nlink(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            contents,
            first_name: first.clone(),
        };
        (name, entry)
    });
    entries.collect()
}
