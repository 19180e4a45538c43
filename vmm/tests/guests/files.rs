//! Files of the host that become disks and memory of guests.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// A file with an ext4 of so many MiB, with what is in a directory.
pub(crate) fn ext4(path: &Path, mib: u64, content: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(mib << 20).unwrap();
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    mkfs.args(["-q", "-F", "-b", "4096", "-d"]).arg(content);
    assert!(mkfs.arg(path).status().unwrap().success(), "{mkfs:?}");
}

/// What is in a file of an ext4.
pub(crate) fn read_ext4(disk: &Path, file: &str) -> String {
    let mut debugfs = Command::new("/usr/sbin/debugfs");
    let output = debugfs.args(["-R", &format!("cat {file}")]).arg(disk);
    String::from_utf8(output.output().unwrap().stdout).unwrap()
}

/// An ext4 has no damage.
pub(crate) fn check_ext4(disk: &Path) {
    let mut fsck = Command::new("/usr/sbin/fsck.ext4");
    let output = fsck.args(["-f", "-n"]).arg(disk).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// How many bytes of the host's disk a file takes.
pub(crate) fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}
