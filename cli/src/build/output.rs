//! What the daemon tells of a build, line by line, as Docker shows it.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;

use super::{Args, Progress};
use crate::out;

/// Longest line that is read, in bytes: what a step prints comes in pieces.
const LONGEST: usize = 16 << 20;

/// One line.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line {
    stream: Option<String>,
    status: Option<String>,
    id: Option<String>,
    progress_detail: Option<Detail>,
    aux: Option<Aux>,
    error: Option<String>,
    error_detail: Option<Failure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: Option<u64>,
    total: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Aux {
    #[serde(rename = "ID")]
    id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    code: Option<i64>,
    message: String,
}

/// What was shown so far.
pub(super) struct Output {
    quiet: bool,
    image: Option<String>,
    /// On a terminal, what is pulled has bars.
    bars: Option<MultiProgress>,
    layers: HashMap<String, ProgressBar>,
}

impl Output {
    pub(super) fn new(args: &Args) -> Self {
        let wanted = !args.quiet && args.progress != Progress::Plain;
        let bars = (wanted && std::io::stderr().is_terminal())
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self {
            quiet: args.quiet,
            image: None,
            bars,
            layers: HashMap::new(),
        }
    }

    /// The image that was made.
    pub(super) fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    /// Shows all that comes; what the command exits with if the build failed.
    pub(super) async fn follow(&mut self, mut body: Incoming) -> anyhow::Result<Option<ExitCode>> {
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the daemon broke the build off")?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            rest.extend_from_slice(&bytes);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if let Some(failed) = self.line(&line)? {
                    return Ok(Some(failed));
                }
            }
            anyhow::ensure!(rest.len() <= LONGEST, "the daemon sent a line without end");
        }
        self.line(&rest)
    }

    fn line(&mut self, line: &[u8]) -> anyhow::Result<Option<ExitCode>> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let line: Line =
            serde_json::from_slice(line).context("the daemon's answer is not understood")?;
        if let Some(aux) = line.aux {
            self.image = aux.id.or(self.image.take());
        }
        if let Some(error) = line.error {
            return Ok(Some(self.failed(&error, line.error_detail)));
        }
        if let Some(text) = line.stream {
            self.clear();
            if self.quiet {
                self.image = Some(text.trim().to_owned());
            }
            out::print(&text)?;
        }
        if let (Some(status), false) = (line.status, self.quiet) {
            self.status(&status, line.id.as_deref(), line.progress_detail)?;
        }
        Ok(None)
    }

    fn failed(&mut self, error: &str, detail: Option<Failure>) -> ExitCode {
        self.clear();
        let Failure { code, message } = detail.unwrap_or_default();
        let message = if message.is_empty() { error } else { &message };
        let _ = crate::fail(&anyhow::anyhow!("{message}"));
        // Of a program that failed it is its own.
        let code = code.and_then(|code| u8::try_from(code).ok());
        ExitCode::from(code.filter(|code| *code != 0).unwrap_or(1))
    }

    /// What a pull does.
    fn status(
        &mut self,
        status: &str,
        id: Option<&str>,
        detail: Option<Detail>,
    ) -> anyhow::Result<()> {
        let detail = detail.unwrap_or_default();
        match (id, &self.bars) {
            (Some(id), Some(bars)) => {
                let bar = self.layers.entry(id.to_owned()).or_insert_with(|| {
                    bars.add(
                        ProgressBar::new(0)
                            .with_style(style(false))
                            .with_prefix(id.to_owned()),
                    )
                });
                bar.set_style(style(detail.current.is_some()));
                if let Some(total) = detail.total {
                    bar.set_length(total);
                }
                bar.set_position(detail.current.unwrap_or_default());
                bar.set_message(status.to_owned());
                Ok(())
            }
            // Lines that only count further are for terminals.
            (Some(_), None) if detail.current.is_some() => Ok(()),
            (Some(id), None) => out::line(&format!("{id}: {status}")),
            (None, _) => {
                self.clear();
                out::line(status)
            }
        }
    }

    /// What is printed next comes below nothing that moves: bars stay as they were last.
    fn clear(&mut self) {
        for (_, bar) in self.layers.drain() {
            bar.abandon();
        }
    }
}

fn style(counts: bool) -> ProgressStyle {
    let template = match counts {
        true => "{prefix}: {msg:12} [{bar:25}] {decimal_bytes}/{decimal_total_bytes}",
        false => "{prefix}: {msg}",
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
