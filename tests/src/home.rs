//! A Hull of a test's own: separate state and runtime directories, checked for leftovers when it goes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{Finished, Running, await_end};
use crate::{PATIENCE, image, programs};

/// The daemon's, in the runtime directory: where it listens, and what is held by who starts it.
const SOCKET: &str = "hull.sock";
const STARTING: &str = "daemon.starting";

/// State and runtime directories that no other Hull knows.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    /// Containers are in networks, as they are where nobody says anything else.
    networked: bool,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty one, except that it shares its templates with others: the machines of most tests are clones of a few that booted.
    ///
    /// # Panics
    /// When there is no temporary directory.
    #[must_use]
    pub fn new() -> Self {
        let home = Self::alone();
        let shared = programs().join("test-templates");
        let linked = fs::create_dir_all(&shared)
            .and_then(|()| fs::create_dir(home.root()))
            .and_then(|()| symlink(&shared, home.root().join("templates")));
        linked.expect("a directory of templates");
        home
    }

    /// An empty one that shares nothing with any other.
    ///
    /// # Panics
    /// When there is no temporary directory.
    #[must_use]
    pub fn alone() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hull-test-")
            .tempdir()
            .expect("a directory");
        Self {
            dir,
            networked: false,
        }
    }

    /// The same for a test that is in a network namespace of its own: containers are in a network unless they are to have none.
    #[must_use]
    pub fn with_networks(mut self) -> Self {
        self.networked = true;
        self
    }

    /// One that has the image `name` of `cargo xtask images`, loaded by `hull image load`.
    #[must_use]
    #[track_caller]
    pub fn with_image(name: &str) -> Self {
        Self::new().load(name)
    }

    /// The same with an image more.
    #[must_use]
    #[track_caller]
    pub fn load(self, name: &str) -> Self {
        let layout = image(name);
        let _ = self
            .run(&["image", "load", "-i", &layout.to_string_lossy()])
            .success();
        self
    }

    /// The directory of images and containers.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The directory of sockets and of what lives only as long as a microVM.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A directory for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// `hull ARGS...` with this home.
    #[must_use]
    pub fn hull(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs().join("hull"));
        command
            .args(args)
            .env("HULL_ROOT", self.root())
            .env("HULL_RUN", self.runtime())
            .env("HULL_TEMPLATE_SPACE", "1g");
        // The machine's own network is left alone.
        match self.networked {
            true => command.env_remove("HULL_NETWORK"),
            false => command.env("HULL_NETWORK", "none"),
        };
        command.env("DOCKER_CONFIG", self.dir.path().join("docker"));
        command
    }

    /// `script`, in which `"$@"` is `hull ARGS...`, in a mount namespace of its own: what it mounts goes with it. Exits
    /// with 77 where there are no such namespaces.
    #[must_use]
    pub fn hull_among_mounts(&self, script: &str, args: &[&str]) -> Command {
        let hull = self.hull(args);
        let mut command = Command::new("unshare");
        // As another user than root one needs a user namespace for it.
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(hull.get_program()).args(hull.get_args());
        for (name, value) in hull.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    }

    /// Runs `hull ARGS...` to its end, with an empty standard input.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.start(args).finish()
    }

    /// Starts `hull ARGS...`.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(&mut self.hull(args))
    }

    /// The processes of this home, which have a path of it in their environment. Its daemon, which any command may have started and
    /// which stays, is none of them.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mut all = self.all_processes();
        all.retain(|(_, arguments)| !is_daemon(arguments));
        all
    }

    fn all_processes(&self) -> Vec<(u32, String)> {
        let mark = self.runtime().to_string_lossy().into_owned();
        let own = std::process::id();
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != own)
            .filter_map(|pid: u32| {
                let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
                let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let alive = !fs::read_to_string(format!("/proc/{pid}/stat"))
                    .ok()?
                    .contains(") Z ");
                let all = [environment, arguments.clone()].concat();
                let ours = all
                    .windows(mark.len())
                    .any(|window| window == mark.as_bytes());
                (ours && alive)
                    .then(|| (pid, String::from_utf8_lossy(&arguments).replace('\0', " ")))
            })
            .collect()
    }

    /// Ends the daemon that a command has started, if there is one. What it looks after goes on.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn end_daemon(&self) {
        // Without its socket there is none, and nothing to look for among all processes.
        if !self.runtime().join(SOCKET).exists() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        for (pid, process) in self.daemons() {
            let _ = kill_process(process, Signal::TERM);
            assert!(
                await_end(process, deadline),
                "the daemon {pid} does not end"
            );
        }
    }

    fn daemons(&self) -> Vec<(u32, Pid)> {
        let all = self.all_processes().into_iter();
        all.filter(|(_, arguments)| is_daemon(arguments))
            .filter_map(|(pid, _)| Some((pid, Pid::from_raw(pid.try_into().ok()?)?)))
            .collect()
    }

    /// The process ids of the `hull-vmm` processes of this home: of their keepers, each of which has a machine's process besides.
    #[must_use]
    pub fn machines(&self) -> Vec<u32> {
        let named = |(_, arguments): &(u32, String)| {
            arguments
                .split(' ')
                .next()
                .is_some_and(|program| program.ends_with("hull-vmm"))
        };
        let all: Vec<u32> = self
            .processes()
            .into_iter()
            .filter(named)
            .map(|(pid, _)| pid)
            .collect();
        let is_keeper = |pid: &u32| parent(*pid).is_none_or(|parent| !all.contains(&parent));
        all.iter().copied().filter(is_keeper).collect()
    }

    /// The process ids of the owners of containers of this home.
    #[must_use]
    pub fn owners(&self) -> Vec<u32> {
        let owns = |(_, arguments): &(u32, String)| arguments.contains(" own --container ");
        let all = self.processes().into_iter();
        all.filter(owns).map(|(pid, _)| pid).collect()
    }

    /// Waits until nothing of this home runs any more.
    ///
    /// # Panics
    /// When something still does after [`PATIENCE`].
    #[track_caller]
    pub fn wait_until_quiet(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let running = self.processes();
            let Some((pid, arguments)) = running.first() else {
                return;
            };
            let process = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            assert!(
                process.is_none_or(|process| await_end(process, deadline)),
                "still running: {pid} {arguments}"
            );
        }
    }

    /// Sockets and other files of microVMs that are there now.
    #[must_use]
    pub fn runtime_files(&self) -> Vec<PathBuf> {
        let own = [SOCKET, STARTING].map(|name| self.runtime().join(name));
        let mut all = files(&self.runtime());
        all.retain(|path| !own.contains(path));
        all
    }

    /// Asserts that nothing runs, no socket or runtime file is left, and no container is known; and ends the daemon, of which nothing is
    /// left either.
    ///
    /// # Panics
    /// When something is left.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.wait_until_quiet();
        let containers = self.root().join("containers");
        // Whoever lists containers finds those whose owners died, and those are removed that were to go by themselves.
        if !files(&containers).is_empty() {
            let listed = self.run(&["ps", "--all", "--quiet"]).success();
            assert_eq!(listed, "", "containers are left");
        }
        self.end_daemon();
        let left = self.runtime_files();
        assert!(left.is_empty(), "left in the runtime directory: {left:?}");
        let socket = self.runtime().join(SOCKET);
        assert!(!socket.exists(), "the daemon has left its socket");
        let left = files(&containers);
        assert!(left.is_empty(), "left of containers: {left:?}");
    }
}

/// A test leaves no daemon running; one that failed leaves nothing, which would slow down all that follow, and tells what the daemon
/// has to say of it.
impl Drop for Home {
    fn drop(&mut self) {
        let kill = |pid| {
            let _ = kill_process(pid, Signal::KILL);
            // It may write to the directory that goes now.
            let _ = await_end(pid, Instant::now() + PATIENCE);
        };
        if std::thread::panicking() {
            let all = self.all_processes().into_iter();
            all.filter_map(|(pid, _)| Pid::from_raw(pid.try_into().ok()?))
                .for_each(kill);
            if let Ok(log) = fs::read_to_string(self.root().join("daemon.log")) {
                eprintln!("the daemon's log:\n{log}");
            }
        } else if self.runtime().join(SOCKET).exists() {
            self.daemons().into_iter().for_each(|(_, pid)| kill(pid));
        }
    }
}

/// Whether a process, with these arguments, is a daemon.
fn is_daemon(arguments: &str) -> bool {
    let mut words = arguments.split(' ');
    let is_hull = words
        .next()
        .is_some_and(|program| program.ends_with("/hull"));
    is_hull && words.next() == Some("daemon")
}

/// All files below `dir`, empty lock files aside.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => vec![entry.path()],
        })
        .filter(|path| path.extension().is_none_or(|extension| extension != "lock"))
        .collect()
}

/// The parent of a process (field 4 of `/proc/PID/stat`).
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}
