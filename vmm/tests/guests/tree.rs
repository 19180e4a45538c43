//! What a tree of files looks like.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
