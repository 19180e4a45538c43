//! `GET /version`.

use axum::response::Response;
use serde_json::json;

use super::host;
use crate::lines;
use crate::version::{NEWEST, OLDEST};

pub(crate) async fn version() -> Response {
    let (version, kernel) = (env!("CARGO_PKG_VERSION"), host::kernel());
    let (newest, oldest) = (NEWEST.to_string(), OLDEST.to_string());
    lines::value(&json!({
        "Platform": { "Name": "Hull" },
        "Components": [{
            "Name": "Engine",
            "Version": version,
            "Details": {
                "ApiVersion": newest,
                "MinAPIVersion": oldest,
                "Os": "linux",
                "Arch": "amd64",
                "KernelVersion": kernel,
                "Experimental": "true",
            },
        }],
        "Version": version,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": kernel,
        "BuildTime": "",
        "Experimental": true,
    }))
}
