//! Volumes without containers that run.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Server;
use crate::spec;

const ANONYMOUS: &str = "com.docker.volume.anonymous";

async fn names(server: &Server, query: &str) -> Vec<String> {
    let list = server.get(&format!("/volumes{query}")).await;
    assert_eq!(list.status, StatusCode::OK, "{list:?}");
    spec::check("GET", "/volumes", 200, &list.json());
    let list = list.json()["Volumes"].clone();
    let name = |one: &Value| one["Name"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn a_volume_is_made_shown_and_removed() {
    let server = Server::start().await;
    let body = json!({ "Name": "data", "Labels": { "a": "b" } });
    let made = server.post("/volumes/create", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    spec::check("POST", "/volumes/create", 201, &made.json());
    assert_eq!(made.json()["Labels"], json!({ "a": "b" }));
    let again = server
        .post("/volumes/create", &json!({ "Name": "data" }))
        .await;
    assert_eq!(
        (again.status, again.json()),
        (StatusCode::CREATED, made.json())
    );
    let seen = server.get("/volumes/data").await;
    spec::check("GET", "/volumes/{name}", 200, &seen.json());
    assert_eq!(seen.json(), made.json());
    let unnamed = server.post("/volumes/create", &json!({})).await.json();
    assert_eq!(unnamed["Labels"], json!({ ANONYMOUS: "" }));

    assert_eq!(names(&server, "").await.len(), 2);
    let label = "?filters=%7B%22label%22%3A%5B%22a%22%5D%7D";
    assert_eq!(names(&server, label).await, ["data"]);
    for (body, status, words) in [
        (json!({ "Name": "a b" }), 400, "includes invalid characters"),
        (json!({ "Name": "x" }), 400, "too short"),
        (
            json!({ "Name": "ok", "Driver": "nfs" }),
            404,
            "plugin \"nfs\" not found",
        ),
        (
            json!({ "Name": "ok", "DriverOpts": { "size": "1g" } }),
            400,
            "invalid option",
        ),
    ] {
        let answer = server.post("/volumes/create", &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.message().contains(words), "{answer:?}");
    }
    let missing = server.get("/volumes/missing").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.message(), "get missing: no such volume");
    let put = server.ask(Method::PUT, "/volumes/data?version=1").await;
    assert_eq!(put.status, StatusCode::SERVICE_UNAVAILABLE);
    for (path, status) in [
        ("/volumes/data", 204),
        ("/volumes/data", 404),
        ("/volumes/data?force=1", 204),
    ] {
        assert_eq!(
            server.ask(Method::DELETE, path).await.status,
            status,
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_container_has_its_volumes_and_takes_those_without_a_name_along() {
    let server = Server::start().await;
    server.load("app:1").await;
    let body = json!({
        "Volumes": { "/anon": {}, "/data": {} },
        "HostConfig": {
            "Binds": ["data:/data", "/srv:/srv:ro"],
            "Mounts": [{ "Type": "volume", "Target": "/more", "VolumeOptions": { "Labels": { "k": "v" } } }],
        },
    });
    let id = server.create("one", &body).await;
    let from = json!({ "HostConfig": { "VolumesFrom": ["one:ro"], "Binds": ["other:/more"] } });
    server.create("two", &from).await;
    let seen = server.get("/containers/two/json").await.json();
    spec::check("GET", "/containers/{id}/json", 200, &seen);
    let mounts = seen["Mounts"].as_array().unwrap();
    let places: Vec<&str> = mounts
        .iter()
        .filter_map(|m| m["Destination"].as_str())
        .collect();
    assert_eq!(places, ["/anon", "/data", "/more", "/srv"]);
    assert_eq!(mounts[1]["Name"], "data");
    assert_eq!(
        (&mounts[1]["RW"], &mounts[2]["RW"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(mounts[3]["Propagation"], "rprivate");

    let used = server.ask(Method::DELETE, "/volumes/data").await;
    assert_eq!(used.status, StatusCode::CONFLICT);
    assert!(used.message().contains(&id), "{used:?}");
    assert_eq!(names(&server, "").await.len(), 4);
    let usage = server.get("/system/df?type=volume").await.json();
    let volumes = usage["Volumes"].as_array().unwrap();
    let data = volumes.iter().find(|one| one["Name"] == "data").unwrap();
    assert_eq!(data["UsageData"], json!({ "Size": 0, "RefCount": 2 }));

    assert_eq!(
        server.ask(Method::DELETE, "/containers/two").await.status,
        204
    );
    assert_eq!(
        server
            .ask(Method::DELETE, "/containers/one?v=1")
            .await
            .status,
        204
    );
    assert_eq!(names(&server, "").await, ["data", "other"]);
    // Without a word for it those that have a name stay.
    let pruned = server.post("/volumes/prune", &json!({})).await.json();
    assert_eq!(pruned["VolumesDeleted"], Value::Null);
    let all = server.post("/v1.41/volumes/prune", &json!({})).await.json();
    spec::check("POST", "/volumes/prune", 200, &all);
    assert_eq!(all["VolumesDeleted"], json!(["data", "other"]));
    server.stop().await;
}

#[tokio::test]
async fn mounts_that_make_no_sense_leave_nothing_behind() {
    let server = Server::start().await;
    server.load("app:1").await;
    for (host, status, words) in [
        (
            json!({ "Binds": ["/a:/b", "c:/b/"] }),
            400,
            "Duplicate mount point: /b",
        ),
        (
            json!({ "Binds": ["/a:/b"], "Tmpfs": { "/b": "" } }),
            400,
            "Duplicate mount point: /b",
        ),
        (
            json!({ "Binds": ["x y:/b"] }),
            400,
            "includes invalid characters for a local volume name",
        ),
        (
            json!({ "VolumesFrom": ["nobody"] }),
            404,
            "No such container: nobody",
        ),
        (
            json!({ "Mounts": [{ "Type": "bind", "Source": "/no/such", "Target": "/b" }] }),
            400,
            "bind source path does not exist: /no/such",
        ),
        (
            json!({ "Binds": (0..13).map(|n| format!("v{n}0:/{n}")).collect::<Vec<_>>() }),
            400,
            "at most 12",
        ),
    ] {
        let body = json!({ "Image": "app:1", "HostConfig": host });
        let answer = server.post("/containers/create", &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.message().contains(words), "{answer:?}");
    }
    assert!(names(&server, "").await.is_empty());
    let all = server.get("/containers/json?all=1").await.json();
    assert_eq!(all, json!([]));
    server.stop().await;
}
