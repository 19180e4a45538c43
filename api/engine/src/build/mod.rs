//! `POST /build`, in the words of Docker's classic builder, and `POST /build/prune`.

mod context;
mod options;
pub(crate) mod prune;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::future::BoxFuture;
use hull_engine::supervisor::{Build, BuildError, Report};
use hull_image::{Digest, Progress};
use serde_json::json;

use crate::error::{ApiError, blocking, sentence};
use crate::images::progress::{self, Way};
use crate::lines::{self, Lines};
use crate::params::Params;
use crate::router::Shared;

pub(crate) async fn build(
    State(supervisor): State<Shared>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let options = options::read(&params, &headers)?;
    let quiet = params.flag("q");
    let context = context::take(&supervisor, params.text("remote"), body).await?;
    // What is wrong with the Dockerfile is a status; what goes wrong afterwards is told.
    let build = {
        let supervisor = Arc::clone(&supervisor);
        blocking(move || Build::prepare(supervisor, context, options).map_err(unprepared)).await?
    };
    let (lines, answer) = Lines::new();
    tokio::spawn(async move {
        let told = Told {
            lines: lines.clone(),
            quiet,
        };
        let built = tokio::select! {
            built = build.run(&told) => built,
            // Nobody wants the image any more.
            () = lines.gone() => return,
        };
        match built {
            Ok(id) if quiet => told.stream(&format!("{id}\n")).await,
            Ok(id) => {
                crate::images::publish(&supervisor, "build", &id.to_string(), &id.to_string());
            }
            Err(error) => failed(&lines, &error),
        }
    });
    Ok(lines::json(answer))
}

/// Who is told.
struct Told {
    lines: Lines,
    quiet: bool,
}

impl Told {
    async fn stream(&self, text: &str) {
        // A client that has left calls the build off by itself.
        let _ = self.lines.send_in_turn(&json!({ "stream": text })).await;
    }
}

impl Report for Told {
    fn say<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if !self.quiet {
                self.stream(text).await;
            }
        })
    }

    fn made(&self, image: &Digest) {
        let _ = self
            .lines
            .send(&json!({ "aux": { "ID": image.to_string() } }));
    }

    fn pull(&self) -> Arc<dyn Progress> {
        if self.quiet {
            return Arc::new(hull_image::progress::Silent);
        }
        Arc::new(progress::Report::new(Way::In, self.lines.clone(), None))
    }
}

fn failed(lines: &Lines, error: &BuildError) {
    let message = sentence(error);
    let detail = json!({ "code": error.code(), "message": message });
    let _ = lines.send(&json!({ "errorDetail": detail, "error": message }));
}

/// Why nothing was begun: most often a mistake of the client's.
fn unprepared(error: BuildError) -> ApiError {
    match error {
        BuildError::Store(error) => error.into(),
        BuildError::Engine(error) => error.into(),
        error => ApiError::invalid(sentence(&error)),
    }
}
