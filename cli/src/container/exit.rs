//! The end of a container.

use std::process::ExitCode;

use hyper::body::Incoming;
use hyper::{Method, Response};
use serde::Deserialize;

use crate::client::{Daemon, Exchange, escaped};

/// A question that the daemon answers when a container has ended.
#[derive(Debug)]
pub(crate) struct Waiting(Response<Incoming>);

/// The answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    status_code: i64,
    error: Option<Failure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

impl Waiting {
    /// Asks for it: `not-running`, `next-exit` or `removed`. When this returns, the daemon has taken note.
    pub(crate) async fn begin(
        daemon: &Daemon,
        container: &str,
        condition: &str,
    ) -> anyhow::Result<Self> {
        let path = format!(
            "/containers/{}/wait?condition={condition}",
            escaped(container)
        );
        let exchange = Exchange::new(Method::POST, path);
        Ok(Self(daemon.exchange(exchange).await?))
    }

    /// The exit code of its program.
    pub(crate) async fn code(self) -> anyhow::Result<i64> {
        let answer: Answer = crate::client::understood(self.0).await?;
        match answer.error.filter(|error| !error.message.is_empty()) {
            // A code of its own means that it ended all the same.
            Some(error) if answer.status_code < 0 => anyhow::bail!("{}", error.message),
            _ => Ok(answer.status_code),
        }
    }

    /// The same as this command's own.
    pub(crate) async fn exit_code(self) -> anyhow::Result<ExitCode> {
        Ok(exit_code(self.code().await?))
    }
}

/// An exit code as this command's own.
pub(super) fn exit_code(code: i64) -> ExitCode {
    // As the kernel has it: the lowest eight bits.
    let [.., low] = code.to_be_bytes();
    ExitCode::from(low)
}
