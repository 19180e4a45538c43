use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Error, Input, LoadOptions, Loaded};
use crate::Digest;
use crate::progress::Silent;
use crate::store::Store;
use crate::testing::{
    ImageFixture, Pack, archive, contents, docker_save, gzip, image, image_for, layer, layout,
    noise, write,
};

type Files = BTreeMap<String, Vec<u8>>;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

async fn load(store: &Store, input: Input) -> Result<Vec<Loaded>, Error> {
    let options = LoadOptions::default();
    store.load(input, &options, Arc::new(Silent)).await
}

async fn load_bytes(store: &Store, bytes: Vec<u8>) -> Result<Vec<Loaded>, Error> {
    load(store, Input::Stream(Box::new(Cursor::new(bytes)))).await
}

/// Loads an archive that must be refused with `words`, and checks that nothing is left of it.
async fn refused(files: &Files, words: &str) {
    refused_bytes(archive(files), words).await;
}

async fn refused_bytes(bytes: Vec<u8>, words: &str) {
    let (dir, store) = store();
    let error = load_bytes(&store, bytes).await.unwrap_err();
    let error = sentence(&error);
    assert!(error.contains(words), "{error}");
    assert_eq!(contents(dir.path()), [""; 0], "after {error}");
    assert_eq!(store.list().unwrap().len(), 0);
}

/// An error with its causes, as the command line prints it.
fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}

fn sample() -> ImageFixture {
    let layers = [
        layer(&[("etc/os", &noise(10_000, 2))], Pack::Gzip),
        layer(&[("data", &noise(100_000, 1))], Pack::Zstd),
        layer(&[("plain", &noise(10_000, 3))], Pack::Plain),
    ];
    image(&layers, "sample")
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded.names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn all_forms_of_one_image_give_the_same() {
    let sample = sample();
    let oci = layout(&[(&sample, "docker.io/library/app:1")]);
    let saved = docker_save(&[(&sample, "app:1")]);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &oci);
    let file = dir.path().join("archive.tar");
    std::fs::write(&file, archive(&saved)).unwrap();
    let stream = |bytes| Input::Stream(Box::new(Cursor::new(bytes)));
    let zstd = zstd::encode_all(&archive(&oci)[..], 1).unwrap();
    for input in [
        Input::Path(dir.path().to_owned()),
        Input::Path(file),
        stream(archive(&oci)),
        stream(archive(&saved)),
        stream(gzip(&archive(&saved))),
        stream(zstd),
    ] {
        let (_dir, store) = store();
        let what = format!("{input:?}");
        let loaded = load(&store, input).await.unwrap();
        assert_eq!(loaded.len(), 1, "{what}");
        assert_eq!(loaded[0].id, sample.id(), "{what}");
        assert_eq!(names(&loaded[0]), ["docker.io/library/app:1"], "{what}");
        assert_eq!(store.image("app:1").unwrap().parts().len(), 4, "{what}");
    }
}

#[tokio::test]
async fn a_compressed_file_is_read_like_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar.gz");
    let oci = layout(&[(&sample(), "app")]);
    std::fs::write(&file, gzip(&archive(&oci))).unwrap();
    let (root, store) = store();
    load(&store, Input::Path(file)).await.unwrap();
    assert!(store.image("app").is_ok());
    assert!(
        !contents(root.path())
            .iter()
            .any(|file| file.starts_with("tmp/"))
    );
}

#[tokio::test]
async fn one_archive_may_hold_several_images_and_names() {
    let base = layer(&[("base", &noise(10_000, 4))], Pack::Gzip);
    let one = image(std::slice::from_ref(&base), "one");
    let two = image(&[base.clone(), base], "two");
    let (_dir, store) = store();
    let files = layout(&[(&one, "one:a"), (&one, "one:b"), (&two, "two")]);
    let loaded = load_bytes(&store, archive(&files)).await.unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(
        store.resolve("one:a").unwrap(),
        store.resolve("one:b").unwrap()
    );
    // The same layer twice is stored once and is twice a part of the disk.
    let two = store.image("two").unwrap();
    assert_eq!(two.parts().len(), 3);
    assert_eq!(two.parts()[1], two.parts()[2]);
}

#[tokio::test]
async fn an_image_without_a_name_can_be_given_one() {
    let (_dir, store) = store();
    let bytes = archive(&layout(&[(&sample(), "")]));
    let loaded = load_bytes(&store, bytes.clone()).await.unwrap();
    assert_eq!(names(&loaded[0]), [""; 0]);
    let options = LoadOptions {
        name: Some("mine:2".parse().unwrap()),
        ..LoadOptions::default()
    };
    let input = Input::Stream(Box::new(Cursor::new(bytes)));
    store.load(input, &options, Arc::new(Silent)).await.unwrap();
    assert!(store.image("mine:2").is_ok());
}

#[tokio::test]
async fn annotations_of_podman_and_of_the_specification_are_told_apart() {
    for (annotation, expected) in [
        ("localhost/app:1", &["localhost/app:1"][..]),
        ("app", &["docker.io/library/app:latest"]),
        ("latest", &[]),
        ("1.36", &[]),
        ("Not A Name", &[]),
    ] {
        let mut files = layout(&[(&sample(), "x")]);
        let index = String::from_utf8(files["index.json"].clone()).unwrap();
        let index = index
            .replace(
                "io.containerd.image.name",
                "org.opencontainers.image.ref.name",
            )
            .replace("\"x\"", &format!("{annotation:?}"));
        files.insert("index.json".to_owned(), index.into_bytes());
        let (_dir, store) = store();
        let loaded = load_bytes(&store, archive(&files)).await.unwrap();
        assert_eq!(names(&loaded[0]), expected);
    }
}

#[tokio::test]
async fn an_index_is_searched_for_the_platform() {
    let base = layer(&[("base", b"base")], Pack::Gzip);
    let (amd, arm) = (
        image_for("amd64", std::slice::from_ref(&base), "amd"),
        image_for("arm64", &[base], "arm"),
    );
    let mut files = layout(&[(&amd, "app"), (&arm, "app")]);
    let entry = |image: &ImageFixture, architecture: &str| {
        let kind = crate::manifest::OCI_MANIFEST;
        let mut entry = crate::testing::descriptor(kind, &image.manifest);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        entry
    };
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": crate::manifest::OCI_INDEX,
        "manifests": [entry(&arm, "arm64"), entry(&amd, "amd64")]});
    let list = list.to_string().into_bytes();
    let mut top = crate::testing::descriptor(crate::manifest::OCI_INDEX, &list);
    top["annotations"] = serde_json::json!({"io.containerd.image.name": "app"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [top]});
    files.insert(format!("blobs/sha256/{}", Digest::of(&list).hex()), list);
    files.insert("index.json".to_owned(), index.to_string().into_bytes());
    let bytes = archive(&files);
    let (_dir, store) = store();
    let loaded = load_bytes(&store, bytes.clone()).await.unwrap();
    assert_eq!(loaded[0].id, amd.id());
    let options = |platform: &str| LoadOptions {
        platform: Some(platform.parse().unwrap()),
        ..LoadOptions::default()
    };
    let input = || Input::Stream(Box::new(Cursor::new(bytes.clone())));
    let silent = || Arc::new(Silent);
    let loaded = store.load(input(), &options("linux/arm64"), silent()).await;
    assert_eq!(loaded.unwrap()[0].id, arm.id());
    let error = store.load(input(), &options("linux/s390x"), silent()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("linux/arm64, linux/amd64"), "{error}");
}

#[tokio::test]
async fn symbolic_links_to_layers_are_followed_within_the_archive_only() {
    let base = layer(&[("base", b"base")], Pack::Plain);
    let sample = image(std::slice::from_ref(&base), "linked");
    let mut files = docker_save(&[(&sample, "app")]);
    let path = files
        .keys()
        .find(|path| path.ends_with("layer.tar"))
        .unwrap();
    let path = path.clone();
    let content = files.remove(&path).unwrap();
    let archive_with = |target: &str| {
        let mut builder = tar::Builder::new(archive(&files));
        // `archive` ends with two blocks of zeros; what follows them would not be read.
        let inner = builder.get_mut();
        inner.truncate(inner.len() - 1024);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, &path, target).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len().try_into().unwrap());
        let content = content.as_slice();
        builder
            .append_data(&mut header, "other/layer.tar", content)
            .unwrap();
        builder.into_inner().unwrap()
    };
    let (_dir, store) = store();
    load_bytes(&store, archive_with("../other/layer.tar"))
        .await
        .unwrap();
    assert!(store.image("app").is_ok());
    refused_bytes(archive_with("/etc/passwd"), "leads out").await;
    refused_bytes(archive_with("../../../etc/passwd"), "leads out").await;
    refused_bytes(archive_with("./layer.tar"), "circles").await;
    refused_bytes(archive_with("../nowhere"), "lacks").await;
}

#[tokio::test]
async fn hostile_paths_are_refused() {
    let sample = sample();
    let mut saved = docker_save(&[(&sample, "app")]);
    let manifest = String::from_utf8(saved["manifest.json"].clone()).unwrap();
    let config = format!("{}.json", sample.id().hex());
    for path in ["../../etc/passwd", "/etc/passwd", "a/../../b"] {
        let changed = manifest.replace(&config, path);
        saved.insert("manifest.json".to_owned(), changed.into_bytes());
        refused(&saved, "leads out").await;
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &saved);
        let (_root, store) = store();
        let error = load(&store, Input::Path(dir.path().to_owned())).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("leads out"), "{error}");
    }
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..9].copy_from_slice(b"../../oci");
    header.set_size(0);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend([0; 1024]);
    refused_bytes(bytes, "leads out").await;
}

#[tokio::test]
async fn what_lies_or_lacks_something_leaves_nothing() {
    let sample = sample();
    let oci = layout(&[(&sample, "app")]);
    let layer_path = format!("blobs/sha256/{}", Digest::of(&sample.layers[1].blob).hex());

    let mut files = oci.clone();
    files.remove(&layer_path);
    refused(&files, "lacks").await;
    let mut files = oci.clone();
    let layer = files.get_mut(&layer_path).unwrap();
    let middle = layer.len() / 2;
    layer[middle] ^= 1;
    refused(&files, "digest").await;
    let mut files = oci.clone();
    files.get_mut(&layer_path).unwrap().truncate(middle);
    refused(&files, "bytes instead of").await;
    for bytes in [&sample.config, &sample.manifest] {
        let mut files = oci.clone();
        let path = format!("blobs/sha256/{}", Digest::of(bytes).hex());
        files.get_mut(&path).unwrap()[20] ^= 1;
        refused(&files, "digest").await;
    }
    let mut saved = docker_save(&[(&sample, "app")]);
    let path = saved
        .keys()
        .find(|path| path.ends_with("layer.tar"))
        .unwrap();
    let path = path.clone();
    saved.get_mut(&path).unwrap()[700] ^= 1;
    refused(&saved, "digest").await;
    let mut saved = docker_save(&[(&sample, "app")]);
    saved
        .get_mut(&format!("{}.json", sample.id().hex()))
        .unwrap()[3] ^= 1;
    refused(&saved, "digest").await;
}

#[tokio::test]
async fn a_layer_count_that_does_not_fit_is_refused() {
    let base = layer(&[("base", b"base")], Pack::Plain);
    let one = image(std::slice::from_ref(&base), "one");
    let mut wrong = image(&[base.clone(), base], "two");
    wrong.config = one.config.clone();
    wrong.manifest =
        crate::testing::manifest_of(&wrong.config, &wrong.layers, crate::manifest::OCI_MANIFEST);
    refused(&layout(&[(&wrong, "app")]), "2 layers, but").await;
}

#[tokio::test]
async fn other_files_are_told_from_images() {
    refused_bytes(Vec::new(), "neither").await;
    refused_bytes(
        b"not an archive at all, just some text in a file".to_vec(),
        "tar",
    )
    .await;
    refused_bytes(
        archive(&Files::from([("a".to_owned(), vec![1])])),
        "neither",
    )
    .await;
    let mut cut = gzip(&archive(&layout(&[(&sample(), "app")])));
    cut.truncate(cut.len() / 2);
    refused_bytes(cut, "damaged").await;
    let mut files = layout(&[]);
    refused(&files, "no image").await;
    files.insert("index.json".to_owned(), b"{".to_vec());
    refused(&files, "cannot be read").await;
    files.insert("index.json".to_owned(), vec![b' '; 5 << 20]);
    refused(&files, "more than").await;
    let (_dir, store) = store();
    let error = load(&store, Input::Path("/nowhere/image.tar".into())).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("/nowhere/image.tar")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is flipped in an archive, it is refused or gives exactly the image, and a refusal leaves nothing.
    #[test]
    fn damaged_archives_are_refused_or_harmless(
        saved in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let base = layer(&[("base", b"some content")], Pack::Gzip);
        let sample = image(&[base], "fuzz");
        let files = if saved {
            docker_save(&[(&sample, "app")])
        } else {
            layout(&[(&sample, "app")])
        };
        let mut bytes = archive(&files);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let (dir, store) = store();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(load_bytes(&store, bytes)) {
            Ok(loaded) => {
                for one in loaded {
                    prop_assert!(store.image(&one.id.to_string()).is_ok());
                }
            }
            Err(_) => prop_assert_eq!(contents(dir.path()), [""; 0]),
        }
    }
}
