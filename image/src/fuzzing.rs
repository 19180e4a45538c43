//! What `fuzz/` calls: one function for each kind of bytes that this crate takes from outside. Whatever they are, nothing
//! panics, and nothing takes more time or memory than the limits of the parsers allow.

use std::fs;
use std::path::{Path, PathBuf};

use crate::layer::{self, Index};
use crate::manifest::Document;

/// A layer's archive, as far as it is one: imported, checked, merged and written as EROFS.
pub fn tar(bytes: &[u8]) {
    let dir = scratch("tar");
    if let Ok(imported) = layer::import(bytes, &dir) {
        let sound = layer::verify(&imported.blob, &imported.index);
        assert!(sound.is_ok(), "what was imported is damaged: {sound:?}");
        let _ = crate::erofs::build(&[imported.index], &dir.join("image"));
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
