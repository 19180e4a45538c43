//! `GET` and `HEAD /_ping`: by its headers clients choose the version that they speak.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use axum::response::{IntoResponse, Response};

pub(crate) async fn ping() -> Response {
    let headers = [
        ("builder-version", "1"),
        ("swarm", "inactive"),
        (
            CACHE_CONTROL.as_str(),
            "no-cache, no-store, must-revalidate",
        ),
        (PRAGMA.as_str(), "no-cache"),
        (CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"),
    ];
    (headers, "OK").into_response()
}
