//! What happens on a connection beside single requests.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::harness::Server;

#[tokio::test]
async fn a_connection_serves_many_requests_and_half_a_request_hurts_nobody() {
    let server = Server::start().await;
    let mut half = server.connect().await;
    half.write_all(
        b"POST /containers/create HTTP/1.1\r\nHost: docker\r\nContent-Length: 100\r\n\r\n{",
    )
    .await
    .unwrap();
    let mut garbage = server.connect().await;
    garbage
        .write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        .await
        .unwrap();
    let mut said = String::new();
    garbage.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");

    let mut stream = BufReader::new(server.connect().await);
    for _ in 0..3 {
        stream
            .write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            .await
            .unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"OK");
    }
    drop((half, stream));
    server.stop().await;
}

#[tokio::test]
async fn a_wait_answers_its_head_at_once_and_its_body_at_the_end() {
    let server = Server::start().await;
    server.load("app:1").await;
    server.create("web", &json!({})).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /containers/web/wait?condition=removed HTTP/1.1\r\nHost: docker\r\n\r\n")
        .await
        .unwrap();
    let mut lines = BufReader::new(&mut stream).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "HTTP/1.1 200 OK");
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    let early = tokio::time::timeout(Duration::from_millis(20), lines.next_line()).await;
    assert!(
        early.is_err(),
        "the body came before the removal: {early:?}"
    );
    server
        .ask(axum::http::Method::DELETE, "/containers/web")
        .await;
    let _size = lines.next_line().await.unwrap();
    let body = lines.next_line().await.unwrap().unwrap();
    assert_eq!(body, r#"{"Error":null,"StatusCode":0}"#);
    // One that never ran is not running.
    server.create("idle", &json!({})).await;
    let answer = server
        .ask(axum::http::Method::POST, "/containers/idle/wait")
        .await;
    assert_eq!(answer.json()["StatusCode"], 0);
    server.stop().await;
}
