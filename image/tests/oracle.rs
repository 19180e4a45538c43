//! The host's kernel mounts what Hull makes of real images, and the tree equals what umoci unpacks; `fsck.erofs` agrees.
//!
//! Needs root, umoci, and the images of `cargo xtask images`; says `SKIPPED: ...` where something is missing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_image::{erofs, layer};
use serde_json::Value;
use sha2::{Digest, Sha256};

#[test]
fn debian_equals_what_umoci_unpacks() {
    let Some(found) = compare("debian") else {
        return;
    };
    // What would be easy to lose is there to be compared.
    let ping = capability(&found[Path::new("usr/bin/ping")]);
    assert_eq!(ping, Some(1 << 13), "CAP_NET_RAW");
    assert_ne!(found[Path::new("usr/bin/sudo")].mode & 0o4000, 0);
    assert_ne!(found[Path::new("usr/bin/su")].mode & 0o4000, 0);
}

#[test]
fn layers_over_layers_equal_what_umoci_unpacks() {
    let Some(found) = compare("debian-app") else {
        return;
    };
    let capable = capability(&found[Path::new("srv/capable")]);
    assert_eq!(capable, Some(1 << 10), "CAP_NET_BIND_SERVICE");
    let null = &found[Path::new("srv/null")];
    assert_eq!(null.device, rustix::fs::makedev(1, 3));
    assert_eq!(null.mode, 0o20666);
    // Those of the layer below are still there.
    assert!(capability(&found[Path::new("usr/bin/ping")]).is_some());
}

/// The first word of permitted capabilities of a file that has some.
fn capability(file: &Found) -> Option<u32> {
    let mut xattrs = file.xattrs.iter();
    let (_, value) = xattrs.find(|(name, _)| name == "security.capability")?;
    value
        .get(4..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

#[test]
fn busybox_equals_what_umoci_unpacks() {
    let _ = compare("busybox");
}

/// Imports the image, mounts the result and compares it with umoci's. Returns what is in it.
fn compare(name: &str) -> Option<BTreeMap<PathBuf, Found>> {
    let layout = layout(name)?;
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let disk = disk(&layout, scratch.path());
    let fsck = run("fsck.erofs", &[disk.as_os_str()]);
    assert!(fsck, "fsck.erofs finds fault with the image");

    let bundle = scratch.path().join("bundle");
    let image = format!("{}:latest", layout.display());
    let unpacked = Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle)
        .status();
    assert!(unpacked.expect("umoci runs").success());
    let mounted = Mount::new(&disk, &scratch.path().join("mnt"));
    let expected = walk(&bundle.join("rootfs"));
    let found = walk(&mounted.0);
    assert!(expected.len() > 100, "umoci made {} files", expected.len());
    for (path, file) in &expected {
        assert_eq!(found.get(path), Some(file), "{path:?}");
    }
    let more: Vec<_> = found
        .keys()
        .filter(|p| !expected.contains_key(*p))
        .collect();
    assert!(more.is_empty(), "these are too many: {more:?}");
    Some(found)
}

/// The OCI layout of an image, if all that the comparison needs is here.
fn layout(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let places = [target.join("images"), root.join("target/images")];
    let layout = places.iter().map(|dir| dir.join(name));
    let layout = layout.filter_map(|dir| dir.canonicalize().ok()).next();
    let why = if !rustix::process::geteuid().is_root() {
        "only root can mount"
    } else if layout.is_none() {
        "the images are missing; `cargo xtask images` makes them"
    } else if !["umoci", "fsck.erofs"]
        .iter()
        .all(|tool| run(tool, &["--help".as_ref()]))
    {
        "umoci or fsck.erofs is missing"
    } else {
        return layout;
    };
    println!("SKIPPED: {why}");
    None
}

/// The disk that a guest would see, in one file.
fn disk(layout: &Path, scratch: &Path) -> PathBuf {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        layout
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    };
    let json = |path: PathBuf| -> Value {
        serde_json::from_slice(&fs::read(path).expect("JSON")).expect("JSON")
    };
    let index = json(layout.join("index.json"));
    let manifest = json(blob(&index["manifests"][0]));
    let config = json(blob(&manifest["config"]));
    let mut indexes = Vec::new();
    let mut parts = vec![scratch.join("image.erofs")];
    for (number, descriptor) in manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .enumerate()
    {
        let dir = scratch.join(number.to_string());
        fs::create_dir(&dir).expect("a directory");
        let file = File::open(blob(descriptor)).expect("the layer");
        let imported =
            layer::import(flate2::read::MultiGzDecoder::new(file), &dir).expect("imports");
        let diff_id = imported.diff_id.to_string();
        assert_eq!(
            Some(diff_id.as_str()),
            config["rootfs"]["diff_ids"][number].as_str()
        );
        layer::verify(&imported.blob, &imported.index).expect("what was imported is sound");
        indexes.push(imported.index);
        parts.push(imported.blob);
    }
    let built = erofs::build(&indexes, &parts[0]).expect("builds");
    assert_eq!(fs::metadata(&parts[0]).expect("the image").len(), built.len);

    let path = scratch.join("disk");
    let mut disk = File::create(&path).expect("a file");
    for part in &parts {
        io::copy(&mut File::open(part).expect("a part"), &mut disk).expect("space");
    }
    assert_eq!(
        disk.seek(SeekFrom::End(0)).expect("its length"),
        built.blocks * 4096
    );
    path
}

/// A file as far as a container can tell.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
    size: u64,
    device: u64,
    links: u64,
    /// The first path that leads to the same inode.
    same_as: PathBuf,
    content: String,
    xattrs: Vec<(OsString, Vec<u8>)>,
}

fn walk(root: &Path) -> BTreeMap<PathBuf, Found> {
    let mut paths = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        if fs::symlink_metadata(&path).expect("a file").is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            paths.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    paths.sort();
    let mut inodes = BTreeMap::new();
    let found = paths.into_iter().map(|path| {
        let inside = path.strip_prefix(root).expect("below the root").to_owned();
        let meta = fs::symlink_metadata(&path).expect("a file");
        let first = inodes.entry(meta.ino()).or_insert_with(|| inside.clone());
        let kind = meta.file_type();
        let is_device = kind.is_char_device() || kind.is_block_device();
        let found = Found {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            time: (meta.mtime(), meta.mtime_nsec()),
            // Every file system counts directories in its own way.
            size: if kind.is_dir() { 0 } else { meta.len() },
            device: if is_device { meta.rdev() } else { 0 },
            links: if kind.is_dir() { 0 } else { meta.nlink() },
            same_as: if kind.is_dir() {
                inside.clone()
            } else {
                first.clone()
            },
            content: content(&path, &meta),
            xattrs: xattrs(&path),
        };
        (inside, found)
    });
    found.collect()
}

fn content(path: &Path, meta: &fs::Metadata) -> String {
    if meta.is_symlink() {
        return fs::read_link(path)
            .expect("a target")
            .to_string_lossy()
            .into_owned();
    }
    if !meta.is_file() {
        return String::new();
    }
    let mut hash = Sha256::new();
    let mut file = File::open(path).expect("a file");
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).expect("its content");
        if count == 0 {
            return hex::encode(hash.finalize());
        }
        hash.update(&buffer[..count]);
    }
}

fn xattrs(path: &Path) -> Vec<(OsString, Vec<u8>)> {
    use std::os::unix::ffi::OsStringExt;
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect("the names");
    names.truncate(length);
    let names = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("the value");
            value.truncate(length);
            (OsString::from_vec(name.to_vec()), value)
        })
        .filter(|(name, _)| name != "security.selinux")
        .collect();
    found.sort();
    found
}

/// A mounted image; unmounted in the end, whatever happens.
struct Mount(PathBuf);

impl Mount {
    fn new(disk: &Path, on: &Path) -> Self {
        fs::create_dir(on).expect("a directory");
        let args = ["-t", "erofs", "-o", "ro,loop"].map(OsString::from);
        let paths = [disk, on].map(|path| path.as_os_str().to_owned());
        let all: Vec<_> = args.iter().chain(&paths).map(OsString::as_os_str).collect();
        assert!(run("mount", &all), "the kernel does not mount the image");
        Self(on.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !run("umount", &[self.0.as_os_str()]) {
            let _ = writeln!(io::stderr(), "{} stays mounted", self.0.display());
        }
    }
}

fn run(program: &str, args: &[&std::ffi::OsStr]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| {
        if !output.status.success() {
            eprintln!("{program}: {}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success()
    })
}
