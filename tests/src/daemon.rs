//! `hull daemon` for a home, and Docker's client for it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, Signal};

use crate::process::{Finished, Running};
use crate::{Home, PATIENCE};

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon<'a> {
    home: &'a Home,
    process: Running,
}

/// Whether Docker's client is there; says so where it is not.
#[must_use]
pub fn has_docker() -> bool {
    let found = Command::new("docker").arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: Docker's client is not installed");
    }
    found
}

impl<'a> Daemon<'a> {
    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn start(home: &'a Home) -> Self {
        Self::start_with(home, &[])
    }

    /// The same with options more. Where there is a `--host`, the usual socket must be one.
    ///
    /// # Panics
    /// When it does not listen there.
    #[must_use]
    #[track_caller]
    pub fn start_with(home: &'a Home, options: &[&str]) -> Self {
        fs::create_dir_all(home.runtime()).expect("a runtime directory");
        // There is one daemon of a directory, and a command may have started it.
        home.end_daemon();
        let socket = home.runtime().join("hull.sock");
        // Watched before it starts, so that nothing happens unseen.
        let changes = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
        inotify::add_watch(
            &changes,
            home.runtime(),
            WatchFlags::CREATE | WatchFlags::MOVED_TO,
        )
        .expect("a watch");
        let mut command = home.hull(&[&["daemon"], options].concat());
        command.env(
            "HULL_LOG",
            "hull=debug,hull_engine=debug,hull_engine_api=debug,error",
        );
        let process = Running::start(&mut command);
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the daemon does not listen at {}",
                socket.display()
            );
            let mut ready = [PollFd::new(&changes, PollFlags::IN)];
            let left = Timespec {
                tv_sec: left.as_secs().min(1).try_into().unwrap_or(1),
                tv_nsec: 0,
            };
            let _ = poll(&mut ready, Some(&left));
            let mut seen = [0_u8; 4096];
            let _ = rustix::io::read(&changes, &mut seen);
        }
        Self { home, process }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.runtime().join("hull.sock")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// `docker ARGS...`, which speaks to it.
    #[must_use]
    pub fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .args(args)
            .env("DOCKER_CONFIG", self.home.scratch().join("docker"))
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// Starts `docker ARGS...`.
    pub fn begin(&self, args: &[&str]) -> Running {
        Running::start(&mut self.docker(args))
    }

    /// Runs `docker ARGS...` to its end, with an empty standard input.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.begin(args).finish()
    }

    /// The same, for one that succeeds: its output without spaces around it.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).success().trim().to_owned()
    }

    /// Kills it.
    #[track_caller]
    pub fn kill(self) {
        self.process.signal(Signal::KILL);
        let _ = self.process.finish();
    }

    /// Ends it when no container is left, and asserts that nothing else is either: no process and no file.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn end(self) {
        assert_eq!(
            self.ok(&["ps", "--all", "--quiet"]),
            "",
            "containers are left"
        );
        let home = self.home;
        let said = self.stop();
        assert!(!said.contains("panicked"), "{said}");
        home.assert_clean();
    }

    /// Ends it, and asserts that it ended as it should; what it said.
    #[track_caller]
    pub fn stop(self) -> String {
        self.process.signal(Signal::TERM);
        let finished = self.process.finish();
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        finished.stderr
    }
}
