use std::io::Cursor;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{CommitOptions, Error, ImportOptions};
use crate::progress::Silent;
use crate::store::Use;
use crate::testing::{ImageFixture, Pack, archive, contents, gzip, image, layer, layout, noise};
use crate::{
    Digest, Filters, Input, LoadOptions, Reference, Remove, Removed, SaveOptions, Store, docker,
};

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

async fn with_base() -> (TempDir, Store, ImageFixture) {
    let base = layer(&[("base", &noise(10_000, 1))], Pack::Gzip);
    let base = image(&[base], "base");
    let (dir, store) = store();
    let bytes = archive(&layout(&[(&base, "base:1")]));
    let input = Input::Stream(Box::new(Cursor::new(bytes)));
    let options = LoadOptions::default();
    store.load(input, &options, Arc::new(Silent)).await.unwrap();
    (dir, store, base)
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    layer(files, Pack::Plain).tar
}

fn name(text: &str) -> Option<Reference> {
    Some(text.parse().unwrap())
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn config(store: &Store, name: &str) -> Value {
    let details = store.inspect(name).unwrap();
    serde_json::from_slice(details.config.bytes()).unwrap()
}

#[tokio::test]
async fn a_commit_is_the_image_below_and_a_layer() {
    let (_dir, store, base) = with_base().await;
    let own = tar(&[("own", &noise(5000, 2))]);
    let options = CommitOptions {
        author: Some("Ada".to_owned()),
        comment: Some("because".to_owned()),
        created_by: Some("sh -c true".to_owned()),
        changes: lines(&[
            "ENV A=1 B=\"two words\"",
            "ENV C=$A-${D:-d}",
            "CMD [\"run\", \"it\"]",
            "ENTRYPOINT /start now",
            "EXPOSE 80 8000-8001/udp",
            "LABEL x=y",
            "USER me",
            "WORKDIR /srv",
            "WORKDIR data",
            "VOLUME [\"/a\", \"/b\"]",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=3 CMD check it",
            "ONBUILD RUN later",
        ]),
        name: name("made:1"),
        ..CommitOptions::default()
    };
    let id = store
        .commit(Some(&base.id()), Cursor::new(own.clone()), options)
        .await
        .unwrap();
    assert_eq!(store.resolve("made:1").unwrap(), id);
    assert_eq!(store.image("made:1").unwrap().parts().len(), 3);
    let made = config(&store, "made:1");
    assert_eq!(made["author"], "Ada");
    assert_eq!(made["rootfs"]["diff_ids"][1], Digest::of(&own).to_string());
    let expected = json!({
        "Cmd": ["run", "it"],
        "Env": ["PATH=/bin", "A=1", "B=two words", "C=1-d"],
        "Entrypoint": ["/bin/sh", "-c", "/start now"],
        "ExposedPorts": {"80/tcp": {}, "8000/udp": {}, "8001/udp": {}},
        "Healthcheck": {"Test": ["CMD-SHELL", "check it"], "Interval": 5_000_000_000_u64, "Retries": 3},
        "Labels": {"label": "base", "x": "y"},
        "OnBuild": ["RUN later"],
        "StopSignal": "SIGINT",
        "User": "me",
        "Volumes": {"/a": {}, "/b": {}},
        "WorkingDir": "/srv/data",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(
            made["config"].get(key).unwrap_or(&Value::Null),
            value,
            "{key}"
        );
    }
    let history = store.history("made:1").unwrap();
    assert_eq!(history[0].created_by, "sh -c true");
    assert_eq!((history[0].id, history[1].id), (Some(id), Some(base.id())));
    assert!(history[0].size > 5000 && history[1].size > 10_000);
    let items = docker::history(&history);
    assert_eq!(items[0]["Tags"][0], "made:1");
    assert_eq!(items[0]["Comment"], "because");
    let inspected = docker::inspect(&store.inspect("made:1").unwrap()).unwrap();
    assert_eq!(inspected["Parent"], base.id().to_string());
    assert_eq!(inspected["GraphDriver"]["Name"], "hull");
    assert_eq!(inspected["RootFS"]["Layers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_commit_of_nothing_adds_no_layer() {
    let (dir, store, base) = with_base().await;
    let options = CommitOptions {
        name: name("same"),
        ..CommitOptions::default()
    };
    let empty = Cursor::new(vec![0; 1024]);
    let id = store
        .commit(Some(&base.id()), empty, options)
        .await
        .unwrap();
    assert_ne!(id, base.id());
    let made = config(&store, "same");
    assert_eq!(made["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    assert_eq!(made["history"][0]["empty_layer"], true);
    let left = contents(dir.path());
    assert!(
        !left.iter().any(|file| file.starts_with("tmp/")),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_commit_that_makes_no_sense_leaves_nothing() {
    let (dir, store, base) = with_base().await;
    let before = contents(dir.path());
    for (changes, words) in [
        ("RUN make", "RUN is not a valid change command"),
        ("FROM scratch", "FROM is not a valid change command"),
        ("NOTHING", "unknown instruction: NOTHING"),
        ("ENV", "ENV requires at least one argument"),
        ("EXPOSE 99999", "Invalid containerPort: 99999"),
        ("STOPSIGNAL SIGNOTHING", "Invalid signal"),
    ] {
        let options = CommitOptions {
            changes: lines(&[changes]),
            ..CommitOptions::default()
        };
        let layer = Cursor::new(tar(&[("x", b"x")]));
        let error = store
            .commit(Some(&base.id()), layer, options)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Change(_)), "{changes}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let garbage = Cursor::new(vec![7; 5000]);
    let error = store
        .commit(Some(&base.id()), garbage, CommitOptions::default())
        .await;
    assert!(matches!(error, Err(Error::Layer(_))));
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn an_import_is_an_image_of_one_layer() {
    let (_dir, store) = store();
    let root = tar(&[("bin/sh", &noise(5000, 3))]);
    let options = ImportOptions {
        name: name("imported"),
        source: "-".to_owned(),
        changes: lines(&["CMD sh"]),
        platform: Some("linux/arm64/v8".parse().unwrap()),
        ..ImportOptions::default()
    };
    store
        .import(Cursor::new(gzip(&root)), options)
        .await
        .unwrap();
    let made = config(&store, "imported");
    assert_eq!(
        made["rootfs"]["diff_ids"],
        json!([Digest::of(&root).to_string()])
    );
    assert_eq!(made["history"][0]["comment"], "Imported from -");
    assert_eq!(
        (&made["architecture"], &made["variant"]),
        (&json!("arm64"), &json!("v8"))
    );
    assert_eq!(made["config"]["Cmd"], json!(["/bin/sh", "-c", "sh"]));
    let mut saved = Vec::new();
    let names = ["imported".to_owned()];
    store
        .save(&names, &SaveOptions::default(), &mut saved)
        .unwrap();
    assert!(saved.windows(root.len()).any(|part| part == root));
}

#[tokio::test]
async fn images_are_chosen_by_filters() {
    let (_dir, store, base) = with_base().await;
    let mut ids = Vec::new();
    for (at, tag) in [
        ("2024-06-01T00:00:00Z", Some("made:1")),
        ("2024-07-01T00:00:00Z", None),
    ] {
        let options = CommitOptions {
            created: Some(at.parse().unwrap()),
            changes: lines(&[&format!("LABEL at={at}")]),
            name: tag.and_then(name),
            ..CommitOptions::default()
        };
        let layer = Cursor::new(tar(&[("at", at.as_bytes())]));
        ids.push(
            store
                .commit(Some(&base.id()), layer, options)
                .await
                .unwrap(),
        );
    }
    let now = "2024-08-01T00:00:00Z".parse().unwrap();
    let select = |texts: &[&str]| {
        let mut filters = Filters::default();
        for text in texts {
            filters.add_text(text, now).unwrap();
        }
        let found = store.select(&filters, false).unwrap();
        found.iter().map(|image| image.id).collect::<Vec<_>>()
    };
    let (made, dangling) = (ids[0], ids[1]);
    let base = base.id();
    assert_eq!(select(&[]), [dangling, made, base]);
    assert_eq!(select(&["dangling=true"]), [dangling]);
    assert_eq!(select(&["dangling=false"]), [made, base]);
    assert_eq!(select(&["label=at"]), [dangling, made]);
    assert_eq!(select(&["label=at=2024-06-01T00:00:00Z"]), [made]);
    assert_eq!(select(&["label!=at"]), [base]);
    assert_eq!(select(&["before=made:1"]), [base]);
    assert_eq!(select(&["since=made:1"]), [dangling]);
    assert_eq!(select(&["reference=m*e:[0-9]"]), [made]);
    assert_eq!(select(&["reference=made", "reference=base"]), [made, base]);
    assert_eq!(select(&["until=2024-06-15T00:00:00Z"]), [made, base]);
    assert_eq!(select(&["until=720h"]), [dangling, made, base]);
    let mut filters = Filters::default();
    for wrong in [
        "dangling",
        "dangling=perhaps",
        "color=red",
        "until=soon",
        "reference=[",
    ] {
        let error = filters.add_text(wrong, now).unwrap_err().to_string();
        assert!(error.starts_with("invalid filter '"), "{error}");
    }
    filters.add_text("before=nothing", now).unwrap();
    assert!(store.select(&filters, false).is_err());
}

#[tokio::test]
async fn what_images_share_is_counted_once() {
    let (_dir, store, base) = with_base().await;
    let layer = Cursor::new(tar(&[("own", &noise(50_000, 4))]));
    let made = store
        .commit(Some(&base.id()), layer, CommitOptions::default())
        .await
        .unwrap();
    let uses = [Use {
        image: made,
        by: "container web".to_owned(),
    }];
    let usage = store.usage(&uses).unwrap();
    let of = |id| {
        usage
            .images
            .iter()
            .find(|image| image.image.id == id)
            .unwrap()
    };
    let (below, above) = (of(base.id()), of(made));
    assert_eq!((below.containers, above.containers), (0, 1));
    assert_eq!(below.shared, above.shared);
    assert!(below.shared > 10_000 && above.unique() > 50_000);
    let metadata = |image: &crate::store::ImageUsage| {
        let erofs = store.inspect(&image.image.id.to_string()).unwrap().erofs;
        std::fs::metadata(erofs).unwrap().len()
    };
    assert_eq!(below.unique(), metadata(below));
    assert_eq!(
        usage.layers,
        below.shared + above.unique() - metadata(above)
    );
    let listed = docker::summary(&above.image, Some(above.shared), Some(above.containers));
    assert_eq!(listed["Containers"], 1);
    assert_eq!(listed["ParentId"], base.id().to_string());
    assert_eq!(docker::summary(&above.image, None, None)["SharedSize"], -1);
}

#[tokio::test]
async fn images_in_between_go_with_the_last_one() {
    let (_dir, store, base) = with_base().await;
    let mut last = base.id();
    let mut chain = Vec::new();
    for step in ["one", "two", "three"] {
        let layer = Cursor::new(tar(&[(step, b"x")]));
        last = store
            .commit(Some(&last), layer, CommitOptions::default())
            .await
            .unwrap();
        chain.push(last);
    }
    store
        .tag(&last.to_string(), &"built".parse().unwrap())
        .unwrap();
    let shown = |all| {
        let found = store.select(&Filters::default(), all).unwrap();
        found.len()
    };
    assert_eq!((shown(false), shown(true)), (2, 4));
    let remove = Remove {
        keep_parents: true,
        ..Remove::default()
    };
    store.remove_with("built", &remove).unwrap();
    assert_eq!(shown(true), 3);
    let removed = store.remove(&chain[1].to_string(), false, &[]).unwrap();
    assert_eq!(
        removed,
        [Removed::Deleted(chain[1]), Removed::Deleted(chain[0])]
    );
    assert_eq!(store.resolve("base:1").unwrap(), base.id(), "it has a name");
}
