//! Registries that lie, stall or flood.

use super::*;

/// Pulls from a registry whose answers `hook` replaces; the error, after checking that no image and no temporary file is
/// left.
async fn refused(
    options: &PullOptions,
    sample: &ImageFixture,
    hook: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static,
) -> String {
    let server = Server::with(move |request, before| hook(&request.path, before));
    server.put("app", "latest", sample);
    let (dir, store) = store();
    let error = pull(&store, &format!("{}/app", server.host()), options).await;
    let error = sentence(&error.unwrap_err());
    assert_eq!(store.list().unwrap().len(), 0);
    // Its threads let go of what they had as soon as they see the end.
    let quiet = async {
        while contents(dir.path())
            .iter()
            .any(|file| file.starts_with("tmp/"))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), quiet)
        .await
        .unwrap();
    error
}

fn blob(sample: &ImageFixture, layer: usize) -> String {
    Digest::of(&sample.layers[layer].blob).to_string()
}

#[tokio::test]
async fn a_layer_with_other_content_is_refused() {
    let sample = sample();
    let (path, mut bytes) = (blob(&sample, 0), sample.layers[0].blob.clone());
    bytes[BIG / 2] ^= 1;
    let error = refused(&options(), &sample, move |request, _| {
        request.ends_with(&path).then(|| Answer::new(200, &bytes))
    })
    .await;
    assert!(error.contains("digest"), "{error}");
}

#[tokio::test]
async fn a_layer_whose_content_is_not_the_configurations_is_refused() {
    let mut sample = sample();
    let other = layer(&[("other", b"other")], Pack::Gzip);
    sample.layers[1] = other;
    sample.manifest = crate::testing::manifest_of(
        &sample.config,
        &sample.layers,
        crate::manifest::OCI_MANIFEST,
    );
    let error = refused(&options(), &sample, |_, _| None).await;
    assert!(
        error.contains("the content of a layer has the digest"),
        "{error}"
    );
}

#[tokio::test]
async fn more_bytes_than_announced_in_the_manifest_are_cut_off() {
    let sample = sample();
    let (path, bytes) = (blob(&sample, 0), sample.layers[0].blob.clone());
    let lengthened = [bytes.as_slice(), &[0; 100]].concat();
    let answer = Answer::new(200, &lengthened);
    let by_header = {
        let path = path.clone();
        let answer = answer.clone();
        refused(&options(), &sample, move |request, _| {
            request.ends_with(&path).then(|| answer.clone())
        })
        .await
    };
    assert!(by_header.contains("bytes instead of"), "{by_header}");
    // Without a length the connection just goes on.
    let error = refused(&options(), &sample, move |request, _| {
        let endless = answer.clone().with("transfer-encoding", "chunked");
        let mut body = format!("{:x}\r\n", lengthened.len()).into_bytes();
        body.extend(&lengthened);
        body.extend(b"\r\n0\r\n\r\n");
        request
            .ends_with(&path)
            .then_some(Answer { body, ..endless })
    })
    .await;
    assert!(error.contains("sent more than"), "{error}");
}

#[tokio::test]
async fn fewer_bytes_than_announced_in_the_manifest_are_refused() {
    let sample = sample();
    let (path, bytes) = (blob(&sample, 0), sample.layers[0].blob.clone());
    let error = refused(&options(), &sample, move |request, _| {
        let short = &bytes[..1000];
        request.ends_with(&path).then(|| Answer::new(200, short))
    })
    .await;
    assert!(
        error.contains("1000 bytes instead of") || error.contains("has 1000 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_always_breaks_is_given_up() {
    let sample = sample();
    let path = blob(&sample, 0);
    let length = sample.layers[0].blob.len();
    let error = refused(&options(), &sample, move |request, _| {
        request.ends_with(&path).then(|| Answer {
            announced: Some(length),
            ..Answer::new(200, b"")
        })
    })
    .await;
    assert!(error.contains("broke"), "{error}");
}

#[tokio::test]
async fn silence_ends_the_pull_at_every_stage() {
    let sample = sample();
    let layer = blob(&sample, 0);
    let config = sample.id().to_string();
    for stage in [
        "/v2/",
        "/v2/app/manifests/latest",
        config.as_str(),
        layer.as_str(),
    ] {
        let path = stage.to_owned();
        let error = refused(&impatient(), &sample, move |request, _| {
            let silent = Answer {
                silent: true,
                ..Answer::default()
            };
            request.ends_with(&path).then_some(silent)
        })
        .await;
        assert!(
            error.contains("stalled: it sent nothing for 0.3 seconds"),
            "{stage}: {error}"
        );
    }
}

#[tokio::test]
async fn a_download_that_stalls_twice_is_given_up() {
    let sample = sample();
    let path = blob(&sample, 0);
    let bytes = sample.layers[0].blob.clone();
    let stall = move |request: &str, before: usize| {
        let start = before * 1000;
        let part = &bytes[start..start + 1000];
        let status = if before == 0 { 200 } else { 206 };
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        let answer = Answer {
            announced: Some(bytes.len() - start),
            stall: true,
            ..Answer::new(status, part).with("content-range", &range)
        };
        request.ends_with(&path).then_some(answer)
    };
    let error = refused(&impatient(), &sample, stall).await;
    assert!(error.contains("stalled"), "{error}");
}

#[tokio::test]
async fn floods_of_metadata_are_cut_off() {
    let sample = sample();
    let flood = vec![b' '; (4 << 20) + 1];
    let error = refused(&options(), &sample, move |request, _| {
        request
            .contains("/manifests/")
            .then(|| Answer::new(200, &flood))
    })
    .await;
    assert!(
        error.contains("more than 4194304 bytes of manifest"),
        "{error}"
    );
    let config = sample.id().to_string();
    let error = refused(&options(), &sample, move |request, _| {
        request
            .ends_with(&config)
            .then(|| Answer::new(200, &[b' '; 100_000]))
    })
    .await;
    assert!(error.contains("sent more than"), "{error}");
}

#[tokio::test]
async fn a_manifest_that_is_not_what_was_asked_for_is_refused() {
    let sample = sample();
    let other = image(&[layer(&[("x", b"x")], Pack::Plain)], "other").manifest;
    let server = Server::with(move |request, _| {
        request
            .path
            .contains("/manifests/")
            .then(|| Answer::new(200, &other))
    });
    let (_dir, store) = store();
    let name = format!("{}/app@{}", server.host(), Digest::of(&sample.manifest));
    let error = pull(&store, &name, &options())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("digest"), "{error}");
    // A registry that contradicts itself.
    let claimed = Digest::of(b"something else").to_string();
    let manifest = sample.manifest.clone();
    let error = refused(&options(), &sample, move |request, _| {
        let answer = Answer::new(200, &manifest).with("docker-content-digest", &claimed);
        request.contains("/manifests/").then_some(answer)
    })
    .await;
    assert!(error.contains("announced"), "{error}");
}

#[tokio::test]
async fn circles_of_lists_and_of_redirections_end() {
    let sample = sample();
    let server = Server::start();
    let mut inner = crate::testing::descriptor(crate::manifest::OCI_MANIFEST, &sample.manifest);
    for depth in 0..5 {
        let kind = crate::manifest::OCI_INDEX;
        let list = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [inner]});
        let list = list.to_string().into_bytes();
        server.put_manifest("app", &format!("list{depth}"), kind, &list);
        inner = crate::testing::descriptor(kind, &list);
    }
    server.put("app", "latest", &sample);
    let (_dir, store) = store();
    let name = |tag: &str| format!("{}/app:{tag}", server.host());
    pull(&store, &name("list1"), &options()).await.unwrap();
    let error = pull(&store, &name("list4"), &options()).await.unwrap_err();
    assert!(matches!(error, Error::Nested), "{error}");
    let error = refused(&options(), &sample, |request, _| {
        let to_itself = Answer::new(307, b"").with("location", request);
        request.contains("/manifests/").then_some(to_itself)
    })
    .await;
    assert!(error.contains("redirection"), "{error}");
}

#[tokio::test]
async fn a_compressed_layer_that_is_none_is_refused() {
    let mut broken = layer(&[("x", b"x")], Pack::Gzip);
    broken.blob.truncate(broken.blob.len() - 9);
    let sample = image(&[broken], "broken");
    let error = refused(&options(), &sample, |_, _| None).await;
    assert!(error.contains("cannot be unpacked"), "{error}");
}
