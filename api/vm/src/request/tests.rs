use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::samples::{all, parse, sample};
use super::*;
use crate::config::{HostPath, PathUse};

fn refusal(method: Method, path: &str, body: &Value) -> String {
    let fault = parse(method, path, body).unwrap_err();
    assert_eq!(fault.status.line().0, 400);
    fault.message
}

#[test]
fn every_row_has_a_sample_that_is_understood() {
    let mut seen = BTreeSet::new();
    for (method, path, body) in all() {
        let parsed = parse(method, path, &body).unwrap_or_else(|f| panic!("{method} {path}: {f}"));
        assert!(!parsed.deprecated, "{method} {path}");
        let dressed = format!("http://localhost/{path}/");
        assert_eq!(parse(method, &dressed, &body).unwrap(), parsed);
        seen.insert((
            method,
            path.split('/').take(2).collect::<String>(),
            path.matches('/').count(),
        ));
    }
    for route in ROUTES {
        let section: String = route.path.split('/').take(2).collect();
        let depth = route.path.matches('/').count();
        assert!(seen.contains(&(route.method, section, depth)), "{route:?}");
    }
    assert_eq!(all().len(), ROUTES.len());
}

#[test]
fn paths_and_methods_that_do_not_exist_are_named() {
    for (method, path) in [
        (Method::Get, "/nothing"),
        (Method::Get, "/drives/d"),
        (Method::Get, "/vm"),
        (Method::Get, "/version/x"),
        (Method::Get, "/machine-config?x=1"),
        (Method::Delete, "/vsock"),
        (Method::Put, "/drives/d/e"),
        (Method::Put, "/vm"),
        (Method::Patch, "/snapshot/create"),
    ] {
        let body = match method {
            Method::Get | Method::Delete => Value::Null,
            _ => json!({}),
        };
        let sentence = refusal(method, path, &body);
        let expected = format!(
            "Invalid request method and/or path: {method} {}.",
            &path[1..]
        );
        assert_eq!(sentence, expected);
    }
    let long = refusal(Method::Get, &"/x".repeat(5000), &Value::Null);
    assert!(long.len() < 200, "{long}");
}

#[test]
fn bodies_are_there_where_they_belong() {
    assert_eq!(
        refusal(Method::Get, "/", &json!({})),
        "GET request cannot have a body."
    );
    assert_eq!(
        refusal(Method::Put, "/vsock", &Value::Null),
        "Empty PUT request."
    );
    assert_eq!(
        refusal(Method::Patch, "/vm", &Value::Null),
        "Empty PATCH request."
    );
    assert_eq!(
        refusal(Method::Patch, "/machine-config", &json!({})),
        "Empty PATCH request."
    );
    assert!(refusal(Method::Delete, "/drives/d", &json!({})).contains("cannot have a body"));
    let start = parse(
        Method::Patch,
        "/balloon/hinting/start",
        &json!({ "acknowledge_on_stop": false }),
    );
    let expected = HintingStart {
        acknowledge_on_stop: false,
    };
    assert_eq!(start.unwrap().request, Request::StartHinting(expected));
    let sentence = refusal(Method::Put, "/vsock", &json!([]));
    assert!(
        sentence.starts_with("An error occurred when deserializing the json body of a request: "),
        "{sentence}"
    );
    assert!(refusal(Method::Put, "/mmds", &json!([1])).contains("expected a map"));
}

#[test]
fn unknown_fields_are_named_everywhere() {
    for (method, path, body) in all() {
        if !body.is_object() || path == "/mmds" {
            continue;
        }
        let mut body = body;
        body["no_such_field"] = json!(1);
        let sentence = refusal(method, path, &body);
        assert!(
            sentence.contains("unknown field `no_such_field`"),
            "{method} {path}: {sentence}"
        );
    }
}

#[test]
fn an_array_is_no_object() {
    assert!(refusal(Method::Put, "/vsock", &json!([3, "/v", null])).contains("expected an object"));
    let limiter = json!({ "rate_limiter": [null, null] });
    assert!(refusal(Method::Put, "/entropy", &limiter).contains("expected an object"));
    let bucket = json!({ "rate_limiter": { "ops": [1, 1, 1] } });
    assert!(refusal(Method::Put, "/entropy", &bucket).contains("expected an object"));
    let modifier = json!({ "msr_modifiers": [["0x1", "0b1"]] });
    assert!(refusal(Method::Put, "/cpu-config", &modifier).contains("expected an object"));
    let config = br#"{ "boot-source": ["/k"] }"#;
    let error = crate::VmConfig::parse(config).unwrap_err();
    assert!(error.to_string().contains("expected an object"), "{error}");
    let config = br#"{ "boot-source": { "kernel_image_path": "/k" }, "cpu-config": { "msr_modifiers": [["0x1", "0b1"]] } }"#;
    let error = crate::VmConfig::parse(config).unwrap_err();
    assert!(error.to_string().contains("expected an object"), "{error}");
}

#[test]
fn ids_are_checked_as_firecracker_does() {
    let drive = |id: &str| json!({ "drive_id": id, "path_on_host": "/d", "is_root_device": false });
    let put = |path: &str, id: &str| refusal(Method::Put, path, &drive(id));
    assert_eq!(put("/drives", "d"), "The ID cannot be empty.");
    assert_eq!(put("/drives/", "d"), "The ID cannot be empty.");
    let odd = "API Resource IDs can only contain alphanumeric characters and underscores.";
    assert_eq!(put("/drives/a-b", "a-b"), odd);
    assert_eq!(put("/drives/a%20b", "a b"), odd);
    let mismatch = "The id from the path does not match the id from the body!";
    assert_eq!(put("/drives/a", "b"), mismatch);
    assert_eq!(
        refusal(Method::Patch, "/pmem/a", &json!({ "id": "b" })),
        mismatch
    );
    assert_eq!(
        refusal(
            Method::Put,
            "/network-interfaces/a",
            &json!({ "iface_id": "b", "host_dev_name": "t" })
        ),
        "The id from the path [a] does not match the id from the body [b]!"
    );
    let long = "x".repeat(65);
    assert!(put(&format!("/drives/{long}"), &long).contains("1 to 64 letters"));
    assert_eq!(
        refusal(Method::Delete, "/shares/", &Value::Null),
        "The ID cannot be empty."
    );
}

#[test]
fn deprecated_ways_work_and_are_told() {
    let load = |body: Value| parse(Method::Put, "/snapshot/load", &body);
    let old = load(
        json!({ "snapshot_path": "/s", "mem_file_path": "/m", "enable_diff_snapshots": true }),
    );
    let old = old.unwrap();
    assert!(old.deprecated);
    let Request::LoadSnapshot(old) = old.request else {
        panic!("it is another request");
    };
    let mut expected = SnapshotLoad::new(HostPath::from("/s"), HostPath::from("/m"));
    expected.track_dirty_pages = true;
    assert_eq!(*old, expected);
    let again = serde_json::to_value(&*old).unwrap();
    assert_eq!(
        serde_json::from_value::<SnapshotLoad>(again).unwrap(),
        expected
    );

    let neither = load(json!({ "snapshot_path": "/s" })).unwrap_err().message;
    assert!(neither.contains("missing field: either `mem_backend` or `mem_file_path` is required"));
    let both = json!({ "snapshot_path": "/s", "mem_file_path": "/m", "mem_backend": { "backend_type": "Uffd", "backend_path": "/u" } });
    assert!(
        load(both)
            .unwrap_err()
            .message
            .contains("exclusively is required")
    );

    for (path, body) in [
        (
            "/vsock",
            json!({ "guest_cid": 3, "uds_path": "/v", "vsock_id": "v" }),
        ),
        (
            "/machine-config",
            json!({ "vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "T2" }),
        ),
        ("/mmds/config", json!({ "network_interfaces": ["n"] })),
    ] {
        assert!(
            parse(Method::Put, path, &body).unwrap().deprecated,
            "{path}"
        );
    }
}

#[test]
fn paths_of_snapshots_are_checked() {
    let create = json!({ "snapshot_path": "", "mem_file_path": "/m" });
    assert!(refusal(Method::Put, "/snapshot/create", &create).contains("snapshot_path is \"\""));
    let mut load = json!({ "snapshot_path": "/s", "mem_file_path": "/m" });
    load["network_overrides"] = json!([{ "iface_id": "n", "host_dev_name": "a b" }]);
    assert!(refusal(Method::Put, "/snapshot/load", &load).contains("name of a TAP device"));
    load["network_overrides"] = json!([{ "iface_id": "n", "host_dev_name": "a" }, { "iface_id": "n", "host_dev_name": "b" }]);
    assert!(refusal(Method::Put, "/snapshot/load", &load).contains("two of them"));
}

#[test]
fn a_working_set_is_a_file_of_its_own_beside_a_file_of_memory() {
    let load = |kind: &str, set: &str| {
        let backend = json!({ "backend_type": kind, "backend_path": "/m", "working_set": set });
        json!({ "snapshot_path": "/s", "mem_backend": backend })
    };
    let parsed = parse(Method::Put, "/snapshot/load", &load("File", "/w")).unwrap();
    let Request::LoadSnapshot(parsed) = parsed.request else {
        panic!("it is another request");
    };
    let named = parsed.host_paths();
    let named: Vec<_> = named.iter().map(|n| (n.path.as_str(), n.used)).collect();
    let expected = [
        ("/s", PathUse::Read),
        ("/m", PathUse::Read),
        ("/w", PathUse::Record),
        // Where the state is if whoever wrote it was killed before it had its name.
        ("/s.pending", PathUse::Read),
    ];
    assert_eq!(named, expected);
    let refused = |kind, set| refusal(Method::Put, "/snapshot/load", &load(kind, set));
    assert!(refused("Uffd", "/w").contains("is for the backend_type File"));
    assert!(refused("File", "").contains("working_set is \"\""));
    for set in ["/s", "/m"] {
        assert!(refused("File", set).contains("a file of the snapshot"));
    }
}

#[test]
fn updates_change_what_they_name_and_nothing_else() {
    use crate::config::Draft;
    let mut draft = Draft::default();
    let mut change = |method, path: &str, body: &Value| {
        let request = parse(method, path, body).unwrap().request;
        draft = draft.changed_by(&request).unwrap();
        draft.clone()
    };
    let bucket = |size: u64| json!({ "size": size, "refill_time": 100 });
    for path in [
        "/drives/d",
        "/network-interfaces/n",
        "/pmem/p",
        "/balloon",
        "/console",
        "/hotplug/memory",
    ] {
        let (_, _, body) = all()
            .into_iter()
            .find(|(m, p, _)| *m == Method::Put && *p == path)
            .unwrap();
        change(Method::Put, path, &body);
    }
    let both =
        json!({ "drive_id": "d", "rate_limiter": { "bandwidth": bucket(1), "ops": bucket(2) } });
    change(Method::Patch, "/drives/d", &both);
    let one =
        json!({ "drive_id": "d", "path_on_host": "/new", "rate_limiter": { "ops": bucket(0) } });
    let after = change(Method::Patch, "/drives/d", &one);
    let drive = serde_json::to_value(&after.drives[0]).unwrap();
    assert_eq!(drive["path_on_host"], "/new");
    assert_eq!(
        drive["rate_limiter"],
        json!({ "bandwidth": bucket(1) }),
        "a bucket of 0 does not limit"
    );

    let update = json!({ "iface_id": "n", "link": "down", "allowed_addresses": ["10.0.0.2"] });
    let interface = change(Method::Patch, "/network-interfaces/n", &update)
        .network_interfaces
        .remove(0);
    assert_eq!(interface.link, crate::config::LinkState::Down);
    assert_eq!(interface.host_dev_name.as_str(), "tap0");
    let balloon = change(Method::Patch, "/balloon", &json!({ "amount_mib": 7 }))
        .balloon
        .unwrap();
    assert_eq!(
        (balloon.amount_mib, balloon.stats_polling_interval_s),
        (7, 1)
    );
    let console = change(
        Method::Patch,
        "/console",
        &json!({ "rows": 1, "columns": 2 }),
    )
    .console;
    assert_eq!(console.unwrap().columns, Some(2));

    let refused = |method, path: &str, body: Value| {
        let request = parse(method, path, &body).unwrap().request;
        draft.changed_by(&request).unwrap_err().to_string()
    };
    let off = refused(
        Method::Patch,
        "/balloon/statistics",
        json!({ "stats_polling_interval_s": 0 }),
    );
    assert!(off.contains("cannot be turned on or off"), "{off}");
    let odd = refused(
        Method::Patch,
        "/hotplug/memory",
        json!({ "requested_size_mib": 3 }),
    );
    assert!(odd.contains("multiple of block_size_mib, 2"), "{odd}");
    let much = refused(
        Method::Patch,
        "/hotplug/memory",
        json!({ "requested_size_mib": 2048 }),
    );
    assert!(much.contains("from 0 to 1024"), "{much}");
    let nobody = refused(Method::Patch, "/pmem/q", json!({ "id": "q" }));
    assert!(
        nobody.contains("there is none with the id \"q\""),
        "{nobody}"
    );
    let none = Draft::default().changed_by(&sample(Method::Patch, "/balloon"));
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("balloon is not configured")
    );
}

proptest! {
    #[test]
    fn no_body_upsets_any_row(
        row in 0..ROUTES.len(),
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64).boxed(),
            r#"\{("[a-z_]{1,12}":(-?[0-9]{1,20}|"[a-z:0-9/]{0,9}"|true|null|\[\]|\{\}),?){0,4}\}"#.prop_map(String::into_bytes).boxed(),
        ],
    ) {
        let route = ROUTES[row];
        let _ = Request::parse(route.method, route.path, &body);
        let _ = Request::parse(route.method, &route.path.replace(['{', '}'], ""), &body);
    }

    #[test]
    fn no_path_upsets_the_table(path in "[/a-z{}-]{0,40}|.{0,40}", body in ".{0,3}") {
        for method in [Method::Get, Method::Put, Method::Patch, Method::Delete] {
            let _ = Request::parse(method, &path, body.as_bytes());
        }
    }
}
