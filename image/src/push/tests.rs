use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Error, PushOptions, Pushed};
use crate::digest::Digest;
use crate::progress::{Event, LayerState, Progress, Silent};
use crate::registry::{Config, Credentials, Retry};
use crate::testing::debian::Registry;
use crate::testing::proxy::Proxy;
use crate::testing::server::{Answer, Server};
use crate::testing::{
    ImageFixture, Pack, archive, docker_save, image, layer, layout, noise, write,
};
use crate::{Input, LoadOptions, PullOptions, Reference, Store};

/// Big enough to be interrupted.
const BIG: usize = 3 << 20;

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Progress for Events {
    fn report(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    /// How each layer ended.
    fn ends(&self, layers: usize) -> Vec<LayerState> {
        let events = self.0.lock().unwrap();
        let end = |wanted: usize| {
            let mut states = events.iter().rev().filter_map(|event| match event {
                Event::Layer { index, state } if *index == wanted => Some(state.clone()),
                _ => None,
            });
            states.next().unwrap()
        };
        (0..layers).map(end).collect()
    }

    fn has(&self, wanted: impl Fn(&LayerState) -> bool) -> bool {
        let events = self.0.lock().unwrap();
        events.iter().any(|event| match event {
            Event::Layer { state, .. } => wanted(state),
            _ => false,
        })
    }
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn sample() -> ImageFixture {
    let base = layer(&[("big", &noise(BIG, 7))], Pack::Gzip);
    let zstd = layer(&[("small", &noise(10_000, 1))], Pack::Zstd);
    image(&[base, zstd], "sample")
}

async fn load(store: &Store, files: &std::collections::BTreeMap<String, Vec<u8>>) {
    let input = Input::Stream(Box::new(Cursor::new(archive(files))));
    let options = LoadOptions::default();
    store.load(input, &options, Arc::new(Silent)).await.unwrap();
}

/// A store with the sample, which came from nowhere in particular, under this name.
async fn with_sample(name: &str) -> (TempDir, Store, ImageFixture) {
    let sample = sample();
    let (dir, store) = store();
    load(&store, &docker_save(&[(&sample, name)])).await;
    (dir, store, sample)
}

fn config() -> Config {
    Config {
        retry: Retry {
            attempts: 5,
            base: Duration::from_millis(1),
            limit: Duration::from_millis(20),
        },
        stall: Duration::from_secs(60),
        ..Config::default()
    }
}

async fn push_as(
    store: &Store,
    name: &str,
    config: Config,
) -> (Result<Pushed, Error>, Arc<Events>) {
    let reference: Reference = name.parse().unwrap();
    let events = Arc::new(Events::default());
    let options = PushOptions {
        registries: config,
        ..PushOptions::default()
    };
    let pushed = store.push(&reference, &options, events.clone()).await;
    (pushed, events)
}

async fn push(store: &Store, name: &str) -> (Pushed, Arc<Events>) {
    let (pushed, events) = push_as(store, name, config()).await;
    (pushed.unwrap(), events)
}

/// What a new store gets from there.
async fn pull(name: &str) -> (Digest, Digest) {
    let (_dir, store) = store();
    let options = PullOptions {
        registries: config(),
        ..PullOptions::default()
    };
    let reference: Reference = name.parse().unwrap();
    let pulled = store
        .pull(&reference, &options, Arc::new(Silent))
        .await
        .unwrap();
    (pulled.id, pulled.digest)
}

#[tokio::test]
async fn docker_registry_takes_an_image_once() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let app = format!("{}/team/app:1", registry.host());
    let (dir, store, sample) = with_sample(&app).await;
    let (pushed, events) = push(&store, &app).await;
    assert_eq!(events.ends(2), [LayerState::Done, LayerState::Done]);
    assert!(events.has(|state| matches!(state, LayerState::Uploading { .. })));
    assert_eq!(pull(&app).await, (sample.id(), pushed.digest));
    let digests = store.inspect(&app).unwrap().summary.digests;
    assert_eq!(digests[0].digest(), Some(&pushed.digest));

    let (again, events) = push(&store, &app).await;
    assert_eq!(again, pushed);
    assert_eq!(events.ends(2), [LayerState::Present, LayerState::Present]);
    assert!(!events.has(|state| *state == LayerState::Compressing));

    // Another repository of the same registry takes the layers from the first.
    let other: Reference = format!("{}/other:2", registry.host()).parse().unwrap();
    store.tag(&app, &other).unwrap();
    let (third, events) = push(&store, &other.to_string()).await;
    let from = format!("{}/team/app", registry.host());
    assert_eq!(
        events.ends(2),
        [
            LayerState::Mounted { from: from.clone() },
            LayerState::Mounted { from }
        ]
    );
    assert_eq!(third.digest, pushed.digest);
    assert_eq!(pull(&other.to_string()).await.0, sample.id());
    let left = crate::testing::contents(dir.path());
    assert!(
        !left.iter().any(|file| file.starts_with("tmp/")),
        "{left:?}"
    );
}

#[tokio::test]
async fn the_same_image_is_the_same_wherever_it_is_pushed_from() {
    let server = Server::start();
    let mut digests = Vec::new();
    for repository in ["one", "two"] {
        let name = format!("{}/{repository}:1", server.host());
        let (_dir, store, _) = with_sample(&name).await;
        digests.push(push(&store, &name).await.0.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn what_was_pulled_goes_back_as_it_came() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &layout(&[(&sample, "x")]));
    registry.push(dir.path(), "first:1");
    let (_dir, store) = store();
    let first: Reference = format!("{}/first:1", registry.host()).parse().unwrap();
    let options = PullOptions {
        registries: config(),
        ..PullOptions::default()
    };
    let pulled = store
        .pull(&first, &options, Arc::new(Silent))
        .await
        .unwrap();
    let second: Reference = format!("{}/second:1", registry.host()).parse().unwrap();
    store.tag(&first.to_string(), &second).unwrap();
    let (pushed, events) = push(&store, &second.to_string()).await;
    assert_eq!(pushed.digest, pulled.digest, "zstd and all");
    assert!(!events.has(|state| *state == LayerState::Compressing));
}

#[tokio::test]
async fn a_password_is_wanted_and_taken() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let app = format!("{}/private:1", registry.host());
    let (_dir, store, sample) = with_sample(&app).await;
    let error = push_as(&store, &app, config())
        .await
        .0
        .unwrap_err()
        .to_string();
    assert!(error.contains("docker login"), "{error}");
    for (password, good) in [("wrong", false), ("secret", true)] {
        let mut config = config();
        config.explicit = Some(Credentials::Password {
            user: "hull".to_owned(),
            password: password.to_owned(),
        });
        let (pushed, _) = push_as(&store, &app, config.clone()).await;
        assert_eq!(pushed.is_ok(), good, "{pushed:?}");
        if good {
            let (_dir, other) = self::store();
            let options = PullOptions {
                registries: config,
                ..PullOptions::default()
            };
            let pulled = other
                .pull(&app.parse().unwrap(), &options, Arc::new(Silent))
                .await;
            assert_eq!(pulled.unwrap().id, sample.id());
        }
    }
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let proxy = Proxy::start(registry.host(), 3, 1 << 20);
    let app = format!("{}/app:1", proxy.host());
    let (_dir, store, sample) = with_sample(&app).await;
    let (pushed, events) = push(&store, &app).await;
    assert_eq!(proxy.cuts_left(), 0);
    assert!(events.has(|state| matches!(state, LayerState::Retrying { .. })));
    let direct = format!("{}/app:1", registry.host());
    assert_eq!(pull(&direct).await, (sample.id(), pushed.digest));
}

#[tokio::test]
async fn an_upload_that_always_breaks_is_given_up() {
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let proxy = Proxy::start(registry.host(), 1000, 100_000);
    let app = format!("{}/app:1", proxy.host());
    let (_dir, store, _) = with_sample(&app).await;
    let mut config = config();
    config.retry.attempts = 2;
    let error = push_as(&store, &app, config)
        .await
        .0
        .unwrap_err()
        .to_string();
    assert!(error.contains("connection to registry"), "{error}");
}

#[tokio::test]
async fn tokens_are_asked_for_what_a_push_needs() {
    let server = Server::with(|request, _| {
        if request.path.starts_with("/token") {
            return Some(Answer::new(200, br#"{"token": "good"}"#));
        }
        if request.header("authorization") == Some("Bearer good") {
            return None;
        }
        let host = request.header("host").unwrap();
        // As some registries do, it names only what this one request needs.
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"test\",scope=\"repository:app:pull\""
        );
        Some(Answer::new(401, b"").with("www-authenticate", &challenge))
    });
    let app = format!("{}/app:1", server.host());
    let (_dir, store, _) = with_sample(&app).await;
    push(&store, &app).await;
    let seen = server.seen();
    let tokens: Vec<_> = seen
        .iter()
        .filter(|one| one.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1);
    assert!(
        tokens[0]
            .path
            .contains("scope=repository%3Aapp%3Apull%2Cpush"),
        "{}",
        tokens[0].path
    );
}

#[tokio::test]
async fn credentials_do_not_follow_an_upload_to_another_host() {
    let storage = Arc::new(Server::start());
    let elsewhere = format!("http://{}", storage.host());
    let server = Server::with(move |request, _| {
        if request.header("authorization").is_none() {
            return Some(Answer::new(401, b"").with("www-authenticate", "Basic realm=test"));
        }
        (request.method == "POST").then(|| {
            let place = format!("{elsewhere}/v2/app/blobs/uploads/x");
            Answer::new(202, b"").with("location", &place)
        })
    });
    let app = format!("{}/app:1", server.host());
    let (_dir, store, _) = with_sample(&app).await;
    let mut config = config();
    config.explicit = Some(Credentials::Password {
        user: "hull".to_owned(),
        password: "secret".to_owned(),
    });
    // The other host knows of no upload, so the push fails in the end.
    assert!(push_as(&store, &app, config).await.0.is_err());
    let seen = storage.seen();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|one| one.header("authorization").is_none()));
}

#[tokio::test]
async fn manifests_are_in_the_format_that_the_image_came_in() {
    let server = Server::start();
    let sample = sample();
    for (files, kind) in [
        (
            docker_save(&[(&sample, "x:1")]),
            "application/vnd.docker.distribution.manifest.v2+json",
        ),
        (
            layout(&[(&sample, "x:1")]),
            "application/vnd.oci.image.manifest.v1+json",
        ),
    ] {
        let (_dir, store) = store();
        load(&store, &files).await;
        let name: Reference = format!("{}/app:1", server.host()).parse().unwrap();
        store.tag("x:1", &name).unwrap();
        push(&store, &name.to_string()).await;
        let seen = server.seen();
        let put = seen
            .iter()
            .rev()
            .find(|one| one.path.ends_with("/manifests/1"))
            .unwrap();
        assert_eq!(put.header("content-type"), Some(kind));
        let manifest: Value = serde_json::from_slice(&put.bytes).unwrap();
        assert_eq!(manifest["mediaType"], kind);
        let layer = manifest["layers"][0]["mediaType"].as_str().unwrap();
        assert_eq!(
            layer.starts_with("application/vnd.docker."),
            kind.starts_with("application/vnd.docker.")
        );
    }
}

#[tokio::test]
async fn what_cannot_be_pushed_is_refused_before_anything_is_sent() {
    let server = Server::start();
    let app = format!("{}/app:1", server.host());
    let (_dir, store, sample) = with_sample(&app).await;
    let error = |name: String| {
        let store = store.clone();
        async move {
            push_as(&store, &name, config())
                .await
                .0
                .unwrap_err()
                .to_string()
        }
    };
    let words = error(format!("{}/app@{}", server.host(), sample.id())).await;
    assert!(words.contains("push a tag"), "{words}");
    let words = error(format!("{}/nothing", server.host())).await;
    assert!(words.contains("no such image"), "{words}");
    let options = PushOptions {
        platform: Some("linux/arm64".parse().unwrap()),
        registries: config(),
    };
    let pushed = store
        .push(&app.parse().unwrap(), &options, Arc::new(Silent))
        .await;
    let words = pushed.unwrap_err().to_string();
    assert!(words.contains("not for linux/arm64"), "{words}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_layer_of_before_headers_were_kept_is_pushed_as_another() {
    let server = Server::start();
    let app = format!("{}/app:1", server.host());
    let (dir, store, sample) = with_sample(&app).await;
    let name = Digest::of(&sample.layers[0].tar).hex() + ".headers";
    std::fs::remove_file(dir.path().join("layers").join(name)).unwrap();
    let (pushed, _) = push(&store, &app).await;
    let (id, digest) = pull(&app).await;
    assert_ne!(id, sample.id());
    assert_eq!(digest, pushed.digest);
    let digests = store.inspect(&app).unwrap().summary.digests;
    assert!(
        digests.is_empty(),
        "the image here is not what is there: {digests:?}"
    );
}
