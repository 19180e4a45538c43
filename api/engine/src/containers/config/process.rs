//! The process: what it runs, as whom, where, with what around it.

use std::time::Duration;

use hull_engine::{ContainerConfig, signal_number};

use super::body::CreateBody;
use crate::error::ApiError;

pub(super) fn convert(body: &CreateBody, config: &mut ContainerConfig) -> Result<(), ApiError> {
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    if let Some(entry) = body
        .env
        .iter()
        .find(|entry| entry.is_empty() || entry.starts_with('='))
    {
        return Err(ApiError::invalid(format!(
            "invalid environment variable: {entry}"
        )));
    }
    if let Some(signal) = given(&body.stop_signal) {
        signal_number(&signal).map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    config.command = body.command();
    config.entrypoint = body.entrypoint();
    config.env.clone_from(&body.env);
    config.working_dir = given(&body.working_dir);
    config.user = given(&body.user);
    config.hostname = given(&body.hostname);
    config.tty = body.tty;
    config.open_stdin = body.open_stdin;
    config.stdin_once = body.stdin_once;
    config.labels.clone_from(&body.labels);
    config.stop_signal = given(&body.stop_signal);
    config.stop_timeout = body.stop_timeout.map(stop_timeout);
    Ok(())
}

/// Seconds; below zero a stop waits for ever.
pub(crate) fn stop_timeout(seconds: i64) -> Duration {
    u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs)
}
