//! `POST /images/load`: what `docker save` wrote.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::TryStreamExt;
use hull_image::{Input, LoadOptions};
use serde_json::json;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::begun::{Begun, Watch};
use super::platform;
use super::progress::{Report, Way};
use crate::error::{ApiError, sentence};
use crate::lines::{self, Lines};
use crate::params::Params;
use crate::router::Shared;

pub(crate) async fn load(
    State(supervisor): State<Shared>,
    params: Params,
    body: Body,
) -> Result<Response, ApiError> {
    let quiet = params.flag_or("quiet", true);
    let platform = platform::wanted(&params)?;
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    let archive = SyncIoBridge::new(StreamReader::new(Box::pin(bytes)));
    let options = LoadOptions {
        platform,
        name: None,
    };
    let (lines, answer) = Lines::new();
    let (first, begun) = Begun::new();
    let shown = (!quiet).then(|| Report::new(Way::In, lines.clone(), None));
    let report = Arc::new(Watch {
        report: shown,
        first,
    });
    let task = tokio::spawn(async move {
        let store = supervisor.images().clone();
        let input = Input::Stream(Box::new(archive));
        match store.load(input, &options, report.clone()).await {
            Ok(images) => {
                report.first.begin();
                for image in images {
                    let id = image.id.to_string();
                    super::publish(&supervisor, "load", &id, &id);
                    if image.names.is_empty() {
                        // Whoever has left does not want to know.
                        let _ =
                            lines.send(&json!({ "stream": format!("Loaded image ID: {id}\n") }));
                    }
                    for name in image.names {
                        let _ = lines.send(
                            &json!({ "stream": format!("Loaded image: {}\n", name.familiar()) }),
                        );
                    }
                }
                Ok(())
            }
            Err(error) if report.first.has_begun() => {
                lines.fail(&sentence(&error));
                Ok(())
            }
            Err(error) => Err(ApiError::invalid(sentence(&error))),
        }
    });
    begun.or_failed(task).await?;
    Ok(lines::json(answer))
}
