//! Who makes the connections that a guest asks for.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Makes connections to services on the host. In a sandbox without a file system this may ask a process outside.
pub trait Connector: Send + fmt::Debug {
    /// Connects to the service at a port. Must not wait.
    ///
    /// # Errors
    /// If nobody listens there, or too many wait already; the guest's attempt is then refused.
    fn connect(&mut self, port: u32) -> io::Result<UnixStream>;
}

/// Connects by path: port P is the socket `<path>_<P>`.
#[derive(Clone, Debug)]
pub struct UnixConnector {
    path: OsString,
}

impl UnixConnector {
    /// For the sockets whose names begin with `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into().into_os_string(),
        }
    }
}

impl Connector for UnixConnector {
    fn connect(&mut self, port: u32) -> io::Result<UnixStream> {
        let mut path = self.path.clone();
        path.push(format!("_{port}"));
        let address = SocketAddrUnix::new(PathBuf::from(path))?;
        // Non-blocking from the start: connecting to a full backlog would wait.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket.into())
    }
}
