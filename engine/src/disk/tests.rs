use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::*;

fn usual(journal: bool) -> Layer {
    Layer::new(None, journal).unwrap()
}

#[test]
fn a_layer_is_a_sound_ext4_that_takes_no_space() {
    for journal in [true, false] {
        check_layer(usual(journal));
        for size in [LEAST, MOST] {
            check_layer(Layer::new(Some(size), journal).unwrap());
        }
    }
}

#[test]
fn sizes_are_whole_mebibytes_in_a_range() {
    let size = |size| Layer::new(Some(size), true).map(|layer| layer.size);
    assert_eq!(usual(true).size, 10 << 30);
    assert_eq!(size(100_000_000), Ok(96 << 20));
    for wrong in [0, LEAST - 1, MOST + 1, u64::MAX] {
        let error = size(wrong).unwrap_err().to_string();
        assert!(error.contains("from 32m to 1t"), "{error}");
    }
}

fn check_layer(layer: Layer) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk");
    make(&dir.path().join("templates"), layer, &path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), layer.size);
    assert!(
        metadata.blocks() * 512 < (4 << 20) + layer.size / 4096,
        "{layer:?} takes {} KiB",
        metadata.blocks() / 2
    );
    let fsck = ["e2fsck", "/sbin/e2fsck"].into_iter().find_map(|program| {
        Command::new(program)
            .args(["-f", "-n"])
            .arg(&path)
            .output()
            .ok()
    });
    let output = fsck.expect("e2fsprogs has both");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn the_copy_is_equal_and_the_template_is_made_once() {
    let dir = TempDir::new().unwrap();
    let templates = dir.path().join("templates");
    let layer = Layer {
        size: 64 << 20,
        journal: false,
    };
    make(&templates, layer, &dir.path().join("one")).unwrap();
    let entries = || {
        fs::read_dir(&templates)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let template = entries().next().unwrap();
    let inode = fs::metadata(&template).unwrap().ino();
    make(&templates, layer, &dir.path().join("two")).unwrap();
    assert_eq!(fs::metadata(&template).unwrap().ino(), inode);
    assert_eq!(entries().count(), 1);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert!(read("one") == fs::read(&template).unwrap());
    assert!(read("two") == read("one"));
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk");
    fs::write(&path, "precious").unwrap();
    assert!(make(&dir.path().join("templates"), usual(false), &path).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}
