//! Networks as clients see them. None is made in the kernel here: that takes a host of one's own.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Server;
use crate::spec;

#[tokio::test]
async fn the_networks_that_are_there_anyway_are_listed_and_stay() {
    let server = Server::start().await;
    let names = async |filters: Value| {
        let filters = filters.to_string();
        let filters: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
        let answer = server.get(&format!("/networks?filters={filters}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        spec::check("GET", "/networks", 200, &answer.json());
        let all = answer.json();
        let names = all.as_array().unwrap().iter();
        names
            .map(|one| one["Name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(json!({})).await, ["bridge", "host", "none"]);
    assert_eq!(names(json!({ "driver": ["null"] })).await, ["none"]);
    assert_eq!(names(json!({ "name": ["ri"] })).await, ["bridge"]);
    assert!(names(json!({ "type": ["custom"] })).await.is_empty());
    assert!(names(json!({ "dangling": ["true"] })).await.is_empty());
    assert!(names(json!({ "label": ["a"] })).await.is_empty());

    let bridge = server.get("/networks/bridge").await;
    spec::check("GET", "/networks/{id}", 200, &bridge.json());
    let id = bridge.json()["Id"].as_str().unwrap().to_owned();
    let same = server.get(&format!("/networks/{}", &id[..6])).await;
    assert_eq!(same.json()["Name"], "bridge");
    let subnet = &bridge.json()["IPAM"]["Config"][0];
    assert!(subnet["Subnet"].as_str().unwrap().contains('/'));
    for name in ["bridge", "none", "host"] {
        let answer = server
            .ask(Method::DELETE, &format!("/networks/{name}"))
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.message().contains("pre-defined network"));
        let made = server
            .post("/networks/create", &json!({ "Name": name }))
            .await;
        assert_eq!(made.status, StatusCode::FORBIDDEN);
    }
    let pruned = server.post("/networks/prune", &json!({})).await;
    assert_eq!(pruned.json(), json!({ "NetworksDeleted": null }));
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_network_is_said_in_docker_s_words() {
    let server = Server::start().await;
    server.load("app:1").await;
    let id = server
        .create("one", &json!({ "HostConfig": { "NetworkMode": "bridge" } }))
        .await;
    server
        .create("alone", &json!({ "HostConfig": { "NetworkMode": "none" } }))
        .await;
    let to = |container: &str| json!({ "Container": container });
    for (path, body, status, words) in [
        (
            "/networks/nope/connect",
            to("one"),
            404,
            "network nope not found",
        ),
        (
            "/networks/bridge/connect",
            to("nobody"),
            404,
            "No such container: nobody",
        ),
        (
            "/networks/bridge/connect",
            to("one"),
            403,
            "endpoint with name one already exists in network bridge",
        ),
        (
            "/networks/bridge/connect",
            to("alone"),
            400,
            "private (none) mode",
        ),
        ("/networks/none/connect", to("one"), 403, "network none"),
        (
            "/networks/bridge/connect",
            json!({ "Container": "one", "EndpointConfig": { "IPAMConfig": { "IPv4Address": "10.0.0.9" } } }),
            400,
            "supported on user defined networks only",
        ),
        (
            "/networks/create",
            json!({}),
            400,
            "cannot be a network's name",
        ),
    ] {
        let answer = server.post(path, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert!(answer.message().contains(words), "{}", answer.message());
    }
    let answer = server.get("/networks/nope").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);

    // A container at rest leaves and comes back, once.
    let place = async || {
        let seen = server.get(&format!("/containers/{id}/json")).await.json();
        seen["NetworkSettings"]["Networks"].clone()
    };
    assert!(place().await.get("bridge").is_some());
    let left = server.post("/networks/bridge/disconnect", &to("one")).await;
    assert_eq!(left.status, StatusCode::OK, "{left:?}");
    assert_eq!(place().await, json!({}));
    let again = server.post("/networks/bridge/disconnect", &to("one")).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert!(
        again
            .message()
            .contains("is not connected to network bridge")
    );
    let back = server.post("/networks/bridge/connect", &to("one")).await;
    assert_eq!(back.status, StatusCode::OK, "{back:?}");
    assert!(place().await.get("bridge").is_some());
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_container_s_network_is_said_before_it_is_made() {
    let server = Server::start().await;
    server.load("app:1").await;
    for (body, words) in [
        (
            json!({ "HostConfig": { "NetworkMode": "container:x" } }),
            "HostConfig.NetworkMode container:x is not supported",
        ),
        (
            json!({ "HostConfig": { "PortBindings": { "x/tcp": [{}] } } }),
            "invalid port specification",
        ),
        (
            json!({ "HostConfig": { "Dns": ["x"] } }),
            "invalid DNS server address: x",
        ),
        (
            json!({ "HostConfig": { "ExtraHosts": ["x"] } }),
            "bad format for add-host",
        ),
        (json!({ "MacAddress": "x" }), "invalid MAC address: x"),
        (
            json!({ "HostConfig": { "NetworkMode": "none" },
                "NetworkingConfig": { "EndpointsConfig": { "web": {} } } }),
            "private (none) mode",
        ),
        (
            json!({ "HostConfig": { "NetworkMode": "web" },
                "NetworkingConfig": { "EndpointsConfig": { "web": { "DriverOpts": { "a": "b" } } } } }),
            "DriverOpts a=b is not supported",
        ),
    ] {
        let mut body = body;
        body["Image"] = json!("app:1");
        if body["HostConfig"].get("NetworkMode").is_none() {
            body["HostConfig"]["NetworkMode"] = json!("bridge");
        }
        let answer = server.post("/containers/create", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        assert!(answer.message().contains(words), "{}", answer.message());
    }
    server.stop().await;
}
