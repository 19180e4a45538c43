//! Against a registry that is not ours.

use super::*;
use crate::testing::debian::Registry;
use crate::testing::{layout, write};

fn push(registry: &Registry, image: &ImageFixture, name: &str) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &layout(&[(image, "x")]));
    registry.push(dir.path(), name);
}

#[tokio::test]
async fn images_come_from_docker_registry_and_share_their_base() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let base = layer(&[("big", &noise(BIG, 5))], Pack::Gzip);
    let own = layer(&[("own", b"own")], Pack::Gzip);
    let first = image(std::slice::from_ref(&base), "first");
    let second = image(&[base, own], "second");
    push(&registry, &first, "base:1");
    push(&registry, &second, "app:2");
    let (dir, store) = store();
    let base = format!("{}/base:1", registry.host());
    let app = format!("{}/app:2", registry.host());
    assert_eq!(
        pull(&store, &base, &options()).await.unwrap().id,
        first.id()
    );
    assert_eq!(registry.blobs_served("base"), 2, "configuration and layer");
    assert_eq!(
        pull(&store, &app, &options()).await.unwrap().id,
        second.id()
    );
    assert_eq!(
        registry.blobs_served("app"),
        2,
        "configuration and its own layer"
    );
    let layers = contents(dir.path());
    let layers = layers.iter().filter(|file| file.ends_with(".index"));
    assert_eq!(layers.count(), 2);
    let error = pull(&store, &format!("{}/none", registry.host()), &options()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("has no manifest latest of none"), "{error}");
}

#[tokio::test]
async fn docker_registry_with_a_password_wants_it() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let sample = image(&[layer(&[("x", b"x")], Pack::Gzip)], "private");
    push(&registry, &sample, "private:1");
    let (dir, store) = store();
    let name = format!("{}/private:1", registry.host());
    let error = pull(&store, &name, &options())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("docker login"), "{error}");
    let file = dir.path().join("docker.json");
    let mut options = options();
    options.registries.credentials = Some(file.clone());
    for (password, good) in [("aHVsbDp3cm9uZw==", false), ("aHVsbDpzZWNyZXQ=", true)] {
        let text = format!(
            r#"{{"auths": {{"{}": {{"auth": "{password}"}}}}}}"#,
            registry.host()
        );
        std::fs::write(&file, text).unwrap();
        assert_eq!(pull(&store, &name, &options).await.is_ok(), good);
    }
}
