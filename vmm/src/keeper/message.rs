//! What the keeper and the machine's process tell each other.

use hull_vm_api::config::{Logger, Metrics};
use hull_vm_api::request::{Method, SnapshotLoad};
use hull_vm_api::server::Original;
use hull_vm_api::{Draft, ExitCause, Fault, Reply, VmConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ending::End;
use crate::error::{StartError, with_sources};
use crate::metrics::Counted;
use crate::outside::Wish;

/// What the keeper wants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// A machine. It can be ordered again if it did not start.
    Start(Box<Start>),
    /// What the snapshot names can be asked for ([`Report::Restores`]), or why it cannot.
    Restore(Result<(), String>),
    /// The answer to a request.
    Answer(Forwarded),
    /// What somebody outside wants.
    Fulfil(Wish),
}

/// What a machine comes from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// It boots.
    Boot(Box<VmConfig>),
    /// It goes on where it was.
    Snapshot(Box<SnapshotLoad>),
}

/// A machine and what goes with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// What it comes from.
    pub(crate) origin: Origin,
    /// If it does not start, there will be no other.
    pub(crate) only: bool,
    /// The same with what does not belong to the machine; of one that comes from a snapshot only that, and its terminals.
    pub(crate) draft: Draft,
    /// What its guest can ask for.
    pub(crate) metadata: Value,
    /// The most of that, in bytes of JSON.
    pub(crate) metadata_limit: usize,
    /// How its log is; where it goes is asked for.
    pub(crate) log: Logger,
    /// The log goes to a file.
    pub(crate) log_in_file: bool,
    /// How its figures are, if they go anywhere; where to is asked for.
    pub(crate) metrics: Option<Metrics>,
    /// What the keeper has counted.
    pub(crate) counted: Counted,
}

/// A request, to be read once more: what the keeper made of it is not believed, and need not be written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Forwarded {
    method: String,
    path: String,
    body: String,
    /// What the keeper has counted by now.
    counted: Counted,
}

/// What the machine's process has to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// What the snapshot is, with the host's files and interfaces that it needs. No guest has run in this process.
    Restores(Box<Draft>),
    /// The machine runs, or stands still as it was ordered.
    Started,
    /// It does not; another one may be tried.
    NotStarted(Failure),
    /// The answer to a request: the body in JSON, if there is one.
    Answer(Result<Option<String>, Fault>),
    /// The request under way is answered later ([`Report::Late`]); until then others can be.
    Aside,
    /// The answer to that one.
    Late(Result<Option<String>, Fault>),
    /// The machine has ended, and its process is about to.
    Ended(Ended),
}

/// Why a machine did not start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) cause: ExitCause,
    pub(crate) sentence: String,
}

/// How a machine ended: as far as it was told by itself, or why it could not go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ended {
    /// It had an end.
    Told {
        /// The cause.
        cause: ExitCause,
        /// More about it.
        detail: Option<String>,
    },
    /// Its event loop failed.
    Failed(Failure),
}

impl Ended {
    /// Its cause.
    #[must_use]
    pub(crate) fn cause(&self) -> ExitCause {
        match self {
            Self::Told { cause, .. } => *cause,
            Self::Failed(failure) => failure.cause,
        }
    }
}

impl From<&StartError> for Failure {
    fn from(error: &StartError) -> Self {
        Self {
            cause: error.cause(),
            sentence: with_sources(error),
        }
    }
}

impl From<Result<End, StartError>> for Ended {
    fn from(end: Result<End, StartError>) -> Self {
        match end {
            Ok(End { cause, detail }) => Self::Told { cause, detail },
            Err(error) => Self::Failed(Failure::from(&error)),
        }
    }
}

impl Forwarded {
    /// A request as it came.
    #[must_use]
    pub(crate) fn new(original: &Original, counted: Counted) -> Self {
        Self {
            method: original.method.as_str().to_owned(),
            path: original.path.clone(),
            // Where a body matters it is JSON, and that is UTF-8.
            body: String::from_utf8_lossy(&original.body).into_owned(),
            counted,
        }
    }

    /// What the keeper had counted when it came.
    #[must_use]
    pub(crate) fn counted(&self) -> Counted {
        self.counted.clone()
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is wrong, which the keeper has found out already.
    pub(crate) fn parse(&self) -> Result<hull_vm_api::Request, Fault> {
        let method = Method::named(&self.method)
            .ok_or_else(|| Fault::internal("the request has no known method"))?;
        let parsed = hull_vm_api::Request::parse(method, &self.path, self.body.as_bytes())?;
        Ok(parsed.request)
    }
}

impl Report {
    /// The answer to a request.
    #[must_use]
    pub(crate) fn answer(answer: Result<Reply, Fault>) -> Self {
        Self::Answer(written(answer))
    }

    /// The answer to the request that waits aside.
    #[must_use]
    pub(crate) fn late(answer: Result<Reply, Fault>) -> Self {
        Self::Late(written(answer))
    }
}

/// With its body in JSON, if it has one.
fn written(answer: Result<Reply, Fault>) -> Result<Option<String>, Fault> {
    let body = answer?.body();
    let body = body.map_err(|error| Fault::internal(error.to_string()))?;
    Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
}
