//! An agent in namespaces of this machine, and an image of busybox for it.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use hull_agent::{Places, Server, Transport};
use hull_agent_protocol::{Configure, Start};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use crate::common::{Outcome, Session, configure};

/// The argument that makes this program the agent; its standard input is the control channel.
pub(crate) const AGENT: &str = "--be-the-agent-below";

/// Long enough for a busy machine; reached only when the agent hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const BUSYBOX: &str = "/bin/busybox";

/// Why the tests cannot run here.
pub(crate) fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("mount namespaces need root");
    }
    let headers = Command::new("readelf").args(["-lW", BUSYBOX]).output();
    let is_static = headers.map_or_else(
        |_| Path::new(BUSYBOX).exists(),
        |out| out.status.success() && !String::from_utf8_lossy(&out.stdout).contains("INTERP"),
    );
    if !is_static {
        return Some("no static /bin/busybox (package busybox-static)");
    }
    None
}

/// The agent's half: this program, started again.
pub(crate) fn agent() -> ExitCode {
    let base = PathBuf::from(std::env::args().nth(2).expect("the agent's directory"));
    #[allow(unsafe_code)]
    // SAFETY: there is one thread, and nothing refers to what is closed or left behind.
    unsafe {
        use rustix::thread::UnshareFlags as F;
        // What the test's own parent left open is none of the agent's.
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        rustix::thread::unshare_unsafe(F::NEWNS | F::NEWNET).expect("namespaces");
    }
    let control = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .expect("a control channel");
    // Else the channel would stay open when the agent closes it.
    let nothing = fs::File::open("/dev/null").unwrap();
    rustix::stdio::dup2_stdin(nothing).unwrap();
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .unwrap();
    let places = base.join("places");
    mount("tmpfs", &places, "tmpfs", MountFlags::empty(), None).unwrap();
    let transport = Transport { listen, accept };
    let mut server = Server::new(Places::below(&places), control, transport).expect("a server");
    server.prepare();
    server.serve();
    server.unmount();
    ExitCode::SUCCESS
}

fn listen(port: u32) -> rustix::io::Result<OwnedFd> {
    let base = PathBuf::from(std::env::args().nth(2).unwrap_or_default());
    let listener = UnixListener::bind(base.join(port.to_string()));
    listener
        .map(OwnedFd::from)
        .map_err(|_| rustix::io::Errno::ADDRINUSE)
}

fn accept(listener: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    use rustix::net::SocketFlags as F;
    rustix::net::accept_with(listener, F::CLOEXEC | F::NONBLOCK)
}

/// A machine: an agent with its image, and the control channel to it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) session: Session,
    pub(crate) base: tempfile::TempDir,
    pub(crate) agent: Child,
}

impl Machine {
    /// An agent that has not been told anything.
    pub(crate) fn new() -> Self {
        let base = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(base.path().join("places")).unwrap();
        make_image(&base.path().join("image"));
        let (engine, agent_end) = UnixStream::pair().unwrap();
        agent_end.set_nonblocking(true).unwrap();
        let agent = Command::new(std::env::current_exe().unwrap())
            .arg(AGENT)
            .arg(base.path())
            .stdin(Stdio::from(OwnedFd::from(agent_end)))
            .spawn()
            .expect("the agent starts");
        Self {
            session: Session::new(engine, PATIENCE),
            base,
            agent,
        }
    }

    /// What this machine is configured with unless a test wants something else.
    pub(crate) fn configure(&self) -> Configure {
        configure(self.image().to_str().unwrap(), None)
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.base.path().join("image")
    }

    /// A machine whose process has been asked for.
    pub(crate) fn started(start: Start) -> Self {
        let mut machine = Self::new();
        machine.session.end.configure(machine.configure()).unwrap();
        machine.session.end.start(start).unwrap();
        machine
    }

    /// One more channel.
    pub(crate) fn another(&self) -> Session {
        let socket = UnixStream::connect(self.base.path().join("1024")).expect("the agent listens");
        Session::new(socket, PATIENCE)
    }

    pub(crate) fn agent_status(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.agent.id())).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of the control channel is the end of the agent; its namespaces go with it.
        self.session.end.shutdown();
        self.session.flush();
        if std::thread::panicking() {
            let _ = self.agent.kill();
        }
        let _ = self.agent.wait();
    }
}

/// Runs one command in a machine of its own: its output, errors and end.
pub(crate) fn run(start: Start) -> (String, String, Outcome) {
    let mut machine = Machine::started(start);
    finish(&mut machine.session)
}

/// Waits for the end of a channel: output, errors and how it ended.
pub(crate) fn finish(session: &mut Session) -> (String, String, Outcome) {
    let outcome = session.outcome();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&session.stdout), text(&session.stderr), outcome)
}

fn make_image(path: &Path) {
    for directory in ["bin", "etc", "tmp", "home/app", "data/sub", "run"] {
        fs::create_dir_all(path.join(directory)).unwrap();
    }
    fs::copy(BUSYBOX, path.join("bin/busybox")).unwrap();
    let applets = [
        "sh", "cat", "echo", "id", "sleep", "wc", "head", "ls", "stat", "stty", "tty", "true",
        "touch", "yes", "mount", "grep", "env", "pwd", "kill", "hostname", "readlink", "mkdir",
        "chroot", "seq", "dd", "ps", "mknod", "ulimit", "test", "printf", "md5sum", "tr", "rm",
        "mv", "chmod", "df",
    ];
    for applet in applets {
        symlink("busybox", path.join("bin").join(applet)).unwrap();
    }
    fs::write(
        path.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:\n",
    )
    .unwrap();
    fs::write(
        path.join("etc/group"),
        "root:x:0:\nusers:x:100:app\napp:x:1000:\n",
    )
    .unwrap();
    fs::write(path.join("data/sub/file"), "from the image").unwrap();
    fs::write(path.join("etc/plain"), "no program").unwrap();
    fs::write(path.join("bin/text"), "no program").unwrap();
    fs::set_permissions(path.join("bin/text"), fs::Permissions::from_mode(0o755)).unwrap();
}
