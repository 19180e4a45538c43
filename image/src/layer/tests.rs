//! Imports of good, bad and hostile archives and indexes.

pub(crate) mod archive;
mod exact;
mod hostile;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use tar::EntryType;

use self::archive::{Archive, header};
use super::path::{Role, normalise, role};
use super::{Error, Imported, Index, Kind, import};
use crate::digest::Digest;

/// A directory in memory where there is one: these tests sync a lot, and what they test is not the disk.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

/// Imports into a directory that goes away with the test.
fn with_import<T>(
    archive: impl Read + Send,
    look: impl FnOnce(Result<Imported, Error>, &Path) -> T,
) -> T {
    let scratch = scratch();
    let imported = import(archive, scratch.path());
    if imported.is_err() {
        let left = fs::read_dir(scratch.path()).expect("a directory").count();
        assert_eq!(left, 0, "a failed import leaves nothing");
    }
    look(imported, scratch.path())
}

fn refusal(archive: &[u8]) -> String {
    with_import(archive, |result, _| {
        result.expect_err("it is refused").to_string()
    })
}

#[test]
fn paths_are_what_docker_makes_of_them() {
    for (path, normal) in [
        ("./", ""),
        ("/a/./b//c/", "a/b/c"),
        ("a/../b", "b"),
        ("/../../x", "x"),
        ("..a/...", "..a/..."),
    ] {
        assert_eq!(normalise(path.as_bytes()).expect(path), normal.as_bytes());
    }
    for path in ["..", "a/../../b", "./../x"] {
        assert!(normalise(path.as_bytes()).is_err(), "{path}");
    }
}

#[test]
fn whiteouts_are_told_from_files() {
    let whiteout = |path: &str| Role::Whiteout(path.as_bytes().to_vec());
    let role = |path: &str| role(path.as_bytes());
    assert_eq!(role("a/b").expect("a file"), Role::Plain);
    assert_eq!(role(".wh.a").expect("a whiteout"), whiteout("a"));
    assert_eq!(role("d/.wh.a").expect("a whiteout"), whiteout("d/a"));
    assert_eq!(
        role("d/.wh..wh..opq").expect("opaque"),
        Role::Opaque(b"d".to_vec())
    );
    assert_eq!(role(".wh..wh.plnk/1").expect("of aufs"), Role::Ignored);
    assert_eq!(role("a/not.wh.b").expect("a file"), Role::Plain);
    for nothing in [".wh.", "d/.wh..", "d/.wh..."] {
        assert!(role(nothing).is_err(), "{nothing}");
    }
}

#[test]
fn the_digest_counts_what_follows_the_archive() {
    let mut bytes = Archive::new().file("a", b"content").finish();
    bytes.extend([7; 3000]);
    with_import(bytes.as_slice(), |imported, _| {
        let imported = imported.expect("it is sound");
        assert_eq!(imported.diff_id, Digest::of(&bytes));
        assert_eq!(imported.tar_len, bytes.len() as u64);
        assert_eq!((imported.entries, imported.blob_len), (1, 0));
    });
}

#[test]
fn what_no_file_system_takes_is_refused_with_a_sentence() {
    let file = header(EntryType::Regular);
    let one = |path: &[u8], records: &[(&str, &[u8])]| {
        refusal(&Archive::new().add(&file, path, records, b"").finish())
    };
    assert_eq!(
        one(b"../x", &[]),
        "the layer has a member \"../x\" which cannot be unpacked: its path leads out of the root"
    );
    assert!(one(&[b'n'; 256], &[]).contains("longer than 255 bytes"));
    assert!(one(&b"d/".repeat(2100), &[]).contains("longer than 4095 bytes"));
    assert!(one(b"a\0b", &[]).contains("NUL"));
    assert!(one(b"/", &[]).contains("the root must be a directory"));
    assert!(one(b"a", &[("uid", b"4294967295")]).contains("no user number"));
    assert!(one(b"a", &[("mtime", b"never")]).contains("a number that is none"));
    let long = [("SCHILY.xattr.user.x", &[1; 65536][..])];
    assert!(one(b"a", &long).contains("longer than 65535 bytes"));
    let escape = Archive::new().hard_link("a", "../../etc/passwd").finish();
    assert!(refusal(&escape).contains("leads out of the root"));
    let unknown = Archive::new()
        .add(&header(EntryType::new(b'M')), b"a", &[], b"")
        .finish();
    assert!(refusal(&unknown).contains("of a type that Hull does not know"));
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_ends() {
    let whole = Archive::new().file("a", &[1; 5000]).dir("d").finish();
    for length in (1..whole.len() - 1024).step_by(97) {
        // Between members nothing tells that there should be more; the digest does.
        if length % 512 != 0 {
            assert!(
                refusal(&whole[..length]).contains("it ends within"),
                "{length}"
            );
        }
    }
}

#[test]
fn a_failing_source_is_named_as_the_cause() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the wire is cut"))
        }
    }
    let start = Archive::new().file("a", &[1; 5000]).finish();
    let source = start[..2048].chain(Failing);
    with_import(source, |result, _| match result {
        Err(Error::Read(source)) => assert_eq!(source.to_string(), "the wire is cut"),
        other => panic!("{other:?}"),
    });
}

#[test]
fn attributes_that_would_steer_the_guest_are_left_out() {
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.z", b"old"),
        ("SCHILY.xattr.user.z", b"new"),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.com.apple.quarantine", b"x"),
    ];
    let mut archive = Archive::new();
    archive.add(&header(EntryType::Regular), b"a", records, b"");
    with_import(archive.finish().as_slice(), |imported, _| {
        let index = Index::read(&imported.expect("it is sound").index).expect("an index");
        let entry = index
            .entries()
            .next()
            .expect("a record")
            .expect("it is sound");
        let names: Vec<_> = entry.xattrs.iter().map(|(n, v)| (n.0, v.0)).collect();
        let expected: [(&[u8], &[u8]); 2] = [
            (b"security.capability", b"\x01\0\0\x02"),
            (b"user.z", b"new"),
        ];
        assert_eq!(names, expected);
    });
}

#[test]
fn zeros_are_not_stored() {
    use std::os::unix::fs::MetadataExt;
    let mut content = vec![0; 3 << 20];
    content[2 << 20] = 1;
    let archive = Archive::new().file("a", &content).finish();
    with_import(archive.as_slice(), |imported, _| {
        let blob = imported.expect("it is sound").blob;
        let meta = fs::metadata(blob).expect("the blob");
        assert_eq!(meta.len(), 64 << 10, "one granule has an address");
        assert!(meta.blocks() * 512 <= 8192, "{} bytes", meta.blocks() * 512);
    });
}

#[test]
fn damage_to_what_is_stored_is_noticed() {
    let archive = Archive::new().file("a", &[1; 5000]).finish();
    with_import(archive.as_slice(), |imported, _| {
        let imported = imported.expect("it is sound");
        super::verify(&imported.blob, &imported.index).expect("it is sound");
        let bytes = fs::read(&imported.index).expect("the index");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Index::parse(&imported.index, damaged).is_err(), "byte {at}");
        }
        fs::write(&imported.blob, b"short").expect("a file");
        let error = super::verify(&imported.blob, &imported.index).expect_err("it is short");
        assert!(
            error.to_string().contains("5 bytes instead of 8192"),
            "{error}"
        );
    });
}

#[test]
fn hard_links_have_no_content_and_global_records_no_meaning() {
    let mut global = header(EntryType::XGlobalHeader);
    let text = b"19 path=elsewhere\n\n";
    global.set_size(text.len() as u64);
    global.set_cksum();
    let mut bytes = global.as_bytes().to_vec();
    bytes.extend(text);
    bytes.resize(1024, 0);
    bytes.extend(
        Archive::new()
            .file("a", b"x")
            .hard_link("b", "./a")
            .finish(),
    );
    with_import(bytes.as_slice(), |imported, _| {
        let index = Index::read(&imported.expect("it is sound").index).expect("an index");
        let entries: Vec<_> = index.entries().map(|e| e.expect("a record")).collect();
        assert_eq!(entries[0].path, b"a");
        assert_eq!(entries[1].kind, Kind::HardLink(b"a"));
    });
}
