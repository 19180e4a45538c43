//! How much is in a volume.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bytes of all files below a directory, each counted once; what cannot be read counts nothing. Other file systems below it are
/// not looked at.
#[must_use]
pub fn usage(directory: &Path) -> u64 {
    let Ok(top) = fs::symlink_metadata(directory) else {
        return 0;
    };
    let (mut bytes, mut linked) = (0_u64, BTreeSet::new());
    let mut ahead = vec![directory.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // Of a link itself, wherever it leads.
            let Ok(file) = entry.metadata() else {
                continue;
            };
            if file.dev() != top.dev()
                || (file.nlink() > 1 && !file.is_dir() && !linked.insert(file.ino()))
            {
                continue;
            }
            if file.is_dir() {
                ahead.push(entry.path());
            } else {
                bytes = bytes.saturating_add(file.len());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_once_and_what_a_link_leads_to_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(usage(&dir.path().join("none")), 0);
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), [0; 1000]).unwrap();
        fs::hard_link(dir.path().join("a/b/file"), dir.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/proc", dir.path().join("link")).unwrap();
        assert_eq!(usage(dir.path()), 1000 + 5);
    }
}
