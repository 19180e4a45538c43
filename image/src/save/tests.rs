use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::{Error, SaveOptions};
use crate::progress::Silent;
use crate::testing::{ImageFixture, Pack, archive, image, layer, layout, noise};
use crate::{Digest, Input, LoadOptions, Loaded, Store};

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

async fn load(store: &Store, bytes: Vec<u8>) -> Vec<Loaded> {
    let input = Input::Stream(Box::new(Cursor::new(bytes)));
    let options = LoadOptions::default();
    store.load(input, &options, Arc::new(Silent)).await.unwrap()
}

fn save(store: &Store, names: &[&str]) -> Result<Vec<u8>, Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut out = Vec::new();
    store.save(&names, &SaveOptions::default(), &mut out)?;
    Ok(out)
}

/// Two images that share a layer, of all kinds of compression.
fn samples() -> (ImageFixture, ImageFixture) {
    let base = layer(
        &[("etc/os", &noise(10_000, 2)), ("small", b"x")],
        Pack::Gzip,
    );
    let own = layer(&[("data", &noise(100_000, 1))], Pack::Zstd);
    let plain = layer(&[("plain", &[0; 70_000])], Pack::Plain);
    (
        image(&[base.clone(), own], "one"),
        image(&[base, plain], "two"),
    )
}

/// A store with both, under these names.
async fn filled() -> (TempDir, Store, ImageFixture, ImageFixture) {
    let (one, two) = samples();
    let (dir, store) = store();
    let names = [
        (&one, "app:1"),
        (&one, "app:latest"),
        (&two, "localhost:5000/other:2"),
    ];
    load(&store, archive(&layout(&names))).await;
    (dir, store, one, two)
}

fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(
            found.insert(path.clone(), bytes).is_none(),
            "{path} is there twice"
        );
    }
    found
}

fn json(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
    serde_json::from_slice(&files[path]).unwrap()
}

#[tokio::test]
async fn what_is_saved_is_loaded_as_the_same_images() {
    let (_dir, first, one, two) = filled().await;
    let saved = save(&first, &["app", "localhost:5000/other:2"]).unwrap();
    let (_other, second) = store();
    let loaded = load(&second, saved.clone()).await;
    assert_eq!(loaded.len(), 2);
    for name in ["app:1", "app:latest"] {
        assert_eq!(second.resolve(name).unwrap(), one.id());
    }
    assert_eq!(second.resolve("localhost:5000/other:2").unwrap(), two.id());
    assert!(second.image("app").is_ok());
    let again = save(&second, &["app", "localhost:5000/other:2"]).unwrap();
    assert!(again == saved, "the same images make the same archive");
}

#[tokio::test]
async fn an_archive_has_both_formats() {
    let (_dir, store, one, two) = filled().await;
    let saved = files(&save(&store, &["app:1", "localhost:5000/other:2"]).unwrap());
    let list = json(&saved, "manifest.json");
    assert_eq!(list[0]["RepoTags"][0], "app:1");
    assert_eq!(
        list[0]["Config"],
        format!("blobs/sha256/{}", one.id().hex())
    );
    assert_eq!(list[1]["RepoTags"][0], "localhost:5000/other:2");
    for (entry, image) in [(&list[0], &one), (&list[1], &two)] {
        for (path, layer) in entry["Layers"]
            .as_array()
            .unwrap()
            .iter()
            .zip(&image.layers)
        {
            assert!(saved[path.as_str().unwrap()] == layer.tar);
        }
    }
    let index = json(&saved, "index.json");
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(
        annotations["io.containerd.image.name"],
        "docker.io/library/app:1"
    );
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
    let top = Digest::of(&one.layers[1].tar).hex();
    assert_eq!(json(&saved, "repositories")["app"]["1"], top.as_str());
    for (path, bytes) in &saved {
        if let Some(digest) = path
            .strip_prefix("blobs/sha256/")
            .filter(|name| !name.is_empty())
        {
            assert_eq!(&Digest::of(bytes).hex(), digest);
        }
    }
}

#[tokio::test]
async fn an_id_is_saved_without_a_name() {
    let (_dir, first, one, _) = filled().await;
    let saved = save(&first, &[&one.id().short()]).unwrap();
    assert!(!files(&saved).contains_key("repositories"));
    let (_other, second) = store();
    let loaded = load(&second, saved).await;
    assert_eq!((loaded[0].id, loaded[0].names.len()), (one.id(), 0));
    let error = save(&first, &["nothing"]).unwrap_err().to_string();
    assert!(error.contains("no such image: nothing:latest"), "{error}");
    let options = SaveOptions {
        platform: Some("linux/arm64".parse().unwrap()),
    };
    let error = first.save(&["app:1".to_owned()], &options, &mut Vec::new());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("is for linux/amd64, not for linux/arm64"),
        "{error}"
    );
}

#[tokio::test]
async fn layers_of_before_headers_were_kept_go_out_in_another_form() {
    let (dir, first, one, _) = filled().await;
    for layer in &one.layers {
        let name = Digest::of(&layer.tar).hex() + ".headers";
        std::fs::remove_file(dir.path().join("layers").join(name)).unwrap();
    }
    let saved = save(&first, &["app:1"]).unwrap();
    assert!(save(&first, &["app:1"]).unwrap() == saved);
    let (_other, second) = store();
    let loaded = load(&second, saved.clone()).await;
    assert_ne!(loaded[0].id, one.id());
    let again = save(&second, &["app:1"]).unwrap();
    assert!(again == saved, "from now on it stays what it is");
    let (before, after) = (
        first.image("app:1").unwrap(),
        second.image("app:1").unwrap(),
    );
    assert_eq!(before.config().config(), after.config().config());
    for (before, after) in before.parts().iter().zip(after.parts()) {
        assert!(std::fs::read(before).unwrap() == std::fs::read(after).unwrap());
    }
}

#[tokio::test]
async fn a_spoilt_layer_is_not_saved() {
    let (_dir, store, one, _) = filled().await;
    let image = store.image("app:1").unwrap();
    let mut bytes = std::fs::read(&image.parts()[1]).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&image.parts()[1], bytes).unwrap();
    let error = save(&store, &["app:1"]).unwrap_err();
    assert!(matches!(error, Error::Layer { layer, .. } if layer == Digest::of(&one.layers[0].tar)));
}

#[tokio::test]
async fn others_read_it() {
    if !Path::new("/usr/bin/skopeo").exists() || !Path::new("/usr/bin/umoci").exists() {
        println!("SKIPPED: skopeo or umoci is not installed");
        return;
    }
    let (_dir, store, one, _) = filled().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.tar");
    std::fs::write(&file, save(&store, &["app"]).unwrap()).unwrap();
    let skopeo = |arguments: &[String]| {
        let run = Command::new("skopeo").args(arguments).output().unwrap();
        let words = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "{arguments:?}: {words}");
        run.stdout
    };
    let file = file.display();
    let layers: Vec<String> = one
        .layers
        .iter()
        .map(|layer| Digest::of(&layer.tar).to_string())
        .collect();
    for source in [
        format!("docker-archive:{file}:app:1"),
        format!("docker-archive:{file}:docker.io/library/app:latest"),
    ] {
        let found: Value =
            serde_json::from_slice(&skopeo(&["inspect".to_owned(), source])).unwrap();
        let found: Vec<&str> = found["Layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect();
        assert_eq!(found, layers);
    }
    let oci = dir.path().join("layout");
    skopeo(&[
        "copy".to_owned(),
        "--insecure-policy".to_owned(),
        format!("oci-archive:{file}:1"),
        format!("oci:{}:1", oci.display()),
    ]);
    let stat = Command::new("umoci")
        .args(["stat", "--json", "--image"])
        .arg(format!("{}:1", oci.display()))
        .output()
        .unwrap();
    assert!(
        stat.status.success(),
        "{}",
        String::from_utf8_lossy(&stat.stderr)
    );
}
