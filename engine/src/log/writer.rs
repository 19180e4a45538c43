//! The end of a log that the container's owner has.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{LONGEST_LINE, Line, rotated};
use crate::attachment::OutputStream;
use crate::container::LogConfig;

/// Writes a container's output down.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    config: LogConfig,
    /// What has no end of line yet, of standard output and error.
    unfinished: [Vec<u8>; 2],
    /// Lines of one piece of output, written at once.
    text: Vec<u8>,
    /// Somebody was told that lines are lost.
    failed: bool,
}

impl LogWriter {
    /// Goes on with the log of this name.
    pub(crate) fn open(path: &Path, config: &LogConfig) -> io::Result<Self> {
        let file = begin(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            config: config.clone(),
            unfinished: [Vec::new(), Vec::new()],
            text: Vec::new(),
            failed: false,
        })
    }

    /// Writes output down, as far as its lines are whole. A program goes on whether there is room for its log or not.
    pub(crate) fn write(&mut self, stream: OutputStream, mut data: &[u8]) {
        let mut unfinished = std::mem::take(self.unfinished_of(stream));
        while !data.is_empty() {
            let room = LONGEST_LINE - unfinished.len();
            let window = data.get(..room).unwrap_or(data);
            let end = window.iter().position(|byte| *byte == b'\n');
            let (now, later) = data.split_at(end.map_or(window.len(), |end| end + 1));
            unfinished.extend_from_slice(now);
            data = later;
            if end.is_some() || unfinished.len() >= LONGEST_LINE {
                self.line(stream, &unfinished);
                unfinished.clear();
            }
        }
        *self.unfinished_of(stream) = unfinished;
        self.flush();
    }

    /// Writes down what never got an end of line.
    pub(crate) fn finish(mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let rest = std::mem::take(self.unfinished_of(stream));
            if !rest.is_empty() {
                self.line(stream, &rest);
            }
        }
        self.flush();
    }

    fn unfinished_of(&mut self, stream: OutputStream) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.unfinished;
        match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        }
    }

    fn line(&mut self, stream: OutputStream, data: &[u8]) {
        let log: Cow<'_, str> = String::from_utf8_lossy(data);
        let time = Timestamp::now();
        // Only a key that is no text could make this fail.
        if serde_json::to_writer(&mut self.text, &Line { log, stream, time }).is_ok() {
            self.text.push(b'\n');
        }
    }

    fn flush(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.text);
        let written = self.rotate_for(&text).and_then(|()| {
            self.file.write_all(&text)?;
            self.size += text.len() as u64;
            Ok(())
        });
        match written {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!(%error, "output of a container is not kept");
            }
            Err(_) => {}
        }
        self.text = text;
        self.text.clear();
    }

    /// Begins another file if this one is full.
    fn rotate_for(&mut self, text: &[u8]) -> io::Result<()> {
        let limit = self.config.max_size.unwrap_or(u64::MAX);
        if self.size == 0 || self.size.saturating_add(text.len() as u64) <= limit {
            return Ok(());
        }
        let oldest = self.config.max_files.saturating_sub(1);
        if oldest == 0 {
            fs::remove_file(&self.path)?;
        }
        for age in (1..=oldest).rev() {
            let younger = match age {
                1 => self.path.clone(),
                _ => rotated(&self.path, age - 1),
            };
            match fs::rename(younger, rotated(&self.path, age)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = begin(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn begin(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}
