//! Containers in files: snapshots, those who go on from them, and those who are suspended.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Server;
use crate::spec;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn write(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).unwrap();
}

/// A snapshot of a container, as it is on disk.
fn snapshot(server: &Server, id: &str, name: &str) {
    let directory = server.root().join("snapshots").join(name);
    fs::create_dir_all(&directory).unwrap();
    let mut manifest = json!({
        "version": 1,
        "record": read(&server.root().join("containers").join(id).join("record.json")),
        "shape": { "cpus": 1, "memory_mib": 128, "memory_limit": null, "cpu_quota_us": null },
        "layer": { "size": 1 << 26, "journal": true },
        "made": "2024-05-06T07:08:09Z",
    });
    for file in ["state", "memory", "disk"] {
        let path = directory.join(file);
        fs::write(&path, file).unwrap();
        let found = fs::metadata(path).unwrap();
        manifest[file] = json!({
            "inode": found.ino(),
            "size": found.len(),
            "modified": [found.mtime(), found.mtime_nsec()],
            "changed": [found.ctime(), found.ctime_nsec()],
        });
    }
    write(&directory.join("snapshot.json"), &manifest);
}

#[tokio::test]
async fn a_container_needs_its_snapshot_until_it_was_started() {
    let server = Server::start().await;
    server.load("app:1").await;
    let parent = json!({
        "Labels": { "kind": "mine" },
        "HostConfig": {
            "NetworkMode": "none",
            "RestartPolicy": { "Name": "always" },
            "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }] },
        },
    });
    let id = server.create("parent", &parent).await;
    assert_eq!(server.get("/hull/snapshots").await.json(), json!([]));
    snapshot(&server, &id, "warm");
    let listed = server.get("/v1.51/hull/snapshots").await.json();
    assert_eq!(listed[0]["name"], "warm");
    assert_eq!(listed[0]["container"], "parent");
    assert_eq!(listed[0]["image"], "app:1");
    assert!(listed[0]["size"].as_u64().unwrap() > 0, "{listed}");

    let from = |body: Value| {
        let server = &server;
        async move { server.post("/hull/containers/create-from", &body).await }
    };
    let made = from(json!({ "snapshot": "warm", "name": "child", "labels": { "x": "y" } })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let child = made.json()["Id"].as_str().unwrap().to_owned();
    let seen = server.get("/containers/child/json").await.json();
    spec::check("GET", "/containers/{id}/json", 200, &seen);
    assert_eq!(seen["Id"], child);
    assert_eq!(seen["State"]["Status"], "created");
    assert_eq!(seen["Config"]["Hostname"], child[..12]);
    for (key, value) in [("from", "image"), ("kind", "mine"), ("x", "y")] {
        assert_eq!(seen["Config"]["Labels"][key], value);
    }
    assert_eq!(seen["HostConfig"]["RestartPolicy"]["Name"], "always");
    let ports = json!({ "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "" }] });
    assert_eq!(seen["HostConfig"]["PortBindings"], ports);
    let events = server
        .get("/events?since=1&until=0s&filters=%7B%22container%22%3A%5B%22child%22%5D%7D")
        .await;
    let create = &events.lines()[0];
    assert_eq!(create["Action"], "create");
    assert_eq!(create["Actor"]["Attributes"]["snapshot"], "warm");

    for (body, status, words) in [
        (json!({ "snapshot": "none" }), 404, "No such snapshot: none"),
        (json!({ "snapshot": "../warm" }), 400, "../warm"),
        (
            json!({ "snapshot": "warm", "name": "child" }),
            409,
            "already in use",
        ),
        (json!({ "snapshot": "warm", "name": "a b" }), 400, "a b"),
        (
            json!({ "snapshot": "warm", "command": ["x"] }),
            400,
            "command",
        ),
    ] {
        let answer = from(body).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert!(answer.message().contains(words), "{answer:?}");
    }

    // It has no files yet, and does without neither its snapshot nor its image.
    let answer = server.get("/containers/child/archive?path=/").await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    assert!(
        answer.message().contains("goes on from a snapshot"),
        "{answer:?}"
    );
    let remove = |path: &'static str| server.ask(Method::DELETE, path);
    let answer = remove("/hull/snapshots/warm").await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    assert!(
        answer.message().contains("needed by container child"),
        "{answer:?}"
    );
    let more = json!({ "Memory": 1 << 30, "MemorySwap": 1 << 30 });
    let answer = server.post("/containers/child/update", &more).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    assert!(answer.message().contains("128 MiB"), "{answer:?}");

    // What was changed since it was taken is not used.
    fs::write(server.root().join("snapshots/warm/memory"), "other").unwrap();
    let answer = server.post("/containers/child/start", &json!({})).await;
    assert_eq!(
        answer.status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "{answer:?}"
    );
    assert!(answer.message().contains("was changed"), "{answer:?}");

    assert_eq!(
        remove("/containers/child").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        remove("/hull/snapshots/warm").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        remove("/hull/snapshots/warm").await.status,
        StatusCode::NOT_FOUND
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_suspended_is_not_over() {
    let server = Server::start().await;
    server.load("app:1").await;
    let id = server
        .create(
            "it",
            &json!({ "HostConfig": { "AutoRemove": true, "NetworkMode": "none" } }),
        )
        .await;
    for action in ["suspend", "snapshot", "fork", "resume"] {
        let body = json!({ "name": "warm" });
        let body = if matches!(action, "suspend" | "resume") {
            &json!({})
        } else {
            &body
        };
        let path = format!("/hull/containers/it/{action}");
        let answer = server.post(&path, body).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{action}: {answer:?}");
        let words = if action == "resume" {
            "not suspended"
        } else {
            "is not running"
        };
        assert!(answer.message().contains(words), "{action}: {answer:?}");
        let answer = server.post(&path.replace("it", "none"), body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{action}: {answer:?}");
    }
    for body in [
        json!({ "count": 0 }),
        json!({ "count": 1001 }),
        json!({ "name": "a b" }),
    ] {
        let answer = server.post("/hull/containers/it/fork", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    }

    let directory = server.root().join("containers").join(&id);
    let mut state = read(&directory.join("state.json"));
    state["status"] = json!("suspended");
    state["finished"] = json!("2024-05-06T07:08:09Z");
    write(&directory.join("state.json"), &state);
    fs::create_dir(directory.join("suspended")).unwrap();
    fs::write(directory.join("suspended/sealed.json"), "{}").unwrap();
    let server = server.restart().await;
    let listed = server.get("/containers/json?all=1").await.json();
    spec::check("GET", "/containers/json", 200, &listed);
    assert_eq!(listed[0]["State"], "exited");
    let status = listed[0]["Status"].as_str().unwrap();
    assert!(
        status.starts_with("Suspended ") && status.ends_with(" ago"),
        "{status}"
    );
    let pruned = server.post("/containers/prune", &json!({})).await.json();
    assert_eq!(pruned["ContainersDeleted"], Value::Null);
    let stopped = server.post("/containers/it/stop", &json!({})).await;
    assert_eq!(stopped.status, StatusCode::NOT_MODIFIED);
    let killed = server.post("/containers/it/kill", &json!({})).await;
    assert_eq!(killed.status, StatusCode::CONFLICT);
    // One that is removed at its end is not removed when it cannot go on.
    for path in ["/containers/it/start", "/hull/containers/it/resume"] {
        let answer = server.post(path, &json!({})).await;
        assert_eq!(
            answer.status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{answer:?}"
        );
        let seen = server.get("/containers/it/json").await.json();
        assert_eq!(seen["State"]["Suspended"], true, "{seen}");
    }
    let removed = server.ask(Method::DELETE, "/containers/it").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_child_that_its_fork_did_not_come_to_start_goes() {
    let server = Server::start().await;
    server.load("app:1").await;
    let id = server
        .create("child", &json!({ "HostConfig": { "NetworkMode": "none" } }))
        .await;
    server
        .create("other", &json!({ "HostConfig": { "NetworkMode": "none" } }))
        .await;
    let path = server
        .root()
        .join("containers")
        .join(&id)
        .join("record.json");
    let mut record = read(&path);
    record["from"] = json!({ "fork": ".hidden-gone" });
    write(&path, &record);
    let server = server.restart().await;
    let listed = server.get("/containers/json?all=1").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["Names"], json!(["/other"]));
    server.stop().await;
}
