//! Layers become disks, disks are read by a reader of their own, and the files are those of a plain model.

mod formats;
mod model;
pub(crate) mod reader;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use self::model::{Action, Model, archive, layers};
use self::reader::Found;
use super::build;
use crate::layer::tests::archive::Archive;
use crate::layer::tests::scratch;
use crate::layer::{self, BLOCK};

/// Imports the archives as layers and returns the whole disk.
fn disk(archives: &[Vec<u8>]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let scratch = scratch();
    let mut indexes = Vec::new();
    let mut blobs = Vec::new();
    for (number, archive) in archives.iter().enumerate() {
        let dir = scratch.path().join(number.to_string());
        fs::create_dir(&dir)?;
        let imported = layer::import(archive.as_slice(), &dir)?;
        layer::verify(&imported.blob, &imported.index)?;
        indexes.push(imported.index);
        blobs.push(imported.blob);
    }
    image(&indexes, &blobs, &scratch.path().join("out"))
}

fn image(
    indexes: &[PathBuf],
    blobs: &[PathBuf],
    out: &Path,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let built = build(indexes, out)?;
    let mut disk = fs::read(out)?;
    assert_eq!(disk.len() as u64, built.len);
    for blob in blobs {
        disk.extend(fs::read(blob)?);
        assert_eq!(disk.len() % BLOCK, 0);
    }
    assert_eq!(disk.len() as u64, built.blocks * BLOCK as u64);
    Ok(disk)
}

fn files(archives: &[Vec<u8>]) -> BTreeMap<Vec<u8>, Found> {
    reader::read(&disk(archives).expect("an image"))
}

/// Why the archives are refused, with all causes.
fn refusal(archives: &[Vec<u8>]) -> String {
    disk(archives).expect_err("it is refused").to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn layers_mean_what_the_model_says(mut layers in layers()) {
        let mut model = Model::new();
        for (number, steps) in layers.iter_mut().enumerate() {
            steps.retain(|step| model.apply(step, number));
        }
        let archives: Vec<_> = layers.iter().map(|steps| archive(steps)).collect();
        let disk = disk(&archives).expect("an image");
        prop_assert!(disk == self::disk(&archives).expect("an image"), "the same layers make the same bytes");
        let found = reader::read(&disk);
        let paths: Vec<_> = found.keys().collect();
        prop_assert_eq!(paths, model.paths.keys().collect::<Vec<_>>());
        for (path, (number, _)) in &model.paths {
            compare(&found[path], &model, path, *number, &found)?;
        }
    }
}

fn compare(
    found: &Found,
    model: &Model,
    path: &[u8],
    number: usize,
    all: &BTreeMap<Vec<u8>, Found>,
) -> Result<(), TestCaseError> {
    let inode = &model.inodes[number];
    let (kind, content, device): (u16, &[u8], u32) = match &inode.action {
        Action::File(content) => (0o10, content, 0),
        Action::Directory => (0o4, &[], 0),
        Action::Symlink(target) => (0o12, target, 0),
        Action::Device(major, minor) => (
            0o2,
            &[],
            (minor & 0xff) | (major << 8) | ((minor >> 8) << 20),
        ),
        Action::Fifo => (0o1, &[], 0),
        other => panic!("{other:?} is no file"),
    };
    prop_assert_eq!(found.mode >> 12, kind);
    prop_assert!(found.content == content, "the content of {:?}", path);
    prop_assert_eq!(found.device, device);
    let mode = if kind == 0o12 { 0o777 } else { inode.meta.mode };
    prop_assert_eq!(found.mode & 0o7777, mode);
    prop_assert_eq!(found.owner, inode.meta.owner);
    prop_assert_eq!(found.time, inode.meta.time);
    prop_assert_eq!(&found.xattrs, &inode.meta.xattrs);
    let same = |(other, _): &&(usize, usize)| *other == number;
    let names = model.paths.values().filter(same).count();
    if kind == 0o4 {
        let is_child = |other: &&Vec<u8>| {
            let depth = |path: &[u8]| path.split(|b| *b == b'/').filter(|n| !n.is_empty()).count();
            let inside = path.is_empty() || other.starts_with(&[path, b"/"].concat());
            inside && depth(other) == depth(path) + 1 && model.is_directory(other)
        };
        let children = model.paths.keys().filter(is_child).count();
        prop_assert_eq!(found.links as usize, children + 2);
    } else {
        prop_assert_eq!(found.links as usize, names);
    }
    for (other, (other_number, _)) in &model.paths {
        prop_assert_eq!(all[other].nid == found.nid, *other_number == number);
    }
    Ok(())
}

#[test]
fn no_layers_make_an_empty_root() {
    let found = files(&[]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[&b""[..]].mode, 0o040_755);
}

#[test]
fn a_layer_may_be_there_twice() {
    let layer = Archive::new().file("file", &[1; 5000]).finish();
    let found = files(&[layer.clone(), layer]);
    assert_eq!(found[&b"file"[..]].content, [1; 5000]);
}

#[test]
fn large_directories_take_several_blocks() {
    let mut archive = Archive::new();
    for number in 0..2000 {
        archive.file(&format!("many/{number:0100}"), b"");
    }
    let found = files(&[archive.finish()]);
    assert_eq!(found.len(), 2002);
}

#[test]
fn parents_are_found_through_links_inside_the_root() {
    let lower = Archive::new()
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("escape", "../../../usr/../../usr")
        .symlink("absolute", "/usr")
        .symlink("dangling", "made/late")
        .finish();
    let upper = Archive::new()
        .file("lib/one", b"1")
        .file("escape/lib/two", b"2")
        .file("absolute/three", b"3")
        .file("dangling/four", b"4")
        .finish();
    let found = files(&[lower, upper]);
    for path in ["usr/lib/one", "usr/lib/two", "usr/three", "made/late/four"] {
        assert!(found.contains_key(path.as_bytes()), "{path}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_sentence() {
    let circle = Archive::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/file", b"")
        .finish();
    assert!(refusal(&[circle]).contains("too many symbolic links"));
    let missing = Archive::new().hard_link("a", "nowhere").finish();
    assert_eq!(
        refusal(&[missing]),
        "layer 1 of the image has a member \"a\" which cannot be unpacked: what it refers to is not there"
    );
    let directory = Archive::new().dir("d").hard_link("a", "d").finish();
    assert!(refusal(&[directory]).contains("hard link to a directory"));
    let parent = Archive::new().file("a", b"").file("a/b", b"").finish();
    assert!(refusal(&[parent]).contains("a file stands where its directory should"));
}

#[test]
fn a_failed_build_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let out = scratch.path().join("out");
    let missing = scratch.path().join("missing.index");
    let error = build(&[missing], &out).expect_err("there is no index");
    assert!(error.to_string().contains("missing.index"), "{error}");
    assert!(!out.exists());
}
