//! Connections: each is HTTP/1.1, until a request takes it over for a stream.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::header::SERVER;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use hull_engine::supervisor::Supervisor;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::error::ApiError;
use crate::listener::{Accepted, Listener};
use crate::metrics::Metrics;
use crate::{router, version};

const NAME: &str = concat!("Hull/", env!("CARGO_PKG_VERSION"), " (linux)");
/// How long requests that are being answered may take after the server was told to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long nobody is let in after the operating system refused a connection, which is when descriptors ran out.
const BREATH: Duration = Duration::from_millis(100);

/// The API of one supervisor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    router: Router,
    metrics: Arc<Metrics>,
}

impl Api {
    /// The API of this supervisor.
    #[must_use]
    pub fn new(supervisor: Arc<Supervisor>) -> Self {
        let metrics = Arc::new(Metrics::of(&supervisor));
        Self {
            router: router::router(supervisor, &metrics),
            metrics,
        }
    }

    /// What it counts, for a listener that shows nothing else.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Answers whoever connects, until `shutdown` comes; then what is being answered is finished, if it does not
    /// take long.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        &self,
        listener: impl Into<Listener>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = listener.into();
        let (connections, end) = (TaskTracker::new(), CancellationToken::new());
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok(Accepted::Unix(stream)) => {
                    let (api, end) = (self.clone(), end.clone());
                    connections.spawn(async move { api.connection(stream, end.cancelled()).await });
                }
                Ok(Accepted::Tls(stranger)) => {
                    let (api, end) = (self.clone(), end.clone());
                    connections.spawn(async move {
                        if let Some(stream) = stranger.introduced().await {
                            api.connection(stream, end.cancelled()).await;
                        }
                    });
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        end.cancel();
        connections.close();
        let _ = timeout(LAST_WORDS, connections.wait()).await;
        Ok(())
    }

    /// Answers the requests of one connection, be it a Unix socket or TLS.
    pub async fn connection<S>(&self, stream: S, end: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let api = self.clone();
            async move { Ok::<_, Infallible>(api.answer(request.map(Body::new)).await) }
        });
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection, end);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = &mut end => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            // Clients that leave in the middle are no news.
            tracing::debug!(%error, "a connection broke");
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request) -> Response {
        let began = Instant::now();
        let method = request.method().clone();
        let described = format!("{method} {}", request.uri().path());
        let mut response = match version::strip(&mut request) {
            Err(error) => error.into_response(),
            Ok(()) => {
                // What was begun is finished, also when the client leaves: nothing stays half-started.
                let routed = tokio::spawn(self.router.clone().oneshot(request));
                match routed.await {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_) => {
                        tracing::error!(request = described, "a request made the server panic");
                        let message = "the server failed at this request; its log says where";
                        ApiError::internal(message).into_response()
                    }
                }
            }
        };
        let status = response.status().as_u16();
        let route = response.extensions_mut().remove::<MatchedPath>();
        self.metrics
            .count(&method, route.as_ref().map(MatchedPath::as_str), status);
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        tracing::debug!(request = described, status, ms);
        introduce(&mut response);
        response
    }
}

/// What every answer says about the server.
fn introduce(response: &mut Response) {
    let newest = HeaderValue::from_str(&version::NEWEST.to_string());
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(NAME));
    headers.insert(
        HeaderName::from_static("ostype"),
        HeaderValue::from_static("linux"),
    );
    headers.insert(
        HeaderName::from_static("docker-experimental"),
        // Checkpoints are what Docker calls so, and what its client offers only then.
        HeaderValue::from_static("true"),
    );
    if let Ok(newest) = newest {
        headers.insert(HeaderName::from_static("api-version"), newest);
    }
}

/// Whether a listener that failed so will never give another connection.
fn is_fatal(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let fatal = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP];
    error
        .raw_os_error()
        .is_some_and(|code| fatal.contains(&Errno::from_raw_os_error(code)))
}
