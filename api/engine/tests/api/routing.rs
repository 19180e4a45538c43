//! Paths, versions, and errors that every route has in common.

use axum::http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn every_answer_introduces_the_server() {
    let server = Server::start().await;
    for path in [
        "/_ping",
        "/v1.43/_ping",
        "/nowhere",
        "/v1.99/info",
        "/containers/none/json",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("api-version"), "1.51", "{path}");
        assert_eq!(answer.header("ostype"), "linux", "{path}");
        assert_eq!(answer.header("docker-experimental"), "true", "{path}");
        assert!(answer.header("server").starts_with("Hull/"), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn versions_out_of_range_are_refused() {
    let server = Server::start().await;
    let answer = server.get("/v1.52/info").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.message(),
        "client version 1.52 is too new. Maximum supported API version is 1.51"
    );
    let answer = server.get("/v1.23/info").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer
            .message()
            .starts_with("client version 1.23 is too old. Minimum supported API version is 1.24")
    );
    for path in ["/v1.24/version", "/v1.51/version", "/version"] {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_nowhere() {
    let server = Server::start().await;
    for (method, path) in [
        (Method::GET, "/nowhere"),
        (Method::GET, "/v1.43/nowhere"),
        (Method::GET, "/"),
        (Method::PUT, "/info"),
        (Method::POST, "/containers/json"),
        (Method::GET, "/images/a/b/nothing"),
        (Method::POST, "/images/a/b/nothing"),
    ] {
        let answer = server.ask(method.clone(), path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(answer.message(), "page not found");
    }
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused_in_words() {
    let server = Server::start().await;
    let send = async |kind: &str, body: &str| {
        let request = Request::post("/containers/create")
            .header("Host", "docker")
            .header("Content-Type", kind);
        let answer = server
            .send(request.body(Full::from(body.to_owned())).unwrap())
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:?}");
        answer.message()
    };
    assert!(
        send("application/json", "{")
            .await
            .starts_with("invalid JSON: ")
    );
    assert!(
        send("application/json", "[]")
            .await
            .contains("an object is expected")
    );
    assert!(
        send("application/json", "{} trailing")
            .await
            .starts_with("invalid JSON: ")
    );
    assert!(
        send("application/json", r#"{"Tty":"yes"}"#)
            .await
            .contains("expected a boolean")
    );
    assert!(
        send("text/plain", "{}")
            .await
            .contains("must be 'application/json'")
    );
    assert!(
        send("application/json", "")
            .await
            .contains("Image is missing")
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        send("application/json", &deep)
            .await
            .starts_with("invalid JSON: ")
    );
    let long = json!({ "Image": "x".repeat(4 << 20) }).to_string();
    assert!(send("application/json", &long).await.contains("more than"));
    server.stop().await;
}

#[tokio::test]
async fn filters_that_nobody_knows_are_refused() {
    let server = Server::start().await;
    for (path, filters, message) in [
        (
            "/containers/json",
            r#"{"foo":["x"]}"#,
            "invalid filter 'foo'",
        ),
        (
            "/images/json",
            r#"{"foo":{"x":true}}"#,
            "invalid filter 'foo'",
        ),
        ("/events", r#"{"foo":["x"]}"#, "invalid filter 'foo'"),
        (
            "/containers/json",
            r#"{"status":["asleep"]}"#,
            "invalid filter 'status=asleep'",
        ),
        (
            "/containers/json",
            r#"{"exited":["x"]}"#,
            "invalid filter 'exited=x'",
        ),
        (
            "/containers/json",
            r#"{"is-task":["x"]}"#,
            "invalid filter 'is-task=x'",
        ),
    ] {
        let query: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
        let answer = server.get(&format!("{path}?filters={query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {filters}");
        assert_eq!(answer.message(), message);
    }
    let answer = server.get("/containers/json?filters=nonsense").await;
    assert!(answer.message().starts_with("invalid filters"));
    server.stop().await;
}

#[tokio::test]
async fn every_route_of_hull_s_own_is_served() {
    let server = Server::start().await;
    let table = include_str!("../../HULL.md");
    let routes = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut count = 0;
    for route in routes.filter_map(|line| line.split('`').next()) {
        let (method, path) = route.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let path = path.split('?').next().unwrap();
        let path = path.replace("{id}", "none").replace("{name}", "none");
        let answer = server.ask(method, &path).await;
        let is_served = answer.status.is_success() || answer.message() != "page not found";
        assert!(is_served, "{route}: {answer:?}");
        count += 1;
    }
    assert!(count > 5, "{table}");
    server.stop().await;
}
