//! A port that shows the metrics and nothing else. Anybody who reaches it may look, so that connections are few and short.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Metrics, show};

/// How many may look at once; others wait.
const AT_ONCE: usize = 8;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nobody is let in after the operating system refused a connection.
const BREATH: Duration = Duration::from_millis(100);

impl Metrics {
    /// Answers `GET /metrics` until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let metrics = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let metrics = Arc::clone(&metrics);
                    async move { Ok::<_, Infallible>(answer(&request, metrics).await) }
                });
                let connection = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                if let Ok(Err(error)) = timeout(PATIENCE, connection).await {
                    tracing::debug!(%error, "a connection broke");
                }
                drop(place);
            });
        }
    }
}

async fn answer(request: &hyper::Request<Incoming>, metrics: Arc<Metrics>) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => show(metrics).await,
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n").into_response(),
        _ => (StatusCode::NOT_FOUND, "metrics are at /metrics\n").into_response(),
    }
}
