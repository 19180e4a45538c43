use std::fs;
use std::sync::Arc;

use tempfile::TempDir;

use super::{Error, Prune, Removed, Store, Use};
use crate::load::{Input, LoadOptions};
use crate::progress::Silent;
use crate::testing::{ImageFixture, Pack, contents, image, layer, layout, noise, write};
use crate::{Digest, Filters, Reference};

/// Enough for a file not to be kept in the metadata.
const SIZE: usize = 10_000;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    (dir, store)
}

async fn load(store: &Store, images: &[(&ImageFixture, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &layout(images));
    let input = Input::Path(dir.path().to_owned());
    store
        .load(input, &LoadOptions::default(), Arc::new(Silent))
        .await
        .unwrap();
}

/// Two images that share their lower layer.
fn two() -> (ImageFixture, ImageFixture) {
    let base = layer(&[("base", &noise(SIZE, 1))], Pack::Gzip);
    let one = layer(&[("one", &noise(SIZE, 2))], Pack::Gzip);
    let two = layer(&[("two", &noise(SIZE, 3))], Pack::Zstd);
    (
        image(&[base.clone(), one], "one"),
        image(&[base, two], "two"),
    )
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn layers(store: &Store) -> usize {
    let all = contents(store.layout().root());
    all.iter().filter(|file| file.ends_with(".index")).count()
}

#[tokio::test]
async fn an_image_is_found_by_name_id_and_prefix() {
    let (_dir, store) = store();
    let (one, two) = two();
    load(&store, &[(&one, "one:1"), (&two, "two")]).await;
    let id = one.id();
    for text in [
        "one:1",
        "docker.io/library/one:1",
        &id.to_string(),
        &id.hex(),
        &id.short(),
    ] {
        assert_eq!(store.resolve(text).unwrap(), id, "{text}");
    }
    let error = |text: &str| store.resolve(text).unwrap_err().to_string();
    assert_eq!(error("one"), "no such image: one:latest");
    let other = Digest::of(b"nothing").hex();
    assert_eq!(error(&other), format!("no such image: {other}"));
    assert!(error("Nonsense").contains("lower case"));
}

#[tokio::test]
async fn an_ambiguous_prefix_is_refused() {
    let (_dir, store) = store();
    let base = layer(&[("base", b"base")], Pack::Plain);
    // Of seventeen ids, two begin with the same digit.
    let images: Vec<_> = (0..17)
        .map(|label| image(std::slice::from_ref(&base), &label.to_string()))
        .collect();
    for image in &images {
        load(&store, &[(image, "")]).await;
    }
    let first = |id: &Digest| id.hex().remove(0);
    let ids: Vec<Digest> = images.iter().map(ImageFixture::id).collect();
    let twice = ids
        .iter()
        .map(first)
        .find(|digit| ids.iter().filter(|id| first(id) == *digit).count() > 1)
        .unwrap();
    let result = store.resolve(&twice.to_string());
    assert!(matches!(result, Err(Error::Ambiguous(_))), "{result:?}");
}

#[tokio::test]
async fn an_opened_image_has_its_configuration_and_parts() {
    let (_dir, store) = store();
    let (one, _) = two();
    load(&store, &[(&one, "one")]).await;
    let image = store.image("one").unwrap();
    assert_eq!(image.id(), one.id());
    let config = image.config().config().as_ref().unwrap();
    assert_eq!(config.cmd().as_deref().unwrap(), ["sh"]);
    assert_eq!(image.parts().len(), 3);
    assert!(
        image
            .parts()
            .iter()
            .all(|part| part.is_absolute() && part.is_file())
    );
    assert!(image.parts()[0].extension().unwrap() == "erofs");
}

#[tokio::test]
async fn a_layer_without_contents_is_no_part_of_the_disk() {
    let (_dir, store) = store();
    let empty = layer(&[("etc/.wh.removed", b"")], Pack::Gzip);
    let full = layer(&[("etc/kept", &noise(SIZE, 4))], Pack::Gzip);
    load(&store, &[(&image(&[full, empty], "x"), "x")]).await;
    let image = store.image("x").unwrap();
    assert_eq!(image.parts().len(), 2);
    let sizes = image
        .parts()
        .iter()
        .map(|part| fs::metadata(part).unwrap().len());
    assert!(sizes.into_iter().all(|size| size > 0 && size % 4096 == 0));
}

#[tokio::test]
async fn a_lost_metadata_image_is_made_again_and_a_lost_layer_is_reported() {
    let (_dir, store) = store();
    let (one, _) = two();
    load(&store, &[(&one, "one")]).await;
    let parts = store.image("one").unwrap().parts().to_vec();
    let before = fs::read(&parts[0]).unwrap();
    fs::remove_file(&parts[0]).unwrap();
    assert_eq!(store.image("one").unwrap().parts(), parts);
    assert_eq!(fs::read(&parts[0]).unwrap(), before);
    fs::remove_file(&parts[1]).unwrap();
    let error = store.image("one").unwrap_err().to_string();
    assert!(
        error.contains("damaged") && error.contains("pull it again"),
        "{error}"
    );
}

#[tokio::test]
async fn a_tag_moves_and_the_old_image_is_left_without_a_name() {
    let (_dir, store) = store();
    let (one, two) = two();
    load(&store, &[(&one, "one"), (&two, "two")]).await;
    store.tag("two", &name("one")).unwrap();
    assert_eq!(store.resolve("one").unwrap(), two.id());
    let list = store.list().unwrap();
    let dangling: Vec<_> = list.iter().filter(|image| image.names.is_empty()).collect();
    assert_eq!(dangling.len(), 1);
    assert_eq!(dangling[0].id, one.id());
    let digest = name(&format!("x@{}", one.id()));
    assert!(matches!(
        store.tag("one", &digest),
        Err(Error::TagWithDigest(_))
    ));
    let (removed, _) = store.prune(&Prune::default()).unwrap();
    assert_eq!(removed, [Removed::Deleted(one.id())]);
    assert_eq!(layers(&store), 2);
}

#[tokio::test]
async fn removal_takes_the_layers_that_nobody_shares() {
    let (_dir, store) = store();
    let (one, two) = two();
    load(&store, &[(&one, "one"), (&two, "two")]).await;
    assert_eq!(layers(&store), 3);
    let removed = store.remove("one", false, &[]).unwrap();
    let expected = [Removed::Untagged(name("one")), Removed::Deleted(one.id())];
    assert_eq!(removed, expected);
    assert_eq!(layers(&store), 2);
    assert!(store.image("two").is_ok());
    store.remove(&two.id().short(), false, &[]).unwrap();
    assert_eq!(contents(store.layout().root()), [""; 0]);
}

#[tokio::test]
async fn one_of_several_names_goes_alone() {
    let (_dir, store) = store();
    let (one, _) = two();
    load(&store, &[(&one, "one")]).await;
    store.tag("one", &name("other:2")).unwrap();
    let error = store.remove(&one.id().hex(), false, &[]).unwrap_err();
    assert!(error.to_string().contains("one:latest, other:2"), "{error}");
    let removed = store.remove("one", false, &[]).unwrap();
    assert_eq!(removed, [Removed::Untagged(name("one"))]);
    assert!(store.image("other:2").is_ok());
    let removed = store.remove("other:2", false, &[]).unwrap();
    assert_eq!(removed.len(), 2);
}

#[tokio::test]
async fn an_image_in_use_stays_unless_forced_and_then_its_files_stay() {
    let (_dir, store) = store();
    let (one, _) = two();
    load(&store, &[(&one, "one")]).await;
    let used = Use {
        image: one.id(),
        by: "container web".to_owned(),
    };
    let error = store
        .remove("one", false, std::slice::from_ref(&used))
        .unwrap_err();
    assert!(error.to_string().contains("container web"), "{error}");
    let prune = Prune {
        filters: Filters::default(),
        all: true,
        uses: vec![used],
    };
    assert_eq!(store.prune(&prune).unwrap().0, []);

    let image = store.image("one").unwrap();
    let error = store.remove("one", false, &[]).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    let all = Prune {
        filters: Filters::default(),
        all: true,
        ..Prune::default()
    };
    assert_eq!(store.prune(&all).unwrap().0, []);
    store.remove("one", true, &[]).unwrap();
    assert!(matches!(store.image("one"), Err(Error::NotFound(_))));
    assert!(image.parts().iter().all(|part| part.is_file()));

    drop(image);
    let (_, freed) = store.prune(&Prune::default()).unwrap();
    assert_eq!(freed.layers.len(), 2);
    assert_eq!(contents(store.layout().root()), [""; 0]);
    assert_eq!(fs::read_dir(store.layout().locks()).unwrap().count(), 0);
}

#[tokio::test]
async fn prune_all_takes_what_nobody_uses() {
    let (_dir, store) = store();
    let (one, two) = two();
    load(&store, &[(&one, "one"), (&two, "two")]).await;
    let all = Prune {
        filters: Filters::default(),
        all: true,
        uses: vec![Use {
            image: two.id(),
            by: "container x".to_owned(),
        }],
    };
    let (removed, freed) = store.prune(&all).unwrap();
    let expected = [Removed::Untagged(name("one")), Removed::Deleted(one.id())];
    assert_eq!(removed, expected);
    assert!(freed.bytes > 0);
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn what_dead_writers_left_is_cleared_and_what_the_living_write_is_not() {
    let (_dir, store) = store();
    let root = store.layout().root().to_owned();
    let tmp = store.layout().tmp();
    let living = super::scratch::Scratch::new(&tmp).unwrap();
    fs::write(living.path().join("blob"), "half").unwrap();
    for dead in ["w-dead", "w-other"] {
        fs::create_dir(tmp.join(dead)).unwrap();
        fs::write(tmp.join(dead).join("blob"), "half").unwrap();
    }
    fs::write(tmp.join("w-dead.lock"), "").unwrap();
    fs::write(root.join(".new-abc"), "half").unwrap();
    fs::write(root.join("configs/.new-abc"), "half").unwrap();
    Store::open(&root).unwrap();
    assert!(living.path().join("blob").is_file());
    let left = fs::read_dir(&tmp).unwrap().count();
    assert_eq!(left, 2, "the living writer's directory and lock");
    assert!(!root.join(".new-abc").exists() && !root.join("configs/.new-abc").exists());
    drop(living);
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
}

#[test]
fn a_database_from_elsewhere_is_refused() {
    let (_dir, store) = store();
    let db = store.layout().db();
    for text in [
        "",
        "{}",
        "[]",
        r#"{"version": 3, "images": {}, "tags": {}}"#,
    ] {
        fs::write(&db, text).unwrap();
        let error = store.list().unwrap_err();
        assert!(matches!(error, Error::Database { .. }), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_database_of_the_first_version_is_read() {
    let (_dir, store) = store();
    let (one, _) = two();
    load(&store, &[(&one, "one")]).await;
    let db = store.layout().db();
    let text = fs::read_to_string(&db).unwrap();
    fs::write(&db, text.replace("\"version\": 2", "\"version\": 1")).unwrap();
    assert_eq!(store.resolve("one").unwrap(), one.id());
    store.tag("one", &name("two")).unwrap();
    let text = fs::read_to_string(&db).unwrap();
    assert!(text.contains("\"version\": 2"), "{text}");
}

#[tokio::test]
async fn a_tampered_configuration_is_noticed() {
    let (_dir, store) = store();
    let (one, _) = two();
    load(&store, &[(&one, "one")]).await;
    let path = store.layout().config(&one.id());
    let text = fs::read_to_string(&path).unwrap().replace("sh", "su");
    fs::write(&path, text).unwrap();
    let error = store.image("one").unwrap_err().to_string();
    assert!(error.contains("digest"), "{error}");
    assert_eq!(store.list().unwrap().len(), 1);
}
