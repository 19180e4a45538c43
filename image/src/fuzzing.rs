//! What `fuzz/` calls: one function for each kind of bytes that this crate takes from outside. Whatever they are, nothing
//! panics, and nothing takes more time or memory than the limits of the parsers allow.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::layer::{self, Index};
use crate::manifest::Document;

/// A layer's archive, as far as it is one: imported, checked, merged and written as EROFS.
pub fn tar(bytes: &[u8]) {
    let dir = scratch("tar");
    if let Ok(imported) = layer::import(bytes, &dir) {
        let sound = layer::verify(&imported.blob, &imported.index);
        assert!(sound.is_ok(), "what was imported is damaged: {sound:?}");
        again(&imported, bytes);
        let _ = crate::erofs::build(&[imported.index], &dir.join("image"));
    }
    let _ = fs::remove_dir_all(&dir);
}

/// What was imported comes out as it went in; and, without its headers, as something that means the same.
fn again(imported: &layer::Imported, bytes: &[u8]) {
    let layer::Imported {
        blob,
        index,
        headers,
        ..
    } = imported;
    let mut out = Vec::new();
    let made = layer::write_tar(blob, index, headers, &mut out);
    assert!(
        made.is_ok() && out == bytes,
        "it comes out otherwise: {made:?}"
    );
    let mut canonical = Vec::new();
    let made = layer::write_canonical(blob, index, &mut canonical);
    assert!(made.is_ok(), "it has no canonical form: {made:?}");
    let dir = scratch("canonical");
    let copy = layer::import(canonical.as_slice(), &dir);
    let same = copy.and_then(|copy| {
        let (one, other) = (Index::read(index)?, Index::read(&copy.index)?);
        Ok(one
            .entries()
            .filter_map(Result::ok)
            .eq(other.entries().filter_map(Result::ok)))
    });
    assert!(
        matches!(same, Ok(true)),
        "its canonical form means something else: {same:?}"
    );
    let _ = fs::remove_dir_all(&dir);
}

/// The headers of a layer, whose index and blob are sound.
pub fn headers(bytes: &[u8]) {
    let dir = scratch("headers");
    let mut archive = tar::Builder::new(Vec::new());
    for (path, length) in [("tiny", 20), ("large", 70_000)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(length);
        let _ = archive.append_data(&mut header, path, std::io::repeat(1).take(length));
    }
    let archive = archive.into_inner().unwrap_or_default();
    if let Ok(imported) = layer::import(archive.as_slice(), &dir) {
        let sound = fs::read(&imported.headers).unwrap_or_default();
        // The first byte says whether what follows takes the place of the steps, compressed, or of the whole file.
        let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
        let mut made = Vec::new();
        if first % 2 == 0 {
            made.extend(sound.iter().take(52));
            made.extend(zstd::encode_all(rest, 1).unwrap_or_default());
        } else {
            made.extend(rest);
        }
        let _ = fs::write(&imported.headers, made);
        let _ = layer::write_tar(
            &imported.blob,
            &imported.index,
            &imported.headers,
            &mut std::io::sink(),
        );
    }
    let _ = fs::remove_dir_all(&dir);
}

/// The index of a layer. Its checksums are put right, so that what is behind them is reached.
pub fn index(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    Index::mend(&mut bytes);
    let dir = scratch("index");
    let path = dir.join("layer.index");
    if fs::write(&path, &bytes).is_ok()
        && let Ok(index) = Index::read(&path)
        && index.entries().all(|entry| entry.is_ok())
    {
        let _ = crate::erofs::build(&[path], &dir.join("image"));
    }
    let _ = fs::remove_dir_all(&dir);
}

/// A Dockerfile, a `.dockerignore`, and values for variables.
pub fn dockerfile(bytes: &[u8]) {
    use crate::build::{Building, Ignore, PlanOptions, change, parse, plan};
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(ignore) = Ignore::parse(text) {
        let _ = ignore.leaves_out("a/b/c.d");
    }
    let options = PlanOptions {
        arguments: [("a".to_owned(), text.chars().take(50).collect())].into(),
        ..PlanOptions::default()
    };
    let Ok(plan) = parse(text).and_then(|file| plan(&file, &options)) else {
        return;
    };
    for stage in &plan.stages {
        let below = crate::Digest::of(bytes);
        let mut building = Building::new(&plan, stage, change::Config::new(), &below);
        for instruction in &stage.instructions {
            if let Ok(Some(action)) = building.step(instruction) {
                building.key(&action, None);
            }
        }
    }
}

/// A manifest or a list, and the configuration of an image.
pub fn manifest(bytes: &[u8]) {
    if let Ok(Document::List(list)) = Document::parse(bytes, None) {
        let _ = list.select(&crate::Platform::default());
    }
    let _ = crate::config::Config::parse(bytes.to_vec());
}

/// An empty directory of this process and `kind`.
fn scratch(kind: &str) -> PathBuf {
    let name = format!("hull-fuzz-{kind}-{}", std::process::id());
    let dir = Path::new("/dev/shm").join(name);
    let _ = fs::remove_dir_all(&dir);
    let _ = fs::create_dir_all(&dir);
    dir
}
