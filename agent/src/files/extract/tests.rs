use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use super::*;
use crate::files::tar::write;

/// A root with a directory `in`, and something outside of it that must not change.
struct Place {
    base: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("root/in")).unwrap();
        fs::create_dir(base.path().join("outside")).unwrap();
        fs::write(base.path().join("outside/file"), "untouched").unwrap();
        Self { base }
    }

    fn root(&self) -> std::path::PathBuf {
        self.base.path().join("root")
    }

    fn extract(&self, members: &[Member], change: impl FnOnce(&mut Extraction<'_>)) -> Result<()> {
        let mut archive = tempfile::tempfile().unwrap();
        let mut bytes = Vec::new();
        for member in members {
            write::header(member, &mut bytes);
            bytes.resize(bytes.len() + usize::try_from(member.size).unwrap(), b'c');
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        write::end(&mut bytes);
        archive.write_all(&bytes).unwrap();
        archive.rewind().unwrap();
        let root = fs::File::open(self.root()).unwrap();
        let mut extraction = Extraction {
            root: root.as_fd(),
            target: "/in",
            keep_kinds: false,
            owner: Some(Owner {
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
            }),
            read_only: false,
        };
        change(&mut extraction);
        extraction.run(archive)
    }

    fn assert_outside_untouched(&self) {
        let outside = self.base.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file"]);
        assert_eq!(
            fs::read_to_string(outside.join("file")).unwrap(),
            "untouched"
        );
    }
}

fn member(path: &str, kind: Kind, link: &str) -> Member {
    Member {
        path: path.into(),
        link: link.into(),
        kind,
        mode: 0o640,
        uid: 0,
        gid: 0,
        mtime: (1_000_000_000, 0),
        size: if kind == Kind::Regular { 3 } else { 0 },
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

fn file(path: &str) -> Member {
    member(path, Kind::Regular, "")
}

#[test]
fn a_tree_is_unpacked_with_all_that_belongs_to_it() {
    let place = Place::new();
    let mut directory = member("./dir/", Kind::Directory, "");
    directory.mode = 0o2750;
    let mut program = file("dir/file");
    program.mode = 0o4755;
    program.xattrs = vec![(b"user.note".to_vec(), b"kept".to_vec())];
    let members = [
        directory,
        program,
        member("dir/hard", Kind::HardLink, "dir/file"),
        member("dir/soft", Kind::Symlink, "../../else"),
        member("pipe", Kind::Fifo, ""),
        file("made/on/the/way"),
    ];
    place.extract(&members, |_| {}).unwrap();
    let at = |path: &str| fs::symlink_metadata(place.root().join("in").join(path)).unwrap();
    assert_eq!(
        (at("dir").mode() & 0o7777, at("dir").mtime()),
        (0o2750, 1_000_000_000)
    );
    assert_eq!(at("dir/file").mode() & 0o7777, 0o4755);
    assert_eq!(
        (at("dir/file").mtime(), at("dir/file").len()),
        (1_000_000_000, 3)
    );
    assert_eq!(at("dir/file").ino(), at("dir/hard").ino());
    assert_eq!(
        fs::read_link(place.root().join("in/dir/soft")).unwrap(),
        Path::new("../../else")
    );
    assert!(at("pipe").file_type().is_fifo());
    assert_eq!(
        fs::read(place.root().join("in/made/on/the/way")).unwrap(),
        b"ccc"
    );
    // Once more, over itself.
    place.extract(&members, |_| {}).unwrap();
}

#[test]
fn nothing_leads_out() {
    let place = Place::new();
    let outside = place.base.path().join("outside");
    symlink(&outside, place.root().join("in/absolute")).unwrap();
    symlink("../../outside", place.root().join("in/relative")).unwrap();
    symlink(outside.join("file"), place.root().join("in/name")).unwrap();
    for name in ["../x", "a/../../x", "/../x"] {
        let error = place.extract(&[file(name)], |_| {}).unwrap_err();
        assert_eq!(error.kind, FailureKind::Archive, "{error}");
    }
    let hard = member("in/h", Kind::HardLink, "../../outside/file");
    assert_eq!(
        place.extract(&[hard], |_| {}).unwrap_err().kind,
        FailureKind::Archive
    );
    // Links of the container's, and of the archive's own, lead to what is in the root.
    let _ = place.extract(&[file("absolute/x")], |_| {});
    let _ = place.extract(&[file("relative/x")], |_| {});
    let _ = place.extract(
        &[
            member("l", Kind::Symlink, outside.to_str().unwrap()),
            file("l/y"),
        ],
        |_| {},
    );
    let _ = place.extract(&[file("z")], |extraction| {
        extraction.target = "/in/absolute";
    });
    place.extract(&[file("name")], |_| {}).unwrap();
    assert!(place.root().join("in/name").is_file());
    place.assert_outside_untouched();
}

#[test]
fn what_is_there_is_replaced_or_kept_as_asked() {
    let place = Place::new();
    fs::create_dir_all(place.root().join("in/d/sub")).unwrap();
    fs::write(place.root().join("in/f"), "old").unwrap();
    let kinds = |extraction: &mut Extraction<'_>| extraction.keep_kinds = true;
    let error = place.extract(&[file("d")], kinds).unwrap_err();
    assert_eq!(error.kind, FailureKind::Overwrite);
    assert!(
        error
            .message
            .starts_with("cannot overwrite directory \"/in/d\" with non-directory"),
        "{error}"
    );
    let error = place
        .extract(&[member("f/", Kind::Directory, "")], kinds)
        .unwrap_err();
    assert!(error.message.contains("overwrite non-directory"), "{error}");
    place.extract(&[file("f")], kinds).unwrap();
    assert_eq!(fs::read(place.root().join("in/f")).unwrap(), b"ccc");
    place
        .extract(&[file("d"), member("f/", Kind::Directory, "")], |_| {})
        .unwrap();
    assert!(place.root().join("in/d").is_file() && place.root().join("in/f").is_dir());
}

#[test]
fn the_directory_must_be_one_that_can_be_written() {
    let place = Place::new();
    fs::write(place.root().join("plain"), "").unwrap();
    let refused = |target: &'static str| {
        let error = place.extract(&[file("x")], |extraction| extraction.target = target);
        error.unwrap_err()
    };
    assert_eq!(refused("/missing").kind, FailureKind::NoSuchFile);
    assert_eq!(
        refused("/plain").message,
        "extraction point is not a directory"
    );
    let error = place.extract(&[file("x")], |extraction| extraction.read_only = true);
    assert_eq!(error.unwrap_err().kind, FailureKind::ReadOnly);
    place
        .extract(&[file("in/x")], |extraction| extraction.target = "/")
        .unwrap();
    assert!(place.root().join("in/x").is_file());
}
