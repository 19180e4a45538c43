//! Uploads that go on after an interruption.

use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;

use super::Error;
use crate::registry::{self, Client, LocalBlob, Moved, Retry, Upload};

/// A blob that is being uploaded.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client,
    pub(super) retry: &'a Retry,
    pub(super) blob: LocalBlob<'a>,
    pub(super) moved: Moved,
}

impl Transfer<'_> {
    /// Uploads all of it, through interruptions.
    pub(super) async fn run(&self, report: impl Fn(String, Duration)) -> Result<(), Error> {
        let mut upload = None;
        let mut failures = 0;
        let mut stalls = 0;
        loop {
            let resumed = upload.is_some();
            let error = match self.attempt(&mut upload).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures += 1;
            let stalled = matches!(error, registry::Error::Stalled { .. });
            stalls += u32::from(stalled);
            // What was put together of two parts may not fit together; begun anew it does.
            let again = resumed && is_refusal(&error);
            let worth = error.is_transient() || again || (stalled && stalls < 2);
            match self.retry.delay(failures, error.retry_after()) {
                Some(after) if worth => {
                    if again {
                        upload = None;
                    }
                    report(error.to_string(), after);
                    sleep(after).await;
                }
                _ => return Err(error.into()),
            }
        }
    }

    async fn attempt(&self, upload: &mut Option<Upload>) -> Result<(), registry::Error> {
        let (mut session, offset) = match upload.take() {
            None => (self.client.begin_upload().await?, 0),
            Some(session) => match self.resume(session).await? {
                Some(resumed) => resumed,
                None => return Ok(()),
            },
        };
        // Whatever happens now, the next attempt asks how far this one came.
        *upload = Some(session.clone());
        if offset < self.blob.size {
            let moved = self.moved.clone();
            let sent = self
                .client
                .send_rest(&mut session, self.blob, offset, moved);
            sent.await?;
            *upload = Some(session.clone());
        }
        self.client.commit(&session, &self.blob.digest).await
    }

    /// Where an interrupted upload goes on; `None` if it was complete.
    async fn resume(&self, mut session: Upload) -> Result<Option<(Upload, u64)>, registry::Error> {
        match self.client.received(&mut session).await {
            Ok(received) if received <= self.blob.size => return Ok(Some((session, received))),
            Err(error) if error.is_transient() => return Err(error),
            _ => {}
        }
        // The registry forgot it, perhaps because only its last answer was lost.
        if self.client.has_blob(&self.blob.digest).await? {
            return Ok(None);
        }
        Ok(Some((self.client.begin_upload().await?, 0)))
    }
}

fn is_refusal(error: &registry::Error) -> bool {
    match error {
        registry::Error::NotFound { .. } => true,
        registry::Error::Unexpected { status, .. } => matches!(
            *status,
            StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::CONFLICT
        ),
        _ => false,
    }
}
