//! Several at once, and those that are called off.

use super::*;
use crate::progress::Silent;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_at_the_same_time_share_the_work() {
    let server = Server::start();
    let base = layer(&[("big", &noise(BIG, 9))], Pack::Gzip);
    let digest = Digest::of(&base.blob).to_string();
    let one = image(std::slice::from_ref(&base), "one");
    let two = image(&[base, layer(&[("own", b"own")], Pack::Gzip)], "two");
    server.put("one", "latest", &one);
    server.put("two", "latest", &two);
    let (dir, _) = store();
    // Stores that were opened apart behave like processes: locks belong to open files.
    let pulls = ["one", "two", "one", "two", "two"].map(|name| {
        let store = Store::open(dir.path()).unwrap();
        let reference: Reference = format!("{}/{name}", server.host()).parse().unwrap();
        tokio::spawn(async move { store.pull(&reference, &options(), Arc::new(Silent)).await })
    });
    for pull in pulls {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(server.count(&digest), 1);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_called_off_leaves_only_what_can_be_resumed() {
    let sample = sample();
    let bytes = sample.layers[0].blob.clone();
    let digest = Digest::of(&bytes).to_string();
    let path = digest.clone();
    let server = Server::with(move |request, before| {
        (request.path.ends_with(&path) && before == 0).then(|| Answer {
            announced: Some(bytes.len()),
            stall: true,
            ..Answer::new(200, &bytes[..100_000])
        })
    });
    server.put("app", "latest", &sample);
    let (dir, store) = store();
    let name = format!("{}/app", server.host());
    let part = dir
        .path()
        .join(format!("downloads/{}.part", &digest["sha256:".len()..]));
    let arrived = async {
        while std::fs::metadata(&part).map_or(0, |meta| meta.len()) < 100_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let options = options();
    tokio::select! {
        result = pull(&store, &name, &options) => panic!("it ended: {result:?}"),
        () = arrived => (),
    }
    pull(&store, &name, &options).await.unwrap();
    let seen = server.seen();
    let last = seen.iter().rfind(|request| request.path.ends_with(&digest));
    assert_eq!(last.unwrap().header("range"), Some("bytes=100000-"));
    let left = contents(dir.path());
    let junk = |file: &&String| file.starts_with("tmp/") || file.starts_with("downloads/");
    assert_eq!(left.iter().find(junk), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_collection_leaves_running_pulls_alone() {
    let sample = sample();
    let (bytes, small) = (sample.layers[0].blob.clone(), sample.layers[1].tar.clone());
    let path = Digest::of(&bytes).to_string();
    let server = Server::with(move |request, before| {
        (request.path.ends_with(&path) && before == 0).then(|| Answer {
            announced: Some(bytes.len()),
            ..Answer::new(200, &bytes[..100_000])
        })
    });
    server.put("app", "latest", &sample);
    let (dir, store) = store();
    let name = format!("{}/app", server.host());
    let index = dir
        .path()
        .join(format!("layers/{}.index", Digest::of(&small).hex()));
    let mut slow = options();
    slow.registries.retry.base = Duration::from_millis(200);
    slow.registries.retry.limit = Duration::from_millis(200);
    let pulling = pull(&store, &name, &slow);
    let collecting = async {
        while !index.is_file() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // The small layer is complete, but no image has it yet.
        let all = crate::store::Prune {
            all: true,
            ..crate::store::Prune::default()
        };
        store.prune(&all).unwrap();
        assert!(index.is_file());
    };
    let (pulled, ()) = tokio::join!(pulling, collecting);
    pulled.unwrap();
    assert!(store.image(&name).is_ok());
}
