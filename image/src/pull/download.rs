//! One layer's bytes from the registry into its partial file, through interruptions.

use std::sync::Arc;

use tokio::time::sleep;

use super::error::Error;
use super::growing::Growth;
use super::part::{Appender, Part};
use super::task::Reporter;
use crate::digest::Digest;
use crate::import;
use crate::registry::{self, Client, Retry};

/// After so many bytes without a failure, earlier failures are forgiven.
const FORGIVE: u64 = 1 << 20;

/// A layer to download.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) retry: &'a Retry,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) report: &'a Reporter<'a>,
}

/// How often a connection failed, and since when it did not.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    stalls: u32,
    since: u64,
}

impl Download<'_> {
    /// Completes `part`. The file comes back with the digest of what it holds.
    pub(crate) async fn run(
        &self,
        part: Part,
        growth: Arc<Growth>,
    ) -> Result<(Part, Digest), Error> {
        let start = part.length();
        let path = part.path().to_owned();
        let appender = part.append(self.size, growth);
        let fetched = self.fetch(start, &appender).await;
        let failed = |source| Error::Write {
            digest: self.digest,
            path: path.clone(),
            source,
        };
        let (part, written) = appender.finish().await.map_err(failed)?;
        let digest = match written {
            Ok(digest) => digest,
            // A full disk ends the transfer too; it is the better explanation. What fills it is given up.
            Err(source) => {
                part.remove().map_err(failed)?;
                return Err(failed(source));
            }
        };
        if let Err(error) = fetched {
            if matches!(
                error,
                Error::Registry(registry::Error::TooLong { .. }) | Error::Import(_)
            ) {
                // What a lying registry sent is not worth keeping.
                part.remove().map_err(failed)?;
            }
            return Err(error);
        }
        let digest = digest.ok_or_else(|| self.wrong_size(start))?;
        Ok((part, digest))
    }

    /// Receives everything from byte `start` on.
    async fn fetch(&self, start: u64, appender: &Appender) -> Result<(), Error> {
        let mut received = start;
        let mut failures = Failures {
            since: start,
            ..Failures::default()
        };
        self.report.downloading(received);
        while received < self.size {
            let before = received;
            let Err(error) = self.connect(&mut received, appender).await else {
                continue;
            };
            let Error::Registry(cause) = &error else {
                return Err(error);
            };
            let stalled = matches!(cause, registry::Error::Stalled { .. });
            if received.saturating_sub(failures.since) >= FORGIVE {
                failures = Failures::default();
            }
            failures.since = received;
            // A connection may die in silence. One that never spoke, or does it again, is the
            // registry's doing.
            failures.stalls += u32::from(stalled);
            let worth = if stalled {
                received > before && failures.stalls < 2
            } else {
                cause.is_transient()
            };
            failures.count += 1;
            let delay = self.retry.delay(failures.count, cause.retry_after());
            match delay {
                Some(delay) if worth => {
                    self.report.retrying(cause, delay);
                    sleep(delay).await;
                }
                _ => return Err(error),
            }
        }
        Ok(())
    }

    /// One request, from `received` on.
    async fn connect(&self, received: &mut u64, appender: &Appender) -> Result<(), Error> {
        let mut blob = self.client.blob(&self.digest, *received).await?;
        if let Some(announced) = blob.announced()
            && blob.offset.saturating_add(announced) != self.size
        {
            return Err(self.wrong_size(blob.offset.saturating_add(announced)));
        }
        // A registry that knows no ranges starts over.
        let mut skip = *received - blob.offset;
        while let Some(mut piece) = blob.chunk().await? {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            let skipped = skip.min(length);
            skip -= skipped;
            bytes::Buf::advance(&mut piece, usize::try_from(skipped).unwrap_or(0));
            let length = length - skipped;
            if length > self.size - *received {
                return Err(Error::Registry(
                    self.client.too_long(&self.digest, self.size),
                ));
            }
            if length > 0 {
                if !appender.push(piece).await {
                    // The file cannot be written; its thread knows why.
                    return Err(self.wrong_size(*received));
                }
                *received += length;
                self.report.downloading(*received);
            }
        }
        if *received < self.size {
            return Err(Error::Registry(self.client.ended_early(&self.digest)));
        }
        Ok(())
    }

    fn wrong_size(&self, found: u64) -> Error {
        Error::Import(import::Error::Size {
            what: format!("blob {}", self.digest),
            expected: self.size,
            found,
        })
    }
}
