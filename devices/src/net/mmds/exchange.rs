//! The bytes of one connection: requests in, answers out, one after the other. Pure.

use std::time::Duration;

use super::http;
use super::store::Mmds;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 4096;

/// One connection. It holds at most one request and one answer.
#[derive(Debug, Default)]
pub struct Exchange {
    input: Vec<u8>,
    /// Bytes of a body that are yet to come, and that nobody wants.
    skip: u64,
    output: Vec<u8>,
    /// How much of the output is sent.
    sent: usize,
    closes: bool,
}

impl Exchange {
    /// How many bytes [`Exchange::take`] takes: none while an answer is being sent.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.closes || !self.output.is_empty() {
            return 0;
        }
        MAX_HEAD.saturating_sub(self.input.len())
    }

    /// Takes bytes, and answers when a request is complete. `now` is on the monotonic clock.
    pub fn take(&mut self, bytes: &[u8], mmds: &Mmds, now: Duration) {
        self.input.extend_from_slice(bytes);
        self.advance(mmds, now);
    }

    /// What is to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or_default()
    }

    /// So much of it was sent. The next request may be there already.
    pub fn sent(&mut self, count: usize, mmds: &Mmds, now: Duration) {
        self.sent = self.sent.saturating_add(count);
        if self.sent >= self.output.len() {
            // An answer can be large; an idle connection keeps nothing of it.
            self.output = Vec::new();
            self.sent = 0;
            self.advance(mmds, now);
        }
    }

    /// Whether the last answer is sent and the connection can be closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.closes && self.output.is_empty()
    }

    /// Answers the next request, if it is there.
    fn advance(&mut self, mmds: &Mmds, now: Duration) {
        if self.closes || !self.output.is_empty() {
            return;
        }
        let skipped = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(self.input.len());
        self.input.drain(..skipped);
        self.skip -= u64::try_from(skipped).unwrap_or(0);
        if self.input.is_empty() {
            return;
        }
        let (len, output) = match http::parse(&self.input) {
            Ok(None) if self.input.len() < MAX_HEAD => return,
            Ok(None) => {
                self.closes = true;
                (0, http::too_long())
            }
            Ok(Some(request)) => {
                self.skip = request.body;
                self.closes = !request.keep_alive;
                (request.len, http::respond(&request, mmds, now))
            }
            Err(refusal) => {
                self.closes = true;
                (0, refusal)
            }
        };
        self.input.drain(..len.min(self.input.len()));
        self.output = output;
    }
}
