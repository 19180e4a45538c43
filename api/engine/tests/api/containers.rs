//! Containers that are never started.

use axum::http::{Method, StatusCode};
use hull_engine::network::usual_network;
use serde_json::{Value, json};

use crate::harness::Server;
use crate::spec;

/// The body that Docker's client 28 sends for `docker run -i app:1 echo hi`, with everything that it says and does not mean.
fn client_body() -> Value {
    json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
        "Tty": false, "OpenStdin": true, "StdinOnce": true, "Env": null, "Cmd": ["echo", "hi"], "Image": "app:1",
        "Volumes": {}, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {},
        "HostConfig": {
            "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "", "Config": {} }, "NetworkMode": "default",
            "PortBindings": {}, "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 }, "AutoRemove": false,
            "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [24, 80], "CapAdd": null, "CapDrop": null,
            "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": null, "GroupAdd": null,
            "IpcMode": "", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "", "Privileged": false,
            "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "",
            "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
            "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [],
            "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0,
            "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [], "DeviceCgroupRules": null,
            "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": -1,
            "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0,
            "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null,
        },
        "NetworkingConfig": { "EndpointsConfig": { "default": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "DriverOpts": null, "GwPriority": 0,
            "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
            "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
        } } },
    })
}

#[tokio::test]
async fn what_was_said_is_told_again() {
    let server = Server::start().await;
    let image = server.load("app:1").await;
    let mut body = client_body();
    body["Env"] = json!(["A=mine", "B", "C=mine"]);
    body["Labels"] = json!({ "kind": "mine", "com.docker.compose.project": "p" });
    body["HostConfig"]["Memory"] = json!(256 << 20);
    body["HostConfig"]["NanoCpus"] = json!(500_000_000);
    body["HostConfig"]["RestartPolicy"] = json!({ "Name": "on-failure", "MaximumRetryCount": 3 });
    body["HostConfig"]["CapAdd"] = json!(["NET_ADMIN"]);
    body["HostConfig"]["Annotations"] = json!({ "note": "this" });
    let created = server
        .post("/v1.50/containers/create?name=web", &body)
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    spec::check("POST", "/containers/create", 201, &created.json());
    let id = created.json()["Id"].as_str().unwrap().to_owned();
    for name in ["web", "/web", id.as_str(), &id[..12], &id[..2]] {
        let path = format!("/containers/{}/json?size=1", name.replace('/', "%2F"));
        let answer = server.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
        assert_eq!(answer.json()["Id"], id);
    }
    let seen = server.get("/containers/web/json?size=1").await.json();
    spec::check("GET", "/containers/{id}/json", 200, &seen);
    assert_eq!(seen["Name"], "/web");
    assert_eq!(seen["Image"], image);
    assert_eq!(seen["Path"], "/entry");
    assert_eq!(seen["Args"], json!(["echo", "hi"]));
    assert_eq!(seen["State"]["Status"], "created");
    assert_eq!(seen["State"]["Running"], false);
    assert_eq!(seen["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(seen["Config"]["Cmd"], json!(["echo", "hi"]));
    assert_eq!(seen["Config"]["Entrypoint"], json!(["/entry"]));
    assert_eq!(
        seen["Config"]["Env"],
        json!(["A=mine", "C=mine", "PATH=/bin"])
    );
    assert_eq!(seen["Config"]["Hostname"], id[..12]);
    assert_eq!(seen["Config"]["WorkingDir"], "/srv");
    assert_eq!(seen["Config"]["User"], "1000");
    assert_eq!(seen["Config"]["StopSignal"], "SIGINT");
    assert_eq!(seen["Config"]["ExposedPorts"], json!({ "80/tcp": {} }));
    assert_eq!(
        seen["Config"]["Labels"],
        json!({ "from": "image", "kind": "mine", "com.docker.compose.project": "p" })
    );
    assert_eq!(seen["HostConfig"]["Memory"], 256 << 20);
    assert_eq!(seen["HostConfig"]["NanoCpus"], 500_000_000);
    assert_eq!(
        seen["HostConfig"]["RestartPolicy"],
        json!({ "Name": "on-failure", "MaximumRetryCount": 3 })
    );
    assert_eq!(seen["HostConfig"]["CapAdd"], json!(["NET_ADMIN"]));
    assert_eq!(seen["HostConfig"]["Annotations"], json!({ "note": "this" }));
    assert_eq!(
        seen["HostConfig"]["LogConfig"],
        json!({ "Type": "json-file", "Config": {} })
    );
    assert_eq!(seen["HostConfig"]["ShmSize"], 64 << 20);
    server.stop().await;
}

#[tokio::test]
async fn an_entrypoint_of_the_client_s_takes_the_image_s_command_away() {
    let server = Server::start().await;
    server.load("app:1").await;
    for (name, body, words) in [
        ("image", json!({}), vec!["/entry", "serve", "all of it"]),
        ("command", json!({ "Cmd": "one" }), vec!["/entry", "one"]),
        ("entry", json!({ "Entrypoint": "other" }), vec!["other"]),
        (
            "both",
            json!({ "Entrypoint": ["other"], "Cmd": ["x"] }),
            vec!["other", "x"],
        ),
        (
            "none",
            json!({ "Entrypoint": [""], "Cmd": ["x"] }),
            vec!["x"],
        ),
        (
            "empty",
            json!({ "Entrypoint": [] }),
            vec!["serve", "all of it"],
        ),
    ] {
        server.create(name, &body).await;
        let seen = server.get(&format!("/containers/{name}/json")).await.json();
        let args = seen["Args"].as_array().unwrap().iter();
        let all: Vec<&str> = [&seen["Path"]]
            .into_iter()
            .chain(args)
            .map(|word| word.as_str().unwrap())
            .collect();
        assert_eq!(all, words, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let server = Server::start().await;
    server.load("app:1").await;
    for (pointer, value, words) in [
        (
            "/HostConfig/NetworkMode",
            json!("host"),
            "HostConfig.NetworkMode host is not supported",
        ),
        (
            "/HostConfig/PidMode",
            json!("host"),
            "HostConfig.PidMode host is not supported",
        ),
        (
            "/HostConfig/Devices",
            json!([{ "PathOnHost": "/dev/x" }]),
            "HostConfig.Devices",
        ),
        (
            "/HostConfig/SecurityOpt",
            json!(["apparmor=mine"]),
            "HostConfig.SecurityOpt apparmor=mine",
        ),
        (
            "/HostConfig/StorageOpt",
            json!({ "foo": "1" }),
            "HostConfig.StorageOpt foo=1",
        ),
        (
            "/HostConfig/LogConfig/Type",
            json!("syslog"),
            "HostConfig.LogConfig.Type syslog",
        ),
        (
            "/HostConfig/LogConfig/Config",
            json!({ "tag": "x" }),
            "HostConfig.LogConfig.Config tag=x",
        ),
        (
            "/HostConfig/MemorySwap",
            json!(-2),
            "You should always set the Memory limit",
        ),
        (
            "/HostConfig/Memory",
            json!(1000),
            "Minimum memory limit allowed is 6MB",
        ),
        (
            "/HostConfig/OomScoreAdj",
            json!(2000),
            "range for oom score adj is [-1000, 1000]",
        ),
        (
            "/HostConfig/RestartPolicy/Name",
            json!("sometimes"),
            "unknown policy 'sometimes'",
        ),
        (
            "/HostConfig/RestartPolicy/MaximumRetryCount",
            json!(2),
            "can only be used with 'on-failure'",
        ),
        (
            "/HostConfig/Mounts",
            json!([{ "Type": "npipe", "Target": "/x" }]),
            "HostConfig.Mounts of type npipe",
        ),
        ("/Env", json!(["=x"]), "invalid environment variable: =x"),
        ("/StopSignal", json!("SIGNOT"), "invalid signal: SIGNOT"),
        (
            "/WorkingDir",
            json!("relative"),
            "it needs to be an absolute path",
        ),
        ("/Hostname", json!("not a name"), "invalid hostname format"),
    ] {
        let mut body = client_body();
        if pointer == "/HostConfig/Mounts" {
            body["HostConfig"]["Mounts"] = Value::Null;
        }
        if pointer == "/StopSignal" {
            body["StopSignal"] = Value::Null;
        }
        if pointer == "/HostConfig/StorageOpt" {
            body["HostConfig"]["StorageOpt"] = Value::Null;
        }
        *body.pointer_mut(pointer).unwrap() = value;
        let answer = server.post("/containers/create", &body).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{pointer}: {answer:?}"
        );
        assert!(
            answer.message().contains(words),
            "{pointer}: {}",
            answer.message()
        );
    }
    let mut body = client_body();
    body["HostConfig"]["AutoRemove"] = json!(true);
    body["HostConfig"]["RestartPolicy"]["Name"] = json!("always");
    let answer = server.post("/containers/create", &body).await;
    assert_eq!(
        answer.message(),
        "can't create 'AutoRemove' container with restart policy"
    );
    // Nothing of all that was made.
    assert_eq!(server.get("/containers/json?all=1").await.json(), json!([]));
    server.stop().await;
}

#[tokio::test]
async fn missing_images_and_taken_names_have_their_statuses() {
    let server = Server::start().await;
    let answer = server
        .post("/containers/create", &json!({ "Image": "nothing:here" }))
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(
        answer.message().starts_with("No such image: nothing"),
        "{}",
        answer.message()
    );
    server.load("app:1").await;
    let id = server.create("web", &json!({})).await;
    let answer = server
        .post("/containers/create?name=web", &json!({ "Image": "app:1" }))
        .await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(
        answer.message(),
        format!(
            "Conflict. The container name \"/web\" is already in use by container \"{id}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        )
    );
    let answer = server
        .post(
            "/containers/create?name=not%20a%20name",
            &json!({ "Image": "app:1" }),
        )
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = server
        .post(
            "/containers/create?platform=linux/arm64",
            &json!({ "Image": "app:1" }),
        )
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test]
async fn names_that_nobody_has_are_not_found() {
    let server = Server::start().await;
    for (method, path) in [
        (Method::GET, "/containers/none/json"),
        (Method::POST, "/containers/none/start"),
        (Method::POST, "/containers/none/stop"),
        (Method::POST, "/containers/none/restart"),
        (Method::POST, "/containers/none/kill"),
        (Method::POST, "/containers/none/pause"),
        (Method::POST, "/containers/none/unpause"),
        (Method::POST, "/containers/none/rename?name=x1"),
        (Method::POST, "/containers/none/resize?h=1&w=1"),
        (Method::POST, "/containers/none/wait"),
        (Method::POST, "/containers/none/attach?stream=1"),
        (Method::GET, "/containers/none/logs?stdout=1"),
        (Method::POST, "/containers/none/exec"),
        (Method::DELETE, "/containers/none"),
    ] {
        let answer = server.ask(method.clone(), path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(
            answer.message(),
            "No such container: none",
            "{method} {path}"
        );
    }
    for (method, path) in [
        (Method::GET, "/exec/none/json"),
        (Method::POST, "/exec/none/start"),
        (Method::POST, "/exec/none/resize?h=1&w=1"),
    ] {
        let answer = server.ask(method.clone(), path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(
            answer.message(),
            "No such exec instance: none",
            "{method} {path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn one_that_does_not_run_cannot_be_killed_paused_or_entered() {
    let server = Server::start().await;
    server.load("app:1").await;
    let id = server.create("web", &json!({})).await;
    for path in ["kill", "pause", "unpause"] {
        let answer = server
            .ask(Method::POST, &format!("/containers/web/{path}"))
            .await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{path}");
        assert!(
            answer.message().contains("is not running"),
            "{path}: {}",
            answer.message()
        );
    }
    let answer = server
        .post("/containers/web/exec", &json!({ "Cmd": ["ls"] }))
        .await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.message(), format!("Container {id} is not running"));
    let answer = server.post("/containers/web/exec", &json!({})).await;
    assert_eq!(answer.message(), "No exec command specified");
    assert_eq!(
        server
            .ask(Method::POST, "/containers/web/stop")
            .await
            .status,
        StatusCode::NOT_MODIFIED
    );
    // A terminal's size may come before the terminal.
    assert_eq!(
        server
            .ask(Method::POST, "/containers/web/resize?h=24&w=80")
            .await
            .status,
        StatusCode::OK
    );
    for (path, words) in [
        ("kill?signal=SIGNOT", "invalid signal: SIGNOT"),
        ("stop?t=soon", "invalid t: \"soon\" is not a number"),
        ("resize?h=24", "the parameter w is missing"),
        ("wait?condition=tired", "invalid condition: \"tired\""),
        (
            "start?checkpoint=c1&checkpoint-dir=/d",
            "the parameter checkpoint-dir is not supported",
        ),
        (
            "attach?stream=1&detachKeys=ctrl-",
            "Invalid escape keys (ctrl-) provided",
        ),
        ("rename", "Neither old nor new names may be empty"),
    ] {
        let answer = server
            .ask(Method::POST, &format!("/containers/web/{path}"))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(
            answer.message().contains(words),
            "{path}: {}",
            answer.message()
        );
    }
    let answer = server.get("/containers/web/logs").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.message(),
        "Bad parameters: you must choose at least one stream"
    );
    assert_eq!(server.get("/containers/web/logs?stdout=1").await.body, "");
    server.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_in_every_way() {
    let server = Server::start().await;
    server.load("app:1").await;
    server.load("other:2").await;
    let one = server
        .create("one", &json!({ "Labels": { "a": "1", "b": "" } }))
        .await;
    let two = server
        .create(
            "two",
            &json!({ "Image": "other:2", "Labels": { "a": "2" } }),
        )
        .await;
    let three = server
        .create("three-1", &json!({ "ExposedPorts": { "53/udp": {} } }))
        .await;
    let list = async |query: &str| -> Vec<String> {
        let answer = server.get(&format!("/containers/json?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {answer:?}");
        spec::check("GET", "/containers/json", 200, &answer.json());
        let list = answer.json();
        list.as_array()
            .unwrap()
            .iter()
            .map(|one| one["Names"][0].as_str().unwrap()[1..].to_owned())
            .collect()
    };
    let filtered = async |filters: Value| {
        let filters: String =
            form_urlencoded::byte_serialize(filters.to_string().as_bytes()).collect();
        list(&format!("all=1&filters={filters}")).await
    };
    // None runs.
    assert!(list("").await.is_empty());
    assert!(list("all=0").await.is_empty());
    assert_eq!(list("all=true&size=1").await, ["three-1", "two", "one"]);
    assert_eq!(list("limit=2").await, ["three-1", "two"]);
    assert_eq!(list("limit=-1&all=1").await, ["three-1", "two", "one"]);
    assert_eq!(filtered(json!({ "name": ["o"] })).await, ["two", "one"]);
    assert_eq!(
        filtered(json!({ "name": ["^/one$", "three"] })).await,
        ["three-1", "one"]
    );
    assert_eq!(filtered(json!({ "id": [&one[..12]] })).await, ["one"]);
    assert_eq!(filtered(json!({ "label": ["a"] })).await, ["two", "one"]);
    assert_eq!(filtered(json!({ "label": ["a=1", "b"] })).await, ["one"]);
    assert_eq!(
        filtered(json!({ "label": { "from=image": true, "a=2": true } })).await,
        ["two"]
    );
    assert_eq!(
        filtered(json!({ "ancestor": ["app:1"] })).await,
        ["three-1", "one"]
    );
    assert_eq!(
        filtered(json!({ "ancestor": ["other:2", "nothing"] })).await,
        ["two"]
    );
    assert!(
        filtered(json!({ "ancestor": ["nothing"] }))
            .await
            .is_empty()
    );
    assert_eq!(filtered(json!({ "before": ["two"] })).await, ["one"]);
    assert_eq!(filtered(json!({ "since": [&two] })).await, ["three-1"]);
    assert_eq!(
        filtered(json!({ "status": ["created", "exited"] }))
            .await
            .len(),
        3
    );
    assert!(filtered(json!({ "status": ["running"] })).await.is_empty());
    assert!(filtered(json!({ "exited": ["0"] })).await.is_empty());
    assert_eq!(filtered(json!({ "health": ["none"] })).await.len(), 3);
    assert!(filtered(json!({ "health": ["healthy"] })).await.is_empty());
    assert_eq!(
        filtered(json!({ "expose": ["50-60/udp"] })).await,
        ["three-1"]
    );
    assert_eq!(filtered(json!({ "expose": ["80"] })).await.len(), 3);
    assert!(filtered(json!({ "publish": ["80"] })).await.is_empty());
    assert!(filtered(json!({ "volume": ["/data"] })).await.is_empty());
    let network = usual_network().unwrap_or_else(|| "none".to_owned());
    assert_eq!(filtered(json!({ "network": [network] })).await.len(), 3);
    assert!(filtered(json!({ "is-task": ["true"] })).await.is_empty());
    let missing: String = form_urlencoded::byte_serialize(br#"{"before":["nobody"]}"#).collect();
    let answer = server
        .get(&format!("/containers/json?filters={missing}"))
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let all = server.get("/containers/json?all=1").await.json();
    assert_eq!(all[0]["Id"], three);
    assert_eq!(all[0]["Command"], "/entry serve 'all of it'");
    assert_eq!(all[0]["Status"], "Created");
    server.stop().await;
}

#[tokio::test]
async fn containers_are_renamed_and_removed() {
    let server = Server::start().await;
    server.load("app:1").await;
    let id = server.create("old", &json!({})).await;
    server.create("other", &json!({})).await;
    assert_eq!(
        server
            .ask(Method::POST, "/containers/old/rename?name=new")
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(server.get("/containers/new/json").await.json()["Id"], id);
    assert_eq!(
        server.get("/containers/old/json").await.status,
        StatusCode::NOT_FOUND
    );
    let taken = server
        .ask(Method::POST, "/containers/new/rename?name=other")
        .await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert_eq!(
        server
            .ask(Method::DELETE, "/containers/new?link=1")
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        server
            .ask(Method::DELETE, "/containers/new?v=1&force=1")
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        server.get("/containers/new/json").await.status,
        StatusCode::NOT_FOUND
    );
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_run_is_pruned() {
    let server = Server::start().await;
    server.load("app:1").await;
    let keep = server
        .create("keep", &json!({ "Labels": { "keep": "" } }))
        .await;
    let go = server.create("go", &json!({})).await;
    let filters: String = form_urlencoded::byte_serialize(br#"{"label!":["keep"]}"#).collect();
    let pruned = server
        .ask(
            Method::POST,
            &format!("/containers/prune?filters={filters}"),
        )
        .await;
    spec::check("POST", "/containers/prune", 200, &pruned.json());
    assert_eq!(pruned.json()["ContainersDeleted"], json!([go]));
    let left = server.get("/containers/json?all=1").await.json();
    assert_eq!(left[0]["Id"], keep);
    assert_eq!(left.as_array().unwrap().len(), 1);
    let none = server
        .ask(
            Method::POST,
            "/containers/prune?filters=%7B%22until%22:%5B%221h%22%5D%7D",
        )
        .await;
    assert_eq!(
        none.json(),
        json!({ "ContainersDeleted": null, "SpaceReclaimed": 0 })
    );
    server.stop().await;
}

#[tokio::test]
async fn limits_and_the_restart_policy_can_be_changed_and_nothing_else() {
    let server = Server::start().await;
    server.load("app:1").await;
    server.create("web", &json!({})).await;
    server
        .create("brief", &json!({ "HostConfig": { "AutoRemove": true } }))
        .await;
    let policy = json!({ "Name": "on-failure", "MaximumRetryCount": 4 });
    // Clients send all the others, too.
    let body =
        json!({ "RestartPolicy": policy, "Memory": 0, "CpuShares": 0, "BlkioDeviceReadBps": null });
    let answer = server.post("/containers/web/update", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    spec::check("POST", "/containers/{id}/update", 200, &answer.json());
    assert_eq!(
        server.get("/containers/web/json").await.json()["HostConfig"]["RestartPolicy"],
        policy
    );
    let more = json!({ "Memory": 64 << 20, "NanoCpus": 500_000_000, "PidsLimit": 20 });
    let answer = server.post("/containers/web/update", &more).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let seen = server.get("/containers/web/json").await.json()["HostConfig"].clone();
    for (name, value) in more.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name}");
    }
    assert_eq!(seen["RestartPolicy"], policy);
    for (body, words) in [
        (
            json!({ "CpuQuota": 5000 }),
            "as NanoCPUs has already been set",
        ),
        (
            json!({ "CpusetCpus": "0" }),
            "CpusetCpus 0 is not supported: ",
        ),
        (
            json!({ "Memory": 1 << 20 }),
            "Minimum memory limit allowed is 6MB",
        ),
    ] {
        let answer = server.post("/containers/web/update", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.message().contains(words), "{}", answer.message());
    }
    let always = json!({ "RestartPolicy": { "Name": "always" } });
    assert_eq!(
        server
            .post("/containers/brief/update", &always)
            .await
            .status,
        StatusCode::CONFLICT
    );
    server.stop().await;
}
