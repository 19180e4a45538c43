//! Programs that a test starts, each bounded in time and ended with the test.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::PATIENCE;

/// What a program left behind when it ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    /// The exit status as a shell shows it: 128+n for a signal.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output as text, lossily.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output, after asserting that the program ended with 0.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[must_use]
    pub fn success(self) -> String {
        assert_eq!(
            self.code(),
            0,
            "stdout: {}\nstderr: {}",
            self.text(),
            self.stderr
        );
        self.text()
    }

    /// Asserts the exit status, and that standard error contains every one of `words`.
    ///
    /// # Panics
    /// When one of them is missing.
    #[track_caller]
    pub fn fails_with(&self, code: i32, words: &[&str]) {
        assert_eq!(
            self.code(),
            code,
            "stdout: {}\nstderr: {}",
            self.text(),
            self.stderr
        );
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not in: {}",
                self.stderr
            );
        }
    }
}

/// A program that runs, with its output collected as it comes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Running {
    /// Starts `command` with pipes for its three streams.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Self {
            child,
            stdout,
            stderr,
            seen: Vec::new(),
        }
    }

    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for `time`; false when the program ends before.
    #[must_use]
    pub fn outlives(&self, time: Duration) -> bool {
        !await_end(self.pid(), Instant::now() + time)
    }

    /// Writes to the program's standard input; an error means that it closed it.
    pub fn write(&mut self, data: &[u8]) {
        if let Some(stdin) = &mut self.child.stdin {
            let _ = stdin.write_all(data).and_then(|()| stdin.flush());
        }
    }

    /// Ends the program's standard input.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Waits until standard output contains `text`.
    ///
    /// # Panics
    /// When the program ends, or [`PATIENCE`] does, before it came.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let _ = self.wait_for_any(&[text]);
    }

    /// Waits until standard output contains one of these texts; which.
    ///
    /// # Panics
    /// When the program ends, or [`PATIENCE`] does, before one came.
    #[track_caller]
    pub fn wait_for_any(&mut self, texts: &[&str]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = String::from_utf8_lossy(&self.seen);
            if let Some(which) = texts.iter().position(|text| seen.contains(text)) {
                return which;
            }
            drop(seen);
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stdout.recv_timeout(left) {
                Ok(data) => self.seen.extend(data),
                Err(reason) => {
                    let _ = self.child.kill();
                    let stderr = rest(&self.stderr, Instant::now() + Duration::from_secs(5));
                    panic!(
                        "{texts:?} never came ({reason})\nstdout: {}\nstderr: {}",
                        String::from_utf8_lossy(&self.seen),
                        String::from_utf8_lossy(&stderr)
                    );
                }
            }
        }
    }

    /// Waits for the end of the program and of its output.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        let mut stdout = std::mem::take(&mut self.seen);
        stdout.extend(rest(&self.stdout, deadline));
        let stderr = String::from_utf8_lossy(&rest(&self.stderr, deadline)).into_owned();
        if Instant::now() >= deadline {
            let _ = self.child.kill();
            panic!(
                "not finished after {PATIENCE:?}\nstdout: {}\nstderr: {stderr}",
                String::from_utf8_lossy(&stdout)
            );
        }
        let status = self.child.wait().expect("a child can be waited for");
        Finished {
            status,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Finished {
    Running::start(command).finish()
}

/// Waits for the end of a process that need not be a child; false when `deadline` comes first.
#[must_use]
pub fn await_end(pid: Pid, deadline: Instant) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true; // it is gone already
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).ok();
    let mut ends = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut ends, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 65536];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn rest(stream: &Receiver<Vec<u8>>, deadline: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match stream.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(data) => all.extend(data),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return all,
        }
    }
}
