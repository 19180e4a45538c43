//! Listings.

use std::collections::BTreeSet;

use rustix::io::Errno;

use super::client::{O_RDWR, ROOT};
use super::number;
use super::place::{Place, make_host};

#[test]
fn all_of_a_large_directory_is_listed_once() {
    let place = Place::new();
    let names: BTreeSet<_> = (0..2000)
        .map(|index| format!("file number {index}"))
        .collect();
    for name in &names {
        make_host(&place.path(name), b"");
    }
    let mut client = place.client();
    for (size, plus) in [
        (4096, false),
        (4096, true),
        (65_536, false),
        (65_536, true),
        (600, true),
    ] {
        let all = client.list(ROOT, size, plus);
        let mut listed = BTreeSet::new();
        for (name, _) in &all {
            assert!(listed.insert(name.clone()), "{name} comes twice");
        }
        assert!(listed.remove(".") && listed.remove(".."));
        assert_eq!(listed, names, "in replies of {size} bytes, plus: {plus}");
        if plus {
            for (name, dirent) in all.iter().filter(|(name, _)| !name.starts_with('.')) {
                let entry = dirent.entry.expect("looked up");
                assert_eq!(entry.attr.ino, dirent.ino, "{name}");
                client.forget(entry.node, 1);
            }
        }
    }
}

#[test]
fn reading_goes_on_from_any_entry() {
    let place = Place::new();
    for index in 0..50 {
        make_host(&place.path(&format!("{index}")), b"");
    }
    let mut client = place.client();
    let fh = client.opendir(ROOT).unwrap();
    let all = client.readdir_at((ROOT, fh), 0, 8192, false).unwrap();
    assert_eq!(all.len(), 52);
    for at in [0, 1, 10, 50] {
        let rest = client
            .readdir_at((ROOT, fh), all[at].1.offset, 8192, false)
            .unwrap();
        assert_eq!(rest, all[at + 1..]);
    }
    // Rewound, it shows what has changed since.
    client.create(ROOT, "new", O_RDWR, 0o644).unwrap();
    let again = client.readdir_at((ROOT, fh), 0, 8192, false).unwrap();
    assert_eq!(again.len(), 53);
    let wrong = client.readdir_at((ROOT, fh), u64::MAX, 8192, false);
    assert_eq!(wrong, Err(number(Errno::INVAL)));
    let too_small = client.readdir_at((ROOT, fh), 0, 16, false);
    assert_eq!(too_small, Err(number(Errno::INVAL)));
}

#[test]
fn entries_have_their_kinds() {
    let place = Place::new();
    let mut client = place.client();
    client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    client.mkdir(ROOT, "dir", 0o755).unwrap();
    client.symlink(ROOT, "link", "x").unwrap();
    client.mknod(ROOT, "fifo", 0o1_0644, 0).unwrap();
    let all = client.list(ROOT, 4096, true);
    let kind = |wanted: &str| all.iter().find(|(name, _)| name == wanted).unwrap().1.kind;
    let kinds = ["file", "dir", "link", "fifo", ".", ".."].map(kind);
    assert_eq!(kinds, [8, 4, 10, 1, 4, 4]);
}

#[test]
fn what_is_above_the_root_does_not_show() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let above = std::fs::metadata(place.dir.path()).unwrap().ino();
    let mut client = place.client();
    for plus in [false, true] {
        for (name, dirent) in client.list(ROOT, 4096, plus) {
            assert_ne!(dirent.ino, above, "{name}");
            assert_eq!(dirent.entry, None);
        }
    }
}

#[test]
fn a_directory_that_is_removed_meanwhile_ends() {
    let place = Place::new();
    let mut client = place.client();
    let dir = client.mkdir(ROOT, "dir", 0o755).unwrap();
    let fh = client.opendir(dir.node).unwrap();
    client.rmdir(ROOT, "dir").unwrap();
    let entries = client.readdir_at((dir.node, fh), 0, 4096, true).unwrap();
    assert_eq!(entries, []);
    client.release_dir(dir.node, fh).unwrap();
}
