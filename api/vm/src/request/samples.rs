//! For tests: a valid request for every row of the table.

use serde_json::{Value, json};

use super::{Method, Request};

/// Method, path and body of each.
pub(crate) fn all() -> Vec<(Method, &'static str, Value)> {
    use Method::{Delete, Get, Patch, Put};
    let limiter = json!({ "bandwidth": { "size": 1, "refill_time": 1 } });
    let mmds = json!({ "version": "V2", "network_interfaces": ["n"] });
    let load = json!({ "snapshot_path": "/s", "mem_backend": { "backend_type": "File", "backend_path": "/m" } });
    vec![
        (Get, "/", Value::Null),
        (Get, "/version", Value::Null),
        (Get, "/vm/config", Value::Null),
        (Patch, "/vm", json!({ "state": "Paused" })),
        (Put, "/actions", json!({ "action_type": "InstanceStart" })),
        (Put, "/boot-source", json!({ "kernel_image_path": "/k" })),
        (Get, "/machine-config", Value::Null),
        (
            Put,
            "/machine-config",
            json!({ "vcpu_count": 2, "mem_size_mib": 256 }),
        ),
        (Patch, "/machine-config", json!({ "vcpu_count": 4 })),
        (Put, "/cpu-config", json!({})),
        (
            Put,
            "/drives/d",
            json!({ "drive_id": "d", "path_on_host": "/d", "is_root_device": false }),
        ),
        (
            Patch,
            "/drives/d",
            json!({ "drive_id": "d", "rate_limiter": limiter }),
        ),
        (Delete, "/drives/d", Value::Null),
        (Put, "/pmem/p", json!({ "id": "p", "path_on_host": "/p" })),
        (
            Patch,
            "/pmem/p",
            json!({ "id": "p", "rate_limiter": limiter }),
        ),
        (Delete, "/pmem/p", Value::Null),
        (
            Put,
            "/network-interfaces/n",
            json!({ "iface_id": "n", "host_dev_name": "tap0" }),
        ),
        (
            Patch,
            "/network-interfaces/n",
            json!({ "iface_id": "n", "link": "down" }),
        ),
        (Delete, "/network-interfaces/n", Value::Null),
        (Put, "/shares/s", json!({ "tag": "s", "path": "/s" })),
        (Delete, "/shares/s", Value::Null),
        (Put, "/vsock", json!({ "guest_cid": 3, "uds_path": "/v" })),
        (Put, "/entropy", json!({})),
        (Put, "/serial", json!({})),
        (Put, "/console", json!({ "output_path": "/o" })),
        (Patch, "/console", json!({ "rows": 50, "columns": 132 })),
        (Get, "/balloon", Value::Null),
        (
            Put,
            "/balloon",
            json!({ "amount_mib": 1, "deflate_on_oom": false, "stats_polling_interval_s": 1 }),
        ),
        (Patch, "/balloon", json!({ "amount_mib": 2 })),
        (Get, "/balloon/statistics", Value::Null),
        (
            Patch,
            "/balloon/statistics",
            json!({ "stats_polling_interval_s": 2 }),
        ),
        (Patch, "/balloon/hinting/start", Value::Null),
        (Get, "/balloon/hinting/status", Value::Null),
        (Patch, "/balloon/hinting/stop", Value::Null),
        (Get, "/hotplug/memory", Value::Null),
        (Put, "/hotplug/memory", json!({ "total_size_mib": 1024 })),
        (
            Patch,
            "/hotplug/memory",
            json!({ "requested_size_mib": 256 }),
        ),
        (Get, "/mmds", Value::Null),
        (Put, "/mmds", json!({ "a": 1 })),
        (Patch, "/mmds", json!({ "a": null })),
        (Put, "/mmds/config", mmds),
        (Put, "/logger", json!({ "level": "Debug" })),
        (Get, "/metrics", Value::Null),
        (Put, "/metrics", json!({ "metrics_path": "/m" })),
        (
            Put,
            "/snapshot/create",
            json!({ "snapshot_path": "/s", "mem_file_path": "/m" }),
        ),
        (Put, "/snapshot/load", load),
    ]
}

/// The request with such a body; null is none.
pub(crate) fn parse(
    method: Method,
    path: &str,
    body: &Value,
) -> Result<super::Parsed, crate::Fault> {
    let body = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    Request::parse(method, path, &body)
}

/// The sample for a row, by its method and the first part of its path.
pub(crate) fn sample(method: Method, path: &str) -> Request {
    let rows = all().into_iter();
    let mut rows = rows.filter(|(m, p, _)| *m == method && *p == path);
    let (_, _, body) = rows.next().expect("a sample for every row");
    parse(method, path, &body).expect("a valid sample").request
}
