//! The socket of the vsock device: bound so that a dead machine's leftover is replaced, and a live machine's never.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use hull_vm_api::config::HostPath;

use crate::files::{Access, FileError, Files};

/// Why there can be no listening socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("another process listens at {0}; each machine needs a vsock.uds_path of its own")]
    InUse(PathBuf),
    /// Something that is no socket is there.
    #[error("{0} exists and is no socket; move it away or choose another vsock.uds_path")]
    NoSocket(PathBuf),
    /// The host's answer.
    #[error("cannot listen at {path} (vsock.uds_path)")]
    Bind {
        /// Where.
        path: PathBuf,
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

/// Binds a path, or takes the listening descriptor that it names. The file of a socket that was bound here goes when the second
/// value does; that of a descriptor stays its maker's.
///
/// # Errors
/// Why there can be no listening socket.
pub fn listen(path: &HostPath, files: &Files) -> Result<(UnixListener, SocketFile), SocketError> {
    if path.as_fd().is_none() {
        return bind(path.as_path());
    }
    let fd: OwnedFd = files
        .open("vsock.uds_path", path, Access::ReadWrite)?
        .into();
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

fn bind(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let fail = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            UnixListener::bind(path).map_err(fail)?
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

/// Removes a socket that nobody listens at any more.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let fail = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::symlink_metadata(path).map_err(fail)?;
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(fail)
        }
        _ => Err(SocketError::InUse(path.to_owned())),
    }
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
    use super::*;

    fn listen_at(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
        listen(&HostPath::try_from(path).unwrap(), &Files::default())
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());

        let socket = listen_at(&path).unwrap();
        assert!(matches!(listen_at(&path), Err(SocketError::InUse(_))));
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(listen_at(&path), Err(SocketError::NoSocket(_))));
        fs::remove_file(&path).unwrap();

        let socket = listen_at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(socket);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
