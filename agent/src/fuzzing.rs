//! Where fuzzers come in.

use std::fs;
use std::io::{Seek, Write};
use std::os::fd::AsFd;

use crate::files::extract::{Extraction, Owner};

/// Unpacks an archive into a directory with links that lead out of it, and looks at what is outside.
///
/// # Panics
/// Something outside has changed.
pub fn extract(archive: &[u8], keep_kinds: bool) {
    let base = tempfile::tempdir().expect("a temporary directory");
    let (root, outside) = (base.path().join("root"), base.path().join("outside"));
    fs::create_dir_all(root.join("in/dir")).expect("a root");
    fs::create_dir(&outside).expect("a place outside");
    std::os::unix::fs::symlink(&outside, root.join("in/out")).expect("a link");
    std::os::unix::fs::symlink("../../outside", root.join("in/up")).expect("a link");
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(archive)
        .and_then(|()| file.rewind())
        .expect("a file that takes it");
    let directory = fs::File::open(&root).expect("the root");
    let extraction = Extraction {
        root: directory.as_fd(),
        target: "/in",
        keep_kinds,
        // Nobody else's may be made here.
        owner: Some(Owner {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }),
        read_only: false,
    };
    let _ = extraction.run(&file);
    let left = fs::read_dir(base.path()).expect("the place").count();
    assert!(
        left == 2
            && fs::read_dir(&outside)
                .expect("the place outside")
                .next()
                .is_none()
    );
    // What was unpacked may be a directory that it left by its own modes.
    std::env::set_current_dir("/").expect("the root directory");
}
