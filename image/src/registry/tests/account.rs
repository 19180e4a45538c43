//! Logging in, searching, asking for an image, fetching a file.

use std::io::Read as _;
use std::time::Duration;

use super::super::{Config, Credentials, Search, login, registry_of, remote, search};
use crate::testing::debian::Registry;
use crate::testing::server::{Answer, Server};
use crate::testing::{Pack, image, layer};
use crate::{distribution, docker};

fn password(password: &str) -> Credentials {
    Credentials::Password {
        user: "hull".to_owned(),
        password: password.to_owned(),
    }
}

fn config() -> Config {
    Config {
        stall: Duration::from_secs(60),
        ..Config::default()
    }
}

#[tokio::test]
async fn docker_registry_says_who_may_come_in() {
    let Some(registry) = Registry::start(true) else {
        return;
    };
    let address = format!("http://{}/v1/", registry.host());
    let good = login(&address, password("secret"), &config())
        .await
        .unwrap();
    assert_eq!(good.identity_token, None);
    let error = login(&registry.host(), password("wrong"), &config()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("refuses access"), "{error}");
}

#[tokio::test]
async fn a_token_server_may_give_something_in_place_of_the_password() {
    let server = Server::with(|request, _| {
        if request.path.starts_with("/token") {
            assert!(request.path.contains("offline_token=true"));
            let answer = br#"{"token": "short", "refresh_token": "long"}"#;
            let right = request.header("authorization") == Some("Basic aHVsbDpzZWNyZXQ=");
            return Some(Answer::new(if right { 200 } else { 401 }, answer));
        }
        if request.header("authorization") == Some("Bearer short") {
            return None;
        }
        let host = request.header("host").unwrap();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
        Some(Answer::new(401, b"").with("www-authenticate", &challenge))
    });
    let good = login(&server.host(), password("secret"), &config()).await;
    assert_eq!(good.unwrap().identity_token.as_deref(), Some("long"));
    assert!(
        login(&server.host(), password("wrong"), &config())
            .await
            .is_err()
    );
}

#[test]
fn addresses_of_registries_have_many_forms() {
    for (address, registry) in [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("http://localhost:5000", "localhost:5000"),
        ("example.org/v2/", "example.org"),
    ] {
        assert_eq!(registry_of(address), registry, "{address}");
    }
}

#[test]
fn headers_say_who_someone_is() {
    // {"username":"hull","password":"secret"}
    let header = "eyJ1c2VybmFtZSI6Imh1bGwiLCJwYXNzd29yZCI6InNlY3JldCJ9";
    assert_eq!(Credentials::from_header(header), Some(password("secret")));
    let auth = Credentials::from_json(br#"{"auth": "aHVsbDpzZWNyZXQ="}"#);
    assert_eq!(auth, Some(password("secret")));
    let token = Credentials::from_json(br#"{"username": "x", "identitytoken": "t"}"#);
    assert_eq!(token, Some(Credentials::IdentityToken("t".to_owned())));
    for nothing in ["", "e30=", "e30", "%%%", "bnVsbA=="] {
        assert_eq!(Credentials::from_header(nothing), None, "{nothing}");
    }
}

#[tokio::test]
async fn a_search_finds_what_fits() {
    let server = Server::with(|request, _| {
        let results = br#"{"num_results": 3, "results": [
            {"name": "a", "description": "one\u001b[2J", "star_count": 5, "is_official": true},
            {"name": "b", "star_count": 1},
            {"name": "c", "star_count": 9}]}"#;
        request
            .path
            .starts_with("/v1/search?q=web&n=2")
            .then(|| Answer::new(200, results))
    });
    let term = format!("{}/web", server.host());
    let ask = Search {
        term: term.clone(),
        limit: Some(2),
        stars: 2,
        ..Search::default()
    };
    let found = search(&ask, &config()).await.unwrap();
    let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(found[0].description, "one[2J");
    let ask = Search {
        official: Some(true),
        ..ask
    };
    assert_eq!(search(&ask, &config()).await.unwrap().len(), 1);
    let other = Search {
        term: term.replace("web", "none"),
        ..Search::default()
    };
    let error = search(&other, &config()).await.unwrap_err().to_string();
    assert!(error.contains("cannot be searched"), "{error}");
    let ask = Search {
        term,
        limit: Some(101),
        ..Search::default()
    };
    let error = search(&ask, &config()).await.unwrap_err().to_string();
    assert!(error.contains("outside the range of [1, 100]"), "{error}");
}

#[tokio::test]
async fn a_registry_tells_of_an_image_without_it_being_fetched() {
    let server = Server::start();
    let sample = image(&[layer(&[("x", b"x")], Pack::Gzip)], "sample");
    server.put("app", "1", &sample);
    let list = br#"{"schemaVersion": 2, "manifests": [
        {"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "size": 1,
         "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
        {"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "size": 1,
         "platform": {"os": "unknown", "architecture": "unknown"}}]}"#;
    let kind = "application/vnd.docker.distribution.manifest.list.v2+json";
    server.put_manifest("app", "many", kind, list);
    let ask = async |tag: &str| {
        let reference = format!("{}/app:{tag}", server.host()).parse().unwrap();
        distribution(&reference, &config()).await
    };
    let one = docker::distribution(&ask("1").await.unwrap());
    assert_eq!(one["Platforms"][0]["architecture"], "amd64");
    let kind = &one["Descriptor"]["mediaType"];
    assert_eq!(kind, "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(
        server.count(&crate::Digest::of(&sample.layers[0].blob).to_string()),
        0
    );
    let many = docker::distribution(&ask("many").await.unwrap());
    assert_eq!(many["Platforms"].as_array().unwrap().len(), 1);
    assert_eq!(many["Platforms"][0]["variant"], "v7");
    assert_eq!(many["Descriptor"]["size"], list.len());
    assert!(ask("none").await.is_err());
}

#[tokio::test]
async fn a_file_is_fetched_from_an_address() {
    let server = Server::with(|request, _| {
        (request.path == "/file").then(|| Answer::new(200, &[7; 300_000]))
    });
    let address = format!("http://{}/file", server.host());
    let mut file = remote(&address, &config()).await.unwrap();
    assert_eq!(file.length, Some(300_000));
    let bytes = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    });
    assert!(bytes.await.unwrap().unwrap() == [7; 300_000]);
    let error = remote(&format!("{address}/none"), &config()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("it answered 404"), "{error}");
    assert!(remote("file:///etc/passwd", &config()).await.is_err());
}
