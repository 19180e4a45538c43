//! Hull's own routes, as far as no container runs.

use http_body_util::Full;
use hyper::StatusCode;
use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn a_start_and_a_wait_are_of_a_container_and_of_a_kind() {
    let server = Server::start().await;
    server.load("app:1").await;
    let id = server.create("web", &json!({})).await;
    for (path, status, words) in [
        (
            "nobody/start",
            StatusCode::NOT_FOUND,
            "No such container: nobody",
        ),
        (
            "nobody/wait",
            StatusCode::NOT_FOUND,
            "No such container: nobody",
        ),
        (
            "web/start?origin=far",
            StatusCode::BAD_REQUEST,
            "invalid origin",
        ),
        (
            "web/wait?condition=next-exit",
            StatusCode::BAD_REQUEST,
            "invalid condition",
        ),
        // There is no program that could own it.
        (
            "web/start?origin=boot&measure=true",
            StatusCode::INTERNAL_SERVER_ERROR,
            "/nonexistent/hull",
        ),
    ] {
        for prefix in ["/hull", "/v1.51/hull"] {
            let answer = server
                .post(&format!("{prefix}/containers/{path}"), &json!({}))
                .await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(answer.message().contains(words), "{answer:?}");
        }
    }
    let state = server.get(&format!("/containers/{id}/json")).await.json();
    assert_eq!(state["State"]["Status"], "created");
    server.stop().await;
}

#[tokio::test]
async fn what_is_removed_ends_the_wait_for_its_end() {
    let server = Server::start().await;
    server.load("app:1").await;
    server.create("web", &json!({})).await;
    // The head is there before the end is.
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(server.connect().await))
            .await
            .unwrap();
    let driver = tokio::spawn(connection);
    let request = hyper::Request::post("/hull/containers/web/wait?condition=removed")
        .header("Host", "docker")
        .body(Full::<bytes::Bytes>::default())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let removed = server.ask(hyper::Method::DELETE, "/containers/web").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap()
        .to_bytes();
    let ended: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        ended,
        json!({ "code": 0, "error": "", "oom_killed": false, "suspended": false, "metrics": null })
    );
    drop(sender);
    driver.await.unwrap().unwrap();
    server.stop().await;
}
