//! The daemon itself.

use axum::http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::harness::Server;
use crate::spec;

#[tokio::test]
async fn ping_tells_what_clients_choose_by() {
    let server = Server::start().await;
    for (method, body) in [(Method::GET, "OK"), (Method::HEAD, "")] {
        let answer = server.ask(method, "/_ping").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, body);
        assert_eq!(answer.header("builder-version"), "1");
        assert_eq!(answer.header("swarm"), "inactive");
        assert!(answer.header("content-type").starts_with("text/plain"));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_system_s_answers_have_the_specified_form() {
    let server = Server::start().await;
    server.load("app:1").await;
    server.create("one", &json!({})).await;
    for path in [
        "/version",
        "/info",
        "/system/df",
        "/images/json",
        "/plugins",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        spec::check("GET", path, 200, &answer.json());
    }
    let info = server.get("/info").await.json();
    assert_eq!(info["Containers"], 1);
    assert_eq!(info["ContainersStopped"], 1);
    assert_eq!(info["Images"], 1);
    assert_eq!(info["Driver"], "hull");
    let usage = server.get("/system/df?type=image").await.json();
    assert_eq!(usage["Images"][0]["Containers"], 1);
    assert!(usage.get("Containers").is_none());
    assert_eq!(
        server.get("/system/df?type=nothing").await.status,
        StatusCode::BAD_REQUEST
    );
    server.stop().await;
}

#[tokio::test]
async fn swarms_are_not_here() {
    let server = Server::start().await;
    for (method, path) in [
        (Method::GET, "/swarm"),
        (Method::POST, "/v1.40/swarm/init"),
        (Method::GET, "/nodes"),
        (Method::GET, "/services"),
        (Method::GET, "/secrets/x"),
        (Method::POST, "/configs/create"),
    ] {
        let answer = server.ask(method, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(
            answer
                .message()
                .starts_with("This node is not a swarm manager"),
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn events_come_as_they_happen_and_as_they_happened() {
    let server = Server::start().await;
    server.load("app:1").await;
    let mut stream = server.connect().await;
    let filters: String = form_urlencoded::byte_serialize(
        br#"{"type":["container"],"event":{"create":true,"destroy":true}}"#,
    )
    .collect();
    let request = format!("GET /events?filters={filters} HTTP/1.1\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(&mut stream).lines();
    // The head comes before anything happens.
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    let id = server
        .create("seen", &json!({ "Labels": { "a": "b" } }))
        .await;
    let removed = server.ask(Method::DELETE, "/containers/seen").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    let mut next = async || loop {
        let line = lines.next_line().await.unwrap().unwrap();
        // Between the lines are the sizes of chunks.
        if line.starts_with('{') {
            return serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    };
    let made = next().await;
    spec::check("GET", "/events", 200, &made);
    assert_eq!(made["Action"], "create");
    assert_eq!(made["status"], "create");
    assert_eq!(made["from"], "app:1");
    assert_eq!(made["id"], id);
    assert_eq!(made["Actor"]["Attributes"]["name"], "seen");
    assert_eq!(made["Actor"]["Attributes"]["a"], "b");
    assert_eq!(next().await["Action"], "destroy");
    drop(stream);
    // The same again, from memory: a stream with an end.
    let until = jiff::Timestamp::now();
    let past = server
        .get(&format!("/events?since=1h&until={until}&filters={filters}"))
        .await;
    let actions: Vec<_> = past
        .lines()
        .into_iter()
        .map(|event| event["Action"].clone())
        .collect();
    assert_eq!(actions, ["create", "destroy"]);
    let loaded = server
        .get(&format!(
            "/events?since=1h&until={until}&filters=%7B%22type%22:%5B%22image%22%5D%7D"
        ))
        .await;
    assert_eq!(loaded.lines()[0]["Action"], "load");
    server.stop().await;
}
