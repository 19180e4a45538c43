//! One program and whoever is in front of it.

mod starting;

use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::pin::Pin;
use std::time::Instant;

use bollard::query_parameters::{
    KillContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder,
};
use bytes::Bytes;
use hull_engine_api::DetachKeys;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::output::{Output, Stream};
use super::signals::{CONTINUED, INTERRUPT, STOP, Signals, WINDOW_CHANGED};
use super::terminal::{self, Held};
use super::{Streams, job};
use crate::client::Daemon;
use crate::out::Unheard;

pub(crate) use starting::Begun;

/// How much of what is typed is passed on at once, in bytes.
const PIECE: usize = 32 * 1024;

/// What is in front of the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The process of a container.
    Container(String),
    /// A process beside it. Signals are not passed on to it: the API has no way to.
    Exec(String),
}

/// How it is in front of them.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The program has a terminal, whose size follows the person's.
    pub(crate) tty: bool,
    /// What is typed is passed on.
    pub(crate) stdin: bool,
    /// Signals go on to the program. Else they end this command.
    pub(crate) sig_proxy: bool,
    /// After how many interrupts the next one kills a program that overlooks them.
    pub(crate) patience: Option<u32>,
    /// What leaves a program that has a terminal.
    pub(crate) detach_keys: DetachKeys,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The program has nothing more to say.
    Output,
    /// The keys were typed that leave it.
    Detached,
    /// A signal came that is not passed on.
    Signal(u8),
}

/// A program and the person, or the script, in front of it.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    daemon: &'a Daemon,
    program: Program,
    options: Options,
    signals: Signals,
    interrupts: u32,
    /// The person's terminal, where the program has it.
    terminal: Option<Held>,
}

impl<'a> Session<'a> {
    /// From now on signals are this session's.
    pub(crate) fn new(
        daemon: &'a Daemon,
        program: Program,
        options: Options,
    ) -> anyhow::Result<Self> {
        let signals = match options.tty && options.stdin {
            true => Signals::listen_with_stops()?,
            false => Signals::listen()?,
        };
        Ok(Self {
            daemon,
            program,
            options,
            signals,
            interrupts: 0,
            terminal: None,
        })
    }

    /// Keeps keys that are typed from now on for the program, and does not show them; Ctrl-C still interrupts.
    pub(crate) fn quiet(&mut self) -> anyhow::Result<()> {
        if self.takes_terminal() && self.terminal.is_none() {
            self.terminal = Some(terminal::quiet()?);
        }
        Ok(())
    }

    /// Gives all keys to the program, until [`Self::release`] or the end of the session.
    pub(crate) fn raw(&mut self) -> anyhow::Result<()> {
        self.quiet()?;
        self.terminal = self.terminal.take().map(Held::raw).transpose()?;
        Ok(())
    }

    /// Puts the terminal right again.
    pub(crate) fn release(&mut self) {
        self.terminal = None;
    }

    fn takes_terminal(&self) -> bool {
        self.options.tty && self.options.stdin && terminal::is_stdin()
    }

    /// Tells the program how large the terminal is.
    pub(crate) async fn pass_size(&self) {
        if let Some((rows, columns)) = terminal::size().filter(|_| self.options.tty) {
            self.resize(rows, columns).await;
        }
    }

    /// The same for one that has drawn its screen before: only another size than the last has it draw that again.
    pub(crate) async fn redraw(&self) {
        if let Some((rows, columns)) = terminal::size().filter(|_| self.options.tty) {
            self.resize(rows.saturating_add(1), columns.saturating_add(1))
                .await;
            self.resize(rows, columns).await;
        }
    }

    async fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (i32::from(rows), i32::from(columns));
        let docker = self.daemon.docker();
        let passed = match &self.program {
            Program::Container(id) => {
                let size = ResizeContainerTTYOptionsBuilder::new().h(rows).w(columns);
                docker.resize_container_tty(id, size.build()).await
            }
            Program::Exec(id) => {
                let size = ResizeExecOptionsBuilder::new().h(rows).w(columns);
                docker.resize_exec(id, size.build()).await
            }
        };
        // It may have ended meanwhile.
        if let Err(error) = passed {
            tracing::debug!(%error, "the terminal's size was not passed on");
        }
    }

    /// Waits for something while signals are passed on; a signal that is not is what it comes to.
    pub(crate) async fn until<T>(&mut self, what: impl Future<Output = T>) -> Result<T, u8> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Ok(done),
                signal = self.signals.next() => if !self.signal(signal).await {
                    return Err(signal);
                },
            }
        }
    }

    /// Passes the streams on, until the program has nothing more to say or whoever is in front of it leaves. Tells when the first
    /// byte went out.
    pub(crate) async fn pass(
        &mut self,
        streams: Streams,
        first: Option<oneshot::Sender<Instant>>,
    ) -> anyhow::Result<End> {
        let keys = self.options.tty.then(|| self.options.detach_keys.clone());
        let is_wanted = self.options.stdin;
        let Streams { output, mut input } = streams;
        let typing = async move {
            let is_left = is_wanted && pass_input(&mut input, keys).await;
            if !is_left {
                // What it has to say is waited for, with the connection open.
                std::future::pending::<()>().await;
            }
        };
        let passing = async {
            tokio::select! {
                // What was said comes before what was typed.
                biased;
                passed = pass_output(output, first) => passed.map(|()| End::Output),
                () = typing => Ok(End::Detached),
            }
        };
        match self.until(passing).await {
            Ok(end) => end,
            Err(signal) => Ok(End::Signal(signal)),
        }
    }

    /// What is done about a signal; false if it ends the session.
    async fn signal(&mut self, signal: u8) -> bool {
        match signal {
            WINDOW_CHANGED | CONTINUED => {
                if let Some(terminal) = self.terminal.as_ref().filter(|_| signal == CONTINUED) {
                    terminal.take_back();
                }
                self.pass_size().await;
                return true;
            }
            STOP => {
                self.stop().await;
                return true;
            }
            INTERRUPT => self.interrupts += 1,
            _ => {}
        }
        let Program::Container(id) = &self.program else {
            return false;
        };
        if !self.options.sig_proxy {
            return false;
        }
        let is_overlooked = |patience| self.interrupts > patience;
        let name = match self.options.patience.is_some_and(is_overlooked) {
            true => "KILL".to_owned(),
            false => signal.to_string(),
        };
        let how = KillContainerOptionsBuilder::new().signal(&name).build();
        // One that does not run yet, or any more, has nothing to be told.
        if let Err(error) = self.daemon.docker().kill_container(id, Some(how)).await {
            tracing::debug!(%error, "a signal was not passed on");
        }
        true
    }

    /// Ctrl-Z before the program has the terminal, or a SIGTSTP later: the terminal is the shell's until this goes on. The
    /// program does not stop.
    async fn stop(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.lend();
        }
        job::stop();
        // The shell may have changed the terminal, and its window another size.
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
        self.pass_size().await;
    }
}

/// Passes standard input on until it ends or nobody wants it; whether the keys were typed that leave.
async fn pass_input(
    input: &mut Pin<Box<dyn AsyncWrite + Send>>,
    mut keys: Option<DetachKeys>,
) -> bool {
    let mut stdin = tokio::io::stdin();
    let (mut typed, mut passed) = (Vec::with_capacity(PIECE), Vec::new());
    loop {
        typed.clear();
        match stdin.read_buf(&mut typed).await {
            Ok(0) | Err(_) => {
                let _ = input.shutdown().await;
                return false;
            }
            Ok(_) => {}
        }
        let (what, is_left) = match &mut keys {
            None => (&typed, false),
            Some(keys) => {
                passed.clear();
                let is_left = keys.pass(&typed, &mut passed);
                (&passed, is_left)
            }
        };
        let written = async {
            input.write_all(what).await?;
            input.flush().await
        };
        if written.await.is_err() {
            return false;
        }
        if is_left {
            return true;
        }
    }
}

/// Passes output on until its end.
pub(crate) async fn pass_output(
    mut output: Output,
    mut first: Option<oneshot::Sender<Instant>>,
) -> anyhow::Result<()> {
    while let Some((stream, piece)) = output.next().await? {
        write(stream, piece).await?;
        if let Some(first) = first.take() {
            let _ = first.send(Instant::now());
        }
    }
    Ok(())
}

/// Writes to standard output or error. That nobody reads errors is no reason to end.
async fn write(stream: Stream, piece: Bytes) -> anyhow::Result<()> {
    let written = tokio::task::spawn_blocking(move || match stream {
        Stream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&piece)?;
            stdout.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(&piece),
    });
    match (stream, written.await?) {
        (_, Ok(())) => Ok(()),
        (Stream::Stderr, Err(_)) => Ok(()),
        (Stream::Stdout, Err(error)) if error.kind() == ErrorKind::BrokenPipe => {
            Err(Unheard.into())
        }
        (Stream::Stdout, Err(error)) => Err(error.into()),
    }
}
