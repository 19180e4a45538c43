//! A daemon with a state of its own, for as long as it is measured with, and the clients that speak to it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::contestants::Hull;
use crate::http::{ask, connect, request};

/// Where it listens, in a runtime directory.
const SOCKET: &str = "hull.sock";

#[derive(Debug)]
pub(crate) struct Daemon {
    hull: PathBuf,
    home: TempDir,
    /// Nothing between the end of one and the start of the next.
    process: Option<Child>,
}

impl Daemon {
    /// Starts one that has the image `image` of `cargo xtask images`; returns when it listens.
    pub(crate) fn start(hull: &Hull, image: &str) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("hull-bench-").tempdir()?;
        let mut daemon = Self {
            hull: hull.hull.clone(),
            home,
            process: None,
        };
        let mut load = daemon.hull(&["image", "load", "--quiet", "-i"]);
        let load = load.arg(hull.images.join(image)).stdout(Stdio::null());
        let loaded = load.status()?;
        ensure!(loaded.success(), "hull image load failed: {loaded}");
        daemon.restart()?;
        Ok(daemon)
    }

    /// Kills it, if it runs, and starts it again; how long it took from there until it listened.
    pub(crate) fn restart(&mut self) -> Result<Duration> {
        self.kill();
        let mut command = self.hull(&["daemon"]);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join("daemon.log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let begun = Instant::now();
        self.process = Some(command.stderr(log).spawn()?);
        // What it says of itself when it does not come up is in the log, which goes with the directory.
        connect(&self.socket(), begun).with_context(|| {
            fs::read_to_string(self.home.path().join("daemon.log")).unwrap_or_default()
        })?;
        Ok(begun.elapsed())
    }

    /// A directory for other files.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("run").join(SOCKET)
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Result<UnixStream> {
        let socket = self.socket();
        UnixStream::connect(&socket).with_context(|| socket.display().to_string())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        let process = self.process.as_ref().context("no daemon runs")?;
        Ok(process.id())
    }

    /// `hull ARGS...` with its state.
    pub(crate) fn hull(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.hull);
        command
            .args(args)
            .env("HULL_NETWORK", "none")
            .env("HULL_ROOT", self.home.path().join("root"))
            .env("HULL_RUN", self.home.path().join("run"));
        command
    }

    /// `docker ARGS...`, which speaks to it.
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(args)
            .env("DOCKER_CONFIG", self.home.path().join("docker"))
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// Removes the containers that run: their microVMs outlive the daemon.
    fn clear(&self) -> Result<()> {
        let mut client = self.connect()?;
        let listed = ask(&mut client, &request("GET", "/containers/json", None))?;
        let listed: Value = serde_json::from_slice(&listed)?;
        for container in listed.as_array().into_iter().flatten() {
            let id = container["Id"].as_str().unwrap_or_default();
            let path = format!("/containers/{id}?force=1");
            ask(&mut client, &request("DELETE", &path, None))?;
        }
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("containers are left running: {error:#}");
        }
        self.kill();
    }
}
