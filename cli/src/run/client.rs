//! The foreground of a container: attach, start, pass everything on, wait, leave nothing.

use std::future::Future;
use std::io::IsTerminal;

use hull_engine::{Attachment, ContainerConfig, ContainerId, Engine, Error, Exit, Origin, WaitFor};

use super::job;
use super::signals::{CONTINUED, INTERRUPT, STOP, Signals, WINDOW_CHANGED};
use super::spinner::Spinner;
use super::streams;
use super::terminal::{self, Held};
use super::timing::Clock;

/// How a container is run in the foreground.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) tty: bool,
    pub(crate) interactive: bool,
    /// Signals go on to the program.
    pub(crate) sig_proxy: bool,
    pub(crate) origin: Origin,
}

impl How {
    /// As the container of this configuration was first run: with a terminal if it had one and there is one here.
    pub(crate) fn of(config: &ContainerConfig) -> Self {
        let is_terminal = std::io::stdin().is_terminal();
        Self {
            tty: config.tty && is_terminal,
            interactive: config.open_stdin,
            sig_proxy: true,
            origin: Origin::Nearest,
        }
    }
}

/// One container and the person, or the script, in front of it.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    engine: &'a Engine,
    id: &'a ContainerId,
    how: How,
    interrupts: u32,
    /// The person's terminal, where the program has it.
    terminal: Option<Held>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(engine: &'a Engine, id: &'a ContainerId, how: How) -> Self {
        Self {
            engine,
            id,
            how,
            interrupts: 0,
            terminal: None,
        }
    }

    /// Runs the container to its end. An error means that its process never ran.
    pub(crate) async fn run(mut self, clock: &mut Clock) -> anyhow::Result<u8> {
        let types = self.how.tty && self.how.interactive;
        let mut signals = match types {
            true => Signals::listen_with_stops()?,
            false => Signals::listen()?,
        };
        let Attachment { output, input } = self.engine.attach(self.id)?;
        self.pass_size()?;
        if clock.is_wanted() {
            self.engine.measure(self.id)?;
        }
        // Keys that are typed while the machine boots are kept for the program, not echoed; Ctrl-C
        // still interrupts.
        self.terminal = types.then(terminal::quiet).transpose()?;
        let started = match self.start(&mut signals).await {
            Ok(timing) => timing,
            Err(Stopped::Signal(signal)) => return Ok(signal.saturating_add(128)),
            Err(Stopped::Failed(error)) => return Err(error.into()),
        };
        clock.append(&started);

        self.terminal = self.terminal.take().map(Held::raw).transpose()?;
        if self.how.interactive {
            // Left behind in the end: it may be blocked in a read that nothing will answer.
            tokio::spawn(streams::pass_input(input));
        } else {
            drop(input);
        }
        let mut passing = tokio::spawn(streams::pass_output(output, clock.first_byte()));
        self.until(&mut signals, self.engine.wait(self.id, WaitFor::Exit))
            .await?;
        // Everything was queued before the exit was told; a reader that is slow is waited for.
        let _ = self
            .until(&mut signals, async { Ok((&mut passing).await) })
            .await?;
        self.terminal = None;
        clock.step("run");
        let exit = self
            .until(&mut signals, self.engine.wait(self.id, WaitFor::Removal))
            .await?;
        clock.step("end");
        clock.report(exit.metrics.as_ref())?;
        Ok(self.conclude(&exit))
    }

    /// Starts the container; a signal before its process runs ends it.
    async fn start(&self, signals: &mut Signals) -> Result<hull_engine::Timing, Stopped> {
        let spinner = Spinner::start("starting the microVM");
        let start = self.engine.start(self.id, self.how.origin);
        tokio::pin!(start);
        let mut stopped = None;
        let started = loop {
            tokio::select! {
                started = &mut start => break started,
                signal = signals.next() => match signal {
                    WINDOW_CHANGED => drop(self.pass_size()),
                    STOP => drop(self.stop()),
                    CONTINUED => drop(self.go_on()),
                    signal => {
                        stopped = Some(signal);
                        let _ = self.engine.kill(self.id);
                    }
                },
            }
        };
        drop(spinner);
        match (started, stopped) {
            (Ok(timing), None) => Ok(timing),
            (Ok(_), Some(signal)) => {
                let _ = self.engine.wait(self.id, WaitFor::Removal).await;
                Err(Stopped::Signal(signal))
            }
            (Err(Error::Interrupted), Some(signal)) => Err(Stopped::Signal(signal)),
            (Err(error), _) => Err(Stopped::Failed(error)),
        }
    }

    /// Waits for something while signals are passed on.
    async fn until<T>(
        &mut self,
        signals: &mut Signals,
        what: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                result = &mut what => return result,
                signal = signals.next() => self.signal(signal)?,
            }
        }
    }

    fn signal(&mut self, signal: u8) -> Result<(), Error> {
        match signal {
            WINDOW_CHANGED => return self.pass_size(),
            STOP => return self.stop(),
            CONTINUED => return self.go_on(),
            _ => {}
        }
        if signal == INTERRUPT {
            self.interrupts += 1;
        }
        // A program that does not react to the first interrupt ends with its machine on the second.
        if self.interrupts > 1 || !self.how.sig_proxy {
            return self.engine.kill(self.id);
        }
        self.engine.signal(self.id, signal)
    }

    /// Ctrl-Z while the machine boots, or a SIGTSTP later: the terminal is the shell's until this goes on. The
    /// machine does not stop.
    fn stop(&self) -> Result<(), Error> {
        if let Some(terminal) = &self.terminal {
            terminal.lend();
        }
        job::stop();
        self.go_on()
    }

    /// The shell may have changed the terminal, and its window another size.
    fn go_on(&self) -> Result<(), Error> {
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
        self.pass_size()
    }

    fn pass_size(&self) -> Result<(), Error> {
        match terminal::size().filter(|_| self.how.tty) {
            Some((rows, columns)) => self.engine.resize(self.id, rows, columns),
            None => Ok(()),
        }
    }

    fn conclude(&self, exit: &Exit) -> u8 {
        if exit.suspended {
            let id = self.id.short();
            anstream::eprintln!(
                "hull: the container is suspended; hull resume {id} goes on with it"
            );
            return 0;
        }
        if self.interrupts > 1 {
            anstream::eprintln!("hull: the microVM was ended by the second interrupt");
        } else if !exit.error.is_empty() && self.how.sig_proxy {
            anstream::eprintln!("hull: {}", exit.error);
        } else if exit.oom_killed {
            anstream::eprintln!(
                "hull: the container ran out of memory and its program was killed: give it more with --memory"
            );
        }
        exit.code
    }
}

/// Why there is no running process.
enum Stopped {
    Signal(u8),
    Failed(Error),
}
