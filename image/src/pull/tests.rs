use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::{Error, PullOptions, Pulled};
use crate::platform::Platform;
use crate::progress::{Event, LayerState, Progress};
use crate::reference::Reference;
use crate::registry::{Config, Retry};
use crate::store::Store;
use crate::testing::server::{Answer, Server};
use crate::testing::{ImageFixture, Pack, contents, image, layer, noise};
use crate::{Digest, registry};

mod auth;
mod debian;
mod hostile;
mod sharing;

/// Big enough to come in many pieces.
const BIG: usize = 3 << 20;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn sample() -> ImageFixture {
    let base = layer(&[("big", &noise(BIG, 7))], Pack::Gzip);
    let zstd = layer(&[("small", &noise(10_000, 1))], Pack::Zstd);
    let plain = layer(&[("plain", &noise(10_000, 2))], Pack::Plain);
    image(&[base, zstd, plain], "sample")
}

/// Quick to retry, and slow to lose patience, so that a busy machine changes nothing.
fn options() -> PullOptions {
    PullOptions {
        platform: None,
        registries: Config {
            retry: Retry {
                attempts: 3,
                base: Duration::from_millis(1),
                limit: Duration::from_millis(20),
            },
            stall: Duration::from_secs(60),
            ..Config::default()
        },
    }
}

/// Impatient: for registries that say nothing.
fn impatient() -> PullOptions {
    let mut options = options();
    options.registries.stall = Duration::from_millis(300);
    options
}

#[derive(Debug, Default)]
struct Events(Mutex<Vec<Event>>);

impl Progress for Events {
    fn report(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    fn states(&self, layer: usize) -> Vec<LayerState> {
        let events = self.0.lock().unwrap();
        let states = events.iter().filter_map(|event| match event {
            Event::Layer { index, state } if *index == layer => Some(state.clone()),
            _ => None,
        });
        states.collect()
    }
}

async fn pull(store: &Store, reference: &str, options: &PullOptions) -> Result<Pulled, Error> {
    let reference: Reference = reference.parse().unwrap();
    let progress = Arc::new(Events::default());
    store.pull(&reference, options, progress).await
}

fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn an_image_comes_with_all_kinds_of_layers() {
    let server = Server::start();
    let sample = sample();
    server.put("app", "1", &sample);
    let (dir, store) = store();
    let name = format!("{}/app:1", server.host());
    let progress = Arc::new(Events::default());
    let reference: Reference = name.parse().unwrap();
    let pulled = store
        .pull(&reference, &options(), progress.clone())
        .await
        .unwrap();
    assert_eq!(pulled.id, sample.id());
    assert_eq!(pulled.digest, Digest::of(&sample.manifest));
    assert!(pulled.is_new);
    assert_eq!(store.image(&name).unwrap().parts().len(), 4);
    let states = progress.states(0);
    assert_eq!(states.last(), Some(&LayerState::Done));
    assert!(states.contains(&LayerState::Unpacking));
    let left = contents(dir.path());
    let junk = |file: &&String| file.starts_with("tmp/") || file.starts_with("downloads/");
    assert_eq!(left.iter().find(junk), None);
    let details = store.inspect(&name).unwrap();
    let digest = details.summary.digests[0].to_string();
    assert_eq!(digest, format!("{}/app@{}", server.host(), pulled.digest));
    assert_eq!(store.resolve(&digest).unwrap(), sample.id());
}

#[tokio::test]
async fn what_is_there_is_not_fetched_again() {
    let server = Server::start();
    let base = layer(&[("base", &noise(50_000, 1))], Pack::Gzip);
    let first = image(std::slice::from_ref(&base), "first");
    let own = layer(&[("own", b"own")], Pack::Gzip);
    let second = image(&[base.clone(), own], "second");
    server.put("one", "latest", &first);
    server.put("two", "latest", &second);
    let (_dir, store) = store();
    let one = format!("{}/one", server.host());
    pull(&store, &one, &options()).await.unwrap();
    pull(&store, &format!("{}/two", server.host()), &options())
        .await
        .unwrap();
    let base = Digest::of(&base.blob).to_string();
    assert_eq!(server.count(&base), 1);
    assert_eq!(
        server.count("/v2/two/blobs/"),
        2,
        "its configuration and its own layer"
    );
    let again = pull(&store, &one, &options()).await.unwrap();
    assert!(!again.is_new);
    assert_eq!(
        server.count("/v2/one/blobs/"),
        2,
        "nothing but the manifest"
    );
}

#[tokio::test]
async fn a_list_is_searched_for_the_platform() {
    let server = Server::start();
    let base = layer(&[("base", b"base")], Pack::Gzip);
    let amd = crate::testing::image_for("amd64", std::slice::from_ref(&base), "amd");
    let arm = crate::testing::image_for("arm64", &[base], "arm");
    server.put("app", "amd", &amd);
    server.put("app", "arm", &arm);
    let entry = |image: &ImageFixture, architecture: &str| {
        let kind = crate::manifest::OCI_MANIFEST;
        let mut entry = crate::testing::descriptor(kind, &image.manifest);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        entry
    };
    let kind = "application/vnd.docker.distribution.manifest.list.v2+json";
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": kind,
        "manifests": [entry(&arm, "arm64"), entry(&amd, "amd64")]});
    let list = list.to_string().into_bytes();
    server.put_manifest("app", "all", kind, &list);
    let (_dir, store) = store();
    let name = |tag: &str| format!("{}/app:{tag}", server.host());
    let pulled = pull(&store, &name("all"), &options()).await.unwrap();
    assert_eq!(pulled.id, amd.id());
    assert_eq!(pulled.digest, Digest::of(&list));
    let mut for_arm = options();
    for_arm.platform = Some("linux/arm64".parse().unwrap());
    assert_eq!(
        pull(&store, &name("all"), &for_arm).await.unwrap().id,
        arm.id()
    );
    for_arm.platform = Some("linux/riscv64".parse::<Platform>().unwrap());
    let error = pull(&store, &name("all"), &for_arm).await.unwrap_err();
    assert!(
        error.to_string().contains("linux/arm64, linux/amd64"),
        "{error}"
    );
    let error = pull(&store, &name("arm"), &options()).await.unwrap_err();
    assert!(
        error.to_string().contains("--platform linux/arm64"),
        "{error}"
    );
    // By the digest of the list, which the manifest must not be confused with.
    let by_digest = format!("{}/app@{}", server.host(), Digest::of(&list));
    assert_eq!(
        pull(&store, &by_digest, &options()).await.unwrap().id,
        amd.id()
    );
}

#[tokio::test]
async fn an_interrupted_download_goes_on_where_it_stopped() {
    let sample = sample();
    let big = sample.layers[0].blob.clone();
    let digest = Digest::of(&big).to_string();
    let cut = big.len() / 2;
    let path = digest.clone();
    let half = big[..cut].to_vec();
    let server = Server::with(move |request, before| {
        (request.path.ends_with(&path) && before == 0).then(|| Answer {
            announced: Some(big.len()),
            ..Answer::new(200, &half)
        })
    });
    server.put("app", "latest", &sample);
    let (_dir, store) = store();
    pull(&store, &format!("{}/app", server.host()), &options())
        .await
        .unwrap();
    let seen = server.seen();
    let ranges: Vec<_> = seen
        .iter()
        .filter(|request| request.path.ends_with(&digest))
        .map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges, [None, Some(format!("bytes={cut}-").as_str())]);
}

#[tokio::test]
async fn a_later_pull_takes_up_what_an_earlier_one_left() {
    let sample = sample();
    let big = sample.layers[0].blob.clone();
    let digest = Digest::of(&big).to_string();
    let cut = big.len() / 3;
    let (path, half) = (digest.clone(), big[..cut].to_vec());
    let length = big.len();
    let server = Server::with(move |request, before| {
        // The first pull gets a third and is then refused for good.
        (request.path.ends_with(&path) && before < 2).then(|| match before {
            0 => Answer {
                announced: Some(length),
                ..Answer::new(200, &half)
            },
            _ => Answer::new(403, b""),
        })
    });
    server.put("app", "latest", &sample);
    let (dir, store) = store();
    let name = format!("{}/app", server.host());
    let error = pull(&store, &name, &options()).await.unwrap_err();
    assert!(
        matches!(error, Error::Registry(registry::Error::Denied { .. })),
        "{error}"
    );
    assert!(store.image(&name).is_err());
    let part = format!("downloads/{}.part", Digest::of(&big).hex());
    assert!(contents(dir.path()).contains(&part));
    pull(&store, &name, &options()).await.unwrap();
    let seen = server.seen();
    let last = seen.iter().rfind(|request| request.path.ends_with(&digest));
    let range = format!("bytes={cut}-");
    assert_eq!(last.unwrap().header("range"), Some(range.as_str()));
    assert!(!contents(dir.path()).contains(&part));
}

#[tokio::test]
async fn a_spoilt_partial_file_costs_one_more_download() {
    let server = Server::start();
    let sample = sample();
    server.put("app", "latest", &sample);
    let (dir, store) = store();
    let big = &sample.layers[0].blob;
    let digest = Digest::of(big);
    let part = dir.path().join(format!("downloads/{}.part", digest.hex()));
    std::fs::write(&part, noise(10_000, 3)).unwrap();
    let name = format!("{}/app", server.host());
    pull(&store, &name, &options()).await.unwrap();
    assert_eq!(server.count(&digest.to_string()), 2);
    assert!(store.image(&name).is_ok());
    // One that is longer than the layer is no use either.
    store.remove(&name, false, &[]).unwrap();
    std::fs::write(&part, noise(big.len() + 1, 3)).unwrap();
    pull(&store, &name, &options()).await.unwrap();
    assert_eq!(server.count(&digest.to_string()), 3);
}

#[tokio::test]
async fn a_registry_without_ranges_starts_over() {
    let sample = sample();
    let big = sample.layers[0].blob.clone();
    let digest = Digest::of(&big).to_string();
    let path = digest.clone();
    let server = Server::with(move |request, before| {
        request.path.ends_with(&path).then(|| match before {
            0 => Answer {
                announced: Some(big.len()),
                ..Answer::new(200, &big[..1000])
            },
            _ => Answer::new(200, &big),
        })
    });
    server.put("app", "latest", &sample);
    let (_dir, store) = store();
    pull(&store, &format!("{}/app", server.host()), &options())
        .await
        .unwrap();
    assert_eq!(server.count(&digest), 2);
}

#[tokio::test]
async fn passing_failures_are_waited_out() {
    let server = Server::with(|request, before| match before {
        0 if request.path.contains("manifests") => {
            Some(Answer::new(429, b"").with("retry-after", "0"))
        }
        1 if request.path.contains("manifests") => Some(Answer::new(503, b"")),
        0 if request.path.contains("blobs") => Some(Answer::new(502, b"")),
        _ => None,
    });
    server.put("app", "latest", &sample());
    let (_dir, store) = store();
    let progress = Arc::new(Events::default());
    let reference: Reference = format!("{}/app", server.host()).parse().unwrap();
    store
        .pull(&reference, &options(), progress.clone())
        .await
        .unwrap();
    assert_eq!(server.count("/manifests/"), 3);
    let states = progress.states(0);
    let retrying = |state: &LayerState| matches!(state, LayerState::Retrying { why, .. } if why.contains("502"));
    assert!(states.iter().any(retrying), "{states:?}");
}

#[tokio::test]
async fn lasting_failures_end_the_pull_with_their_reason() {
    for (status, body, words) in [
        (
            503,
            &b"{\"errors\": [{\"message\": \"out of order\"}]}"[..],
            "503 Service Unavailable (out of order)",
        ),
        (429, b"", "limits the rate"),
        (
            403,
            br#"{"errors": [{"message": "not yours"}]}"#,
            "refuses access to manifest latest of app: not yours",
        ),
        (404, b"", "has no manifest latest of app"),
        (418, b"", "418"),
    ] {
        let body = body.to_vec();
        let server = Server::with(move |request, _| {
            request
                .path
                .contains("manifests")
                .then(|| Answer::new(status, &body))
        });
        let (dir, store) = store();
        let error = pull(&store, &format!("{}/app", server.host()), &options()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(contents(dir.path()), [""; 0]);
        let expected = if status == 503 || status == 429 { 4 } else { 1 };
        assert_eq!(server.count("manifests"), expected, "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named() {
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (_dir, store) = store();
    let error = pull(&store, &format!("{free}/app"), &options())
        .await
        .unwrap_err();
    let error = sentence(&error);
    assert!(
        error.contains(&format!("registry {free} cannot be reached")),
        "{error}"
    );
    assert!(error.contains("refused"), "{error}");
}
