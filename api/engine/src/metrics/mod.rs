//! What the daemon counts and measures, in the text form of OpenMetrics that Prometheus reads.

mod containers;
mod process;
mod serve;

use std::sync::Arc;

use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::supervisor::Supervisor;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::error::{ApiError, blocking};

const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels of requests: method, route and status.
type Labels = [(&'static str, String); 3];

/// All metrics of a daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
}

impl Metrics {
    pub(crate) fn of(supervisor: &Arc<Supervisor>) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Labels, Counter>::default();
        registry.register(
            "hull_api_requests",
            "Requests that were answered, by route and status",
            requests.clone(),
        );
        supervisor.starts().register(&mut registry);
        registry.register_collector(Box::new(containers::Containers(Arc::clone(supervisor))));
        registry.register_collector(Box::new(process::Own));
        Self { registry, requests }
    }

    /// Takes a request into account. What clients make up is no label: there is a fixed number of methods, routes and statuses.
    pub(crate) fn count(&self, method: &Method, route: Option<&str>, status: u16) {
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
        ];
        let method = match known.contains(method) {
            true => method.as_str(),
            false => "other",
        };
        let labels = [
            ("method", method.to_owned()),
            ("route", route.unwrap_or("none").to_owned()),
            ("code", status.to_string()),
        ];
        self.requests.get_or_create(&labels).inc();
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut all = String::new();
        text::encode(&mut all, &self.registry)?;
        Ok(all)
    }
}

/// `GET /metrics`.
pub(crate) async fn show(metrics: Arc<Metrics>) -> Response {
    let text = blocking(move || {
        metrics
            .text()
            .map_err(|error| ApiError::internal(format!("metrics cannot be written: {error}")))
    });
    match text.await {
        Ok(text) => ([(CONTENT_TYPE, TYPE)], text).into_response(),
        Err(error) => error.into_response(),
    }
}
