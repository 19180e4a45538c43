//! Archives of every format that GNU tar writes, read back through a disk.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use super::{disk, files, reader};

/// What `tar` makes of a directory.
fn tar(options: &[&str], dir: &Path) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args(["--create", "--owner=70000:70000", "--group=70001:70001"]);
    let output = command.args(options).arg("-C").arg(dir).arg(".").output();
    let output = output.expect("GNU tar");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// A directory with what formats differ in: holes, long names, long targets.
fn source() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let sparse = File::create(dir.path().join("sparse")).expect("a file");
    for (part, offset) in (0..40_u64).map(|part| (part, part * 300_000 + part)) {
        let text = format!("part {part}");
        sparse.write_all_at(text.as_bytes(), offset).expect("space");
    }
    sparse.set_len(20_000_000).expect("space");
    let long = dir.path().join("d".repeat(200)).join("e".repeat(200));
    fs::create_dir_all(&long).expect("a directory");
    fs::write(long.join("f".repeat(255)), "deep").expect("a file");
    fs::hard_link(long.join("f".repeat(255)), dir.path().join("again")).expect("a link");
    symlink("t".repeat(300), dir.path().join("link")).expect("a link");
    dir
}

fn check(options: &[&str]) {
    let dir = source();
    let archive = tar(options, dir.path());
    let found = files(&[archive]);
    let sparse = fs::read(dir.path().join("sparse")).expect("the file");
    assert!(found[&b"sparse"[..]].content == sparse, "{options:?}");
    let deep = format!(
        "{}/{}/{}",
        "d".repeat(200),
        "e".repeat(200),
        "f".repeat(255)
    );
    let deep = &found[deep.as_bytes()];
    assert_eq!(deep.content, b"deep");
    assert_eq!(deep.nid, found[&b"again"[..]].nid);
    assert_eq!((deep.links, deep.owner), (2, (70000, 70001)));
    assert_eq!(found[&b"link"[..]].content, "t".repeat(300).as_bytes());
    assert_eq!(found.len(), 7);
}

#[test]
fn gnu_archives_with_old_sparse_files() {
    check(&["--format=gnu"]);
    check(&["--format=gnu", "--sparse"]);
}

#[test]
fn pax_archives_with_each_kind_of_sparse_files() {
    check(&["--format=posix"]);
    for version in ["0.0", "0.1", "1.0"] {
        let version = format!("--sparse-version={version}");
        check(&["--format=posix", "--sparse", &version]);
    }
}

#[test]
fn a_file_of_a_tebibyte_that_is_a_hole_takes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = File::create(dir.path().join("huge")).expect("a file");
    file.set_len(1 << 40)
        .expect("a file system for sparse files");
    file.write_all_at(b"end", (1 << 40) - 3).expect("space");
    let archive = tar(&["--format=posix", "--sparse"], dir.path());
    let scratch = tempfile::tempdir().expect("a directory");
    let imported = crate::layer::import(archive.as_slice(), scratch.path()).expect("imports");
    let blob = fs::metadata(&imported.blob).expect("the blob");
    let stored = std::os::unix::fs::MetadataExt::blocks(&blob) * 512;
    assert!(stored <= 64 << 10, "{stored} bytes");
    assert!(blob.len() <= 64 << 20, "{} bytes of addresses", blob.len());
    let out = scratch.path().join("out");
    let built = crate::erofs::build(&[imported.index], &out).expect("builds");
    assert!(built.len < 128 << 10, "{} bytes of metadata", built.len);
}

#[test]
fn numbers_in_base_256_and_times_before_1970_are_kept() {
    let mut header = crate::layer::tests::archive::header(tar::EntryType::Regular);
    {
        let fields = header.as_ustar_mut().expect("ustar");
        fields.uid = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe];
        fields.mtime = [0xff; 12];
    }
    let archive = crate::layer::tests::archive::Archive::new()
        .add(&header, b"file", &[], b"x")
        .finish();
    let found = reader::read(&disk(&[archive]).expect("an image"));
    let file = &found[&b"file"[..]];
    assert_eq!((file.owner.0, file.time), (0xffff_fffe, (-1, 0)));
}
