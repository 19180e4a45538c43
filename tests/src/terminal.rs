//! A program on a terminal of its own: what a person types and sees.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, Signal, ioctl_tiocsctty, kill_process, pidfd_open, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::PATIENCE;
use crate::process::await_end;

/// A program with a pseudo-terminal as its controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    line: OwnedFd,
}

impl Terminal {
    /// Starts `command` on a new terminal of `rows` × `columns` characters.
    ///
    /// # Panics
    /// When there is no terminal to be had, or the program cannot be started.
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&keyboard).expect("grantpt");
        unlockpt(&keyboard).expect("unlockpt");
        let name = ptsname(&keyboard, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = open(name, flags, Mode::empty()).expect("the other end");
        set_size(&line, rows, columns);

        let stream = || Stdio::from(line.try_clone().expect("a descriptor"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        controlled_by_stdin(command);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));

        let keyboard = File::from(keyboard);
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let screen = read_all(
            keyboard.try_clone().expect("a descriptor"),
            process.expect("a descriptor of the program"),
        );
        Self {
            child,
            keyboard,
            screen,
            seen: Vec::new(),
            line,
        }
    }

    /// Types `text`.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_text(&mut self, text: &str) {
        self.keyboard
            .write_all(text.as_bytes())
            .expect("the terminal takes input");
    }

    /// Changes the size of the terminal and tells the program, as a terminal emulator does.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.line, rows, columns);
        let _ = kill_process(Pid::from_child(&self.child), Signal::WINCH);
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// What was printed so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits until `text` was printed, and forgets all up to its end.
    ///
    /// # Panics
    /// When it did not come within [`PATIENCE`], or the program ended without.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self
                .seen
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(at) = found {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(data) => self.seen.extend(data),
                Err(reason) => panic!("{text:?} never came ({reason}): {}", self.text()),
            }
        }
    }

    /// Whether the terminal is in its usual mode: lines are edited and echoed.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[must_use]
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.line)
            .expect("the terminal's mode")
            .local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the program's end and returns its exit status, 128+n for a signal.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    #[track_caller]
    pub fn finish(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let ended = await_end(Pid::from_child(&self.child), Instant::now() + PATIENCE);
        if !ended {
            while let Ok(data) = self.screen.try_recv() {
                self.seen.extend(data);
            }
            panic!("not finished after {PATIENCE:?}: {}", self.text());
        }
        let status = self.child.wait().expect("a child can be waited for");
        while let Ok(data) = self.screen.recv() {
            self.seen.extend(data);
        }
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(line: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(line, size).expect("a terminal has a size");
}

/// Makes the program's standard input its controlling terminal, in a session of its own.
#[allow(unsafe_code)]
fn controlled_by_stdin(command: &mut Command) {
    let become_leader = || {
        setsid()?;
        ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(become_leader) };
}

/// Reads what is printed until the program has ended. The terminal itself does not end: the test has it open, too.
fn read_all(mut screen: File, process: OwnedFd) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let mut ready = [
                PollFd::new(&screen, PollFlags::IN),
                PollFd::new(&process, PollFlags::IN),
            ];
            if poll(&mut ready, None).is_err() || ready[0].revents().is_empty() {
                break;
            }
            match screen.read(&mut buffer) {
                Ok(count) if count > 0 && sender.send(buffer[..count].to_vec()).is_ok() => {}
                _ => break,
            }
        }
    });
    receiver
}
