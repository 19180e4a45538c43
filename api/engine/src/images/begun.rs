//! Whether an answer has begun: errors are its status before, and its last line afterwards.

use std::sync::{Mutex, PoisonError};

use hull_image::{Event, Progress};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::progress::Report;
use crate::error::ApiError;

/// The end of it that waits.
pub(super) struct Begun(oneshot::Receiver<()>);

/// The end of it that begins.
pub(super) struct First(Mutex<Option<oneshot::Sender<()>>>);

impl Begun {
    pub(super) fn new() -> (First, Self) {
        let (sender, receiver) = oneshot::channel();
        (First(Mutex::new(Some(sender))), Self(receiver))
    }

    /// Waits until there is something to tell, or the task has failed before.
    pub(super) async fn or_failed(
        self,
        task: JoinHandle<Result<(), ApiError>>,
    ) -> Result<(), ApiError> {
        tokio::select! {
            biased;
            Ok(()) = self.0 => Ok(()),
            ended = task => match ended {
                Ok(result) => result,
                Err(error) => Err(ApiError::internal(format!("the pull was not finished: {error}"))),
            },
        }
    }
}

impl First {
    pub(super) fn begin(&self) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have left.
            let _ = sender.send(());
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }
}

/// Tells of progress, and that there is some.
pub(super) struct Watch {
    /// Nothing if nobody wants to hear of it.
    pub(super) report: Option<Report>,
    pub(super) first: First,
}

impl Progress for Watch {
    fn report(&self, event: &Event) {
        if let Some(report) = &self.report {
            // A registry that has not been reached yet may still make it an error with a status.
            if !self.first.has_begun() && matches!(event, Event::Retry { .. }) {
                return;
            }
            self.first.begin();
            report.report(event);
        }
    }
}
