//! Images that come from archives.

use axum::http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::Server;
use crate::spec;

#[tokio::test]
async fn an_image_has_many_names_with_slashes() {
    let server = Server::start().await;
    let id = server.load("registry.example:5000/team/app:1").await;
    for name in ["registry.example:5000/team/app:1", &id, &id[7..19]] {
        let answer = server.get(&format!("/v1.41/images/{name}/json")).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        let seen = answer.json();
        spec::check("GET", "/images/{name}/json", 200, &seen);
        assert_eq!(seen["Id"], id);
        assert_eq!(
            seen["RepoTags"],
            json!(["registry.example:5000/team/app:1"])
        );
        assert_eq!(seen["Created"], "2024-05-06T07:08:09Z");
        assert_eq!(seen["Author"], "somebody");
        assert_eq!(seen["Architecture"], "amd64");
        assert_eq!(seen["Config"]["Cmd"], json!(["serve", "all of it"]));
        assert_eq!(seen["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    }
    let tagged = server
        .ask(
            Method::POST,
            &format!("/images/{id}/tag?repo=deep/er/app&tag=v2"),
        )
        .await;
    assert_eq!(tagged.status, StatusCode::CREATED, "{tagged:?}");
    assert_eq!(
        server.get("/images/deep/er/app:v2/json").await.json()["Id"],
        id
    );
    let removed = server.ask(Method::DELETE, "/images/deep/er/app:v2").await;
    assert_eq!(removed.json(), json!([{ "Untagged": "deep/er/app:v2" }]));
    let removed = server
        .ask(Method::DELETE, "/images/registry.example:5000/team/app:1")
        .await;
    spec::check("DELETE", "/images/{name}", 200, &removed.json());
    assert_eq!(
        removed.json(),
        json!([{ "Untagged": "registry.example:5000/team/app:1" }, { "Deleted": id }])
    );
    server.stop().await;
}

#[tokio::test]
async fn errors_of_images_have_their_statuses() {
    let server = Server::start().await;
    server.load("app:1").await;
    let container = server.create("user", &json!({})).await;
    for (method, path, status, words) in [
        (
            Method::GET,
            "/images/no/such/json",
            404,
            "No such image: no/such",
        ),
        (
            Method::DELETE,
            "/images/nothing",
            404,
            "No such image: nothing",
        ),
        (
            Method::POST,
            "/images/app:1/tag?repo=UPPER",
            400,
            "invalid reference format",
        ),
        (
            Method::POST,
            "/images/app:1/tag",
            400,
            "the parameter repo is missing",
        ),
        (Method::DELETE, "/images/app:1", 409, &container[..12]),
        (
            Method::POST,
            "/images/create",
            400,
            "the parameter fromImage is missing",
        ),
        (
            Method::POST,
            "/images/create?fromImage=UPPER&tag=x",
            400,
            "invalid reference format",
        ),
        (
            Method::POST,
            "/images/create?fromImage=app",
            400,
            "pulling all tags of app",
        ),
        (
            Method::POST,
            "/images/create?fromSrc=-&changes=RUN+x",
            400,
            "RUN is not a valid change command",
        ),
        (
            Method::GET,
            "/images/nothing/history",
            404,
            "No such image: nothing",
        ),
        (
            Method::GET,
            "/images/get?names=app:1&names=nothing",
            404,
            "No such image: nothing",
        ),
        (
            Method::GET,
            "/images/app:1/get?platform=linux/s390x",
            404,
            "is for linux/amd64, not for linux/s390x",
        ),
        (
            Method::POST,
            "/images/nothing/push?tag=1",
            404,
            "An image does not exist locally with the tag: nothing:1",
        ),
        (
            Method::GET,
            "/images/search",
            400,
            "the parameter term is missing",
        ),
        (
            Method::GET,
            "/images/search?term=x&limit=500",
            400,
            "limit 500 is outside the range",
        ),
        (Method::POST, "/auth", 400, "no credentials"),
    ] {
        let answer = server.ask(method.clone(), path).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path}: {answer:?}"
        );
        assert!(
            answer.message().contains(words),
            "{method} {path}: {}",
            answer.message()
        );
    }
    // What fails before the first line is a status.
    let registry = deaf_registry().await;
    let answer = server
        .ask(
            Method::POST,
            &format!("/images/create?fromImage={registry}/app&tag=1"),
        )
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    assert!(
        answer
            .message()
            .starts_with(&format!("manifest for {registry}/app:1 not found")),
        "{answer:?}"
    );
    let request = Request::post("/images/load")
        .header("Host", "docker")
        .body(Full::from("nonsense"));
    let answer = server.send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    server.stop().await;
}

#[tokio::test]
async fn lists_of_images_are_filtered() {
    let server = Server::start().await;
    server.load("app:1").await;
    server.load("team/other:2").await;
    let list = async |filters: Value| -> Vec<String> {
        let filters: String =
            form_urlencoded::byte_serialize(filters.to_string().as_bytes()).collect();
        let answer = server
            .get(&format!("/images/json?shared-size=1&filters={filters}"))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        spec::check("GET", "/images/json", 200, &answer.json());
        let list = answer.json();
        let names = list
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["RepoTags"][0].as_str().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(list(json!({})).await, ["app:1", "team/other:2"]);
    assert_eq!(list(json!({ "reference": ["app"] })).await, ["app:1"]);
    assert_eq!(
        list(json!({ "reference": ["*/*:2", "nothing"] })).await,
        ["team/other:2"]
    );
    assert_eq!(list(json!({ "label": ["from=image"] })).await.len(), 2);
    assert!(list(json!({ "label": ["from=else"] })).await.is_empty());
    assert!(list(json!({ "dangling": ["true"] })).await.is_empty());
    assert_eq!(
        list(json!({ "dangling": { "false": true } })).await.len(),
        2
    );
    assert!(list(json!({ "until": ["2020-01-01"] })).await.is_empty());
    assert!(list(json!({ "since": ["app:1"] })).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn images_that_nobody_needs_are_pruned() {
    let server = Server::start().await;
    server.load("app:1").await;
    let other = server.load("other:2").await;
    server.create("user", &json!({})).await;
    // Both have names.
    let none = server.ask(Method::POST, "/images/prune").await;
    assert_eq!(none.json()["ImagesDeleted"], Value::Null);
    let filters: String =
        form_urlencoded::byte_serialize(br#"{"dangling":{"false":true}}"#).collect();
    let pruned = server
        .ask(Method::POST, &format!("/images/prune?filters={filters}"))
        .await;
    spec::check("POST", "/images/prune", 200, &pruned.json());
    assert_eq!(
        pruned.json()["ImagesDeleted"],
        json!([{ "Untagged": "other:2" }, { "Deleted": other }])
    );
    assert_eq!(
        server
            .get("/images/json")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.stop().await;
}

/// A registry that has nothing; where it is.
async fn deaf_registry() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer =
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

/// A build's context with this Dockerfile.
fn context(dockerfile: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", dockerfile), ("dir/file", "content\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn what_runs_nothing_is_built_without_a_microvm_and_found_again() {
    let server = Server::start().await;
    let build = async |query: &str, dockerfile: &str| {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/build?{query}"))
            .body(Full::from(context(dockerfile)))
            .unwrap();
        server.send(request).await
    };
    let dockerfile = "ARG PLACE=/a\nFROM scratch AS first\nCOPY dir /from\nFROM scratch\nARG PLACE\nARG WHO=none\n\
        MAINTAINER me\nWORKDIR /work/here\nCOPY --from=first /from/file ${PLACE}/\nADD dir/file .\nCMD [\"run\"]\nENV WHO=$WHO\n";
    let query =
        "t=app:1&buildargs=%7B%22WHO%22%3A%22you%22%7D&labels=%7B%22say%22%3A%22it's%20%24so%22%7D";
    let answer = build(query, dockerfile).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let text = |answer: &crate::harness::Answer| -> String {
        let lines = answer.lines();
        lines
            .iter()
            .filter_map(|line| line["stream"].as_str())
            .collect()
    };
    let said = text(&answer);
    assert!(
        said.starts_with("Step 1/13 : ARG PLACE=/a\nStep 2/13 : FROM scratch AS first\n"),
        "{said}"
    );
    assert!(
        said.contains("Successfully tagged app:1\n") && !said.contains("Using cache"),
        "{said}"
    );
    let image = server.get("/images/app:1/json").await.json();
    assert_eq!(image["Config"]["Cmd"], json!(["run"]));
    assert_eq!(image["Config"]["Env"], json!(["WHO=you"]));
    assert_eq!(image["Config"]["WorkingDir"], "/work/here");
    assert_eq!(image["Config"]["Labels"], json!({ "say": "it's $so" }));
    assert_eq!(image["Author"], "me");
    let id = image["Id"].as_str().unwrap().to_owned();
    let aux: Vec<_> = answer
        .lines()
        .into_iter()
        .filter(|line| line.get("aux").is_some())
        .collect();
    assert_eq!(aux.last().unwrap()["aux"]["ID"], id.as_str());
    // As with Docker, what a stage has made is there, too, and without a name.
    let listed = server.get("/images/json").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let history = server.get("/images/app:1/history").await.json();
    spec::check("GET", "/images/{name}/history", 200, &history);

    let again = build(query, dockerfile).await;
    let said = text(&again);
    assert_eq!(said.matches("Using cache").count(), 8, "{said}");
    assert_eq!(
        server.get("/images/app:1/json").await.json()["Id"],
        id.as_str()
    );
    let quiet = build(&format!("{query}&q=1&nocache=1"), dockerfile).await;
    assert!(text(&quiet).starts_with("sha256:"), "{quiet:?}");

    for (query, dockerfile, words) in [
        (
            "",
            "FROM scratch\nNOTHING x\n",
            "unknown instruction: NOTHING",
        ),
        ("", "  \n", "cannot be empty"),
        (
            "dockerfile=other",
            "",
            "Cannot locate specified Dockerfile: other",
        ),
        (
            "target=nobody",
            "FROM scratch\n",
            "target stage \"nobody\" could not be found",
        ),
    ] {
        let answer = build(query, dockerfile).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        assert!(answer.message().contains(words), "{}", answer.message());
    }
    let failing = build("", "FROM scratch\nCOPY missing /\n").await;
    assert_eq!(failing.status, StatusCode::OK);
    let last = failing.lines().pop().unwrap();
    assert!(
        last["error"]
            .as_str()
            .unwrap()
            .contains("COPY failed: file not found"),
        "{last}"
    );

    let pruned = server.ask(Method::POST, "/build/prune?all=1").await;
    spec::check("POST", "/build/prune", 200, &pruned.json());
    let said = text(&build(query, dockerfile).await);
    assert!(!said.contains("Using cache"), "{said}");
    server.stop().await;
}
