//! A directory to share, and how tests look at it from the host.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::client::{Client, LINUX_FLAGS};
use crate::fs::{Fs, FsBackend, FsCache, FsConfig};
use crate::testing::Driver;

pub(super) fn config() -> FsConfig {
    FsConfig {
        tag: "share".into(),
        read_only: false,
        cache: FsCache::Auto,
        queues: 1,
    }
}

pub(super) fn open_path(path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

pub(super) fn backend(root: &Path) -> FsBackend {
    FsBackend {
        root: open_path(root),
        proc_self_fd: open_path(Path::new("/proc/self/fd")),
        descriptors: 1024,
        nodes: 4096,
    }
}

/// A directory for a test: the share, and beside it what the guest must not reach.
pub(super) struct Place {
    pub(super) dir: TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        // As in a VMM; what a test creates by itself has its mode set where that matters.
        rustix::process::umask(Mode::empty());
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("share")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        Self { dir }
    }

    pub(super) fn share(&self) -> PathBuf {
        self.dir.path().join("share")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.share().join(name)
    }

    pub(super) fn client(&self) -> Client {
        self.client_with(config())
    }

    pub(super) fn client_with(&self, config: FsConfig) -> Client {
        let device = Fs::new(config, backend(&self.share())).unwrap();
        let mut client = Client::over(Box::new(Driver::ready(Box::new(device))));
        client.init(LINUX_FLAGS);
        client
    }
}

/// Whether the tests run as root, which may give files away.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(super) fn read_host(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

pub(super) fn make_host(path: &Path, bytes: &[u8]) -> File {
    std::fs::write(path, bytes).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}
