//! Output: collected into lines, each of which goes out whole or is dropped.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use super::SerialCounters;
use crate::rate::{Limits, RateConfig};
use crate::timer::now;

/// Bytes that wait for the end of their line. A pipe takes so many whole or not at all (POSIX `PIPE_BUF`).
const LINE: usize = 256;

/// Collects a line and writes it at once.
pub(super) struct Lines {
    out: Box<dyn Write + Send>,
    line: Vec<u8>,
    limits: Limits,
    counters: Arc<SerialCounters>,
    /// Nothing was dropped yet: it is told once, and counted for ever.
    whole: bool,
}

impl Lines {
    pub(super) fn new(
        out: Box<dyn Write + Send>,
        rate: &RateConfig,
        counters: Arc<SerialCounters>,
    ) -> Self {
        Self {
            out,
            line: Vec::with_capacity(LINE),
            limits: Limits::new(rate, now()),
            counters,
            whole: true,
        }
    }

    /// Writes what there is, without waiting.
    pub(super) fn send(&mut self) {
        let bytes = self.line.len() as u64;
        if bytes == 0 {
            return;
        }
        if self.limits.admit(bytes, 0, now()).is_err() {
            self.counters.rate_limiter_dropped_bytes.add(bytes);
            self.line.clear();
            return;
        }
        self.limits.charge(bytes, 0);
        let (written, error) = self.write_now();
        self.counters.written_bytes.add(written);
        if written < bytes {
            self.counters.dropped_bytes.add(bytes - written);
            if std::mem::take(&mut self.whole) {
                let why = error.map_or_else(String::new, |error| format!(" ({error})"));
                tracing::warn!(
                    "what the serial port writes is not taken{why}: it is dropped, and the metrics say how much"
                );
            }
        }
        self.line.clear();
    }

    fn write_now(&mut self) -> (u64, Option<io::Error>) {
        let mut written = 0;
        let result = loop {
            match self.out.write(self.line.get(written..).unwrap_or_default()) {
                Ok(0) => break None,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
            if written == self.line.len() {
                break None;
            }
        };
        (written as u64, result)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' || self.line.len() == LINE {
                self.send();
            }
        }
        Ok(bytes.len())
    }

    /// The register file flushes after each byte, which would undo the collecting.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.send();
    }
}
