//! Listening sockets, of the vsock device and of the API: bound so that a dead machine's leftover is replaced, and a live machine's never.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hull_vm_api::config::HostPath;
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::umask;

use crate::files::{Access, FileError};
use crate::keeper::opening::Opener;

/// Why there can be no listening socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("another process listens at {path}; each machine needs {what} of its own")]
    InUse {
        /// Where.
        path: PathBuf,
        /// What for.
        what: SocketUse,
    },
    /// Something that is no socket is there.
    #[error("{path} exists and is no socket; move it away or choose another {what}")]
    NoSocket {
        /// Where.
        path: PathBuf,
        /// What for.
        what: SocketUse,
    },
    /// The host's answer.
    #[error("cannot listen at {path} ({what})")]
    Bind {
        /// Where.
        path: PathBuf,
        /// What for.
        what: SocketUse,
        /// The host's answer.
        source: io::Error,
    },
    /// A descriptor that cannot serve.
    #[error("the descriptor {0} is no listening Unix socket with a path")]
    Descriptor(HostPath),
    /// No such descriptor.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketUse {
    /// The vsock device.
    Vsock,
    /// The API.
    Api,
}

impl SocketUse {
    /// What names its path.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vsock => "vsock.uds_path",
            Self::Api => "--api-sock",
        }
    }
}

impl fmt::Display for SocketUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Binds a path, or takes the listening descriptor that it names. The file of a socket that was bound here goes when the second
/// value does; that of a descriptor stays its maker's.
///
/// # Errors
/// Why there can be no listening socket.
pub fn listen(
    what: SocketUse,
    path: &HostPath,
    opener: &Opener,
) -> Result<(UnixListener, SocketFile), SocketError> {
    if path.as_fd().is_none() {
        return bind(what, path.as_path());
    }
    let fd: OwnedFd = opener.open(what.name(), path, Access::ReadWrite)?.into();
    let listener = UnixListener::from(fd);
    let bound = listener.local_addr().ok();
    let bound = bound.and_then(|address| Some(address.as_pathname()?.to_owned()));
    match bound {
        Some(path) => Ok((
            listener,
            SocketFile {
                path,
                identity: None,
            },
        )),
        None => Err(SocketError::Descriptor(path.clone())),
    }
}

/// Whoever has the path may just be dying.
fn bind(what: SocketUse, path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    until_it_works(DEATH, || match bind_once(what, path) {
        Err(error @ SocketError::InUse { .. }) => Err(error),
        other => Ok(other),
    })?
}

fn bind_once(what: SocketUse, path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let fail = |source| SocketError::Bind {
        path: path.to_owned(),
        what,
        source,
    };
    // Between being bound and being listened at a socket looks dead to others.
    let _turn = Turn::take(path).map_err(fail)?;
    let listener = match bind_for_owner(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            check_dead(what, path)?;
            fs::remove_file(path).map_err(fail)?;
            bind_for_owner(path).map_err(fail)?
        }
        result => result.map_err(fail)?,
    };
    let identity = identity(path).map_err(fail)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: Some(identity),
    };
    Ok((listener, file))
}

/// Binds a socket to which only its owner can connect, whatever the process's mask is. (A file that the thread that opens files makes
/// meanwhile, because it was given up, is its owner's alone, too.)
fn bind_for_owner(path: &Path) -> io::Result<UnixListener> {
    let mask = umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    umask(mask);
    listener
}

/// The right to put a socket at a path: the lock of a file beside it, which is there for as long. Others who start at the same path
/// wait, or would take away what the first of them has put there.
#[derive(Debug)]
struct Turn {
    path: PathBuf,
    _file: File,
}

impl Turn {
    fn take(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let mut options = File::options();
            options.write(true).create(true).truncate(false);
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let file = options.mode(0o600).open(&path)?;
            until_it_works(TURN, || {
                flock(&file, FlockOperation::NonBlockingLockExclusive)
            })?;
            // Whoever had it before has removed it, and the next may have made a new one.
            let ours = file.metadata()?;
            match fs::symlink_metadata(&path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Self { path, _file: file });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// How long others may take to put their sockets at a path.
const TURN: Duration = Duration::from_secs(5);
/// How long a machine's process may take to end after its keeper was killed: it has the socket until then.
const DEATH: Duration = Duration::from_millis(200);
const BREATH: Duration = Duration::from_millis(10);

/// Tries something until it works, for so long.
fn until_it_works<T, E>(
    patience: Duration,
    mut what: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let until = Instant::now() + patience;
    loop {
        let result = what();
        if result.is_ok() || Instant::now() >= until {
            return result;
        }
        thread::sleep(BREATH);
    }
}

/// Whether a path is a socket that nobody listens at.
fn check_dead(what: SocketUse, path: &Path) -> Result<(), SocketError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| SocketError::Bind {
        path: path.to_owned(),
        what,
        source,
    })?;
    let path = path.to_owned();
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NoSocket { path, what });
    }
    match connects(&path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        _ => Err(SocketError::InUse { path, what }),
    }
}

/// Connects to a socket, and does not wait where others do.
fn connects(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(connect(&socket, &SocketAddrUnix::new(path)?)?)
}

/// Where a socket is. If this process made the file, it is removed in the end, unless somebody put another in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// The path; the guest's connections to port P go to this path with `_P` behind it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path).ok() == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn listen_at(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
        listen(
            SocketUse::Vsock,
            &HostPath::try_from(path).unwrap(),
            &Opener::default(),
        )
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());

        let socket = listen_at(&path).unwrap();
        assert!(matches!(listen_at(&path), Err(SocketError::InUse { .. })));
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn whoever_is_dying_is_waited_for_and_a_pipe_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let dying = UnixListener::bind(&path).unwrap();
        // It is there when it is looked for first, unless this machine is very slow: then the test shows less.
        let end = thread::spawn(move || {
            thread::sleep(DEATH / 10);
            drop(dying);
        });
        assert!(listen_at(&path).is_ok());
        end.join().unwrap();

        let lock = dir.path().join("v.lock");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &lock, kind, Mode::RWXU, 0).unwrap();
        assert!(matches!(listen_at(&path), Err(SocketError::Bind { .. })));
    }

    #[test]
    fn of_many_who_find_a_dead_socket_one_gets_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        for _ in 0..20 {
            drop(UnixListener::bind(&path).unwrap());
            let starters: Vec<_> = (0..4)
                .map(|_| {
                    let path = path.clone();
                    thread::spawn(move || listen_at(&path))
                })
                .collect();
            let all = starters.into_iter().map(|starter| starter.join().unwrap());
            let got: Vec<_> = all.flatten().collect();
            let [(one, _)] = &got[..] else {
                panic!("{got:?}");
            };
            let client = UnixStream::connect(&path).unwrap();
            one.accept().unwrap();
            drop(client);
            // No lock is left, and no socket in the end.
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            drop(got);
            assert!(!path.exists());
        }
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            listen_at(&path),
            Err(SocketError::NoSocket { .. })
        ));
        fs::remove_file(&path).unwrap();

        let socket = listen_at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(socket);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
