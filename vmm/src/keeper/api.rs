//! The API's socket and its thread. HTTP is `hull-vm-api`'s business; calls come out of a queue that the keeper watches.

use std::io;
use std::sync::Arc;

use hull_vm_api::config::HostPath;
use hull_vm_api::server::{Calls, Limits, RequestCounts, Requests, ServerThread};
use hull_vm_api::{ExitCause, Server};

use super::opening::Opener;
use crate::error::{StartError, with_sources};
use crate::sandbox::seccomp::{self, Kind};
use crate::socket::{self, SocketFile, SocketUse};

/// An API that is served.
#[derive(Debug)]
pub(crate) struct Api {
    /// First in order: calls that nobody will answer are told so before the server ends.
    calls: Calls,
    requests: Arc<RequestCounts>,
    _server: Stop,
    _socket: SocketFile,
}

/// Ends the server in the end.
#[derive(Debug)]
struct Stop(Option<ServerThread>);

impl Api {
    /// Serves the API at `path`.
    ///
    /// # Errors
    /// If another process does, or the host refuses it.
    pub(crate) fn serve(
        path: &HostPath,
        opener: &Opener,
        limits: Limits,
        filter: seccomp::Level,
    ) -> Result<Self, StartError> {
        let (listener, socket) = socket::listen(SocketUse::Api, path, opener)?;
        let serve = || -> io::Result<_> {
            let (server, calls) = Server::new(listener, limits)?;
            let requests = server.counts();
            let server = server.spawn(move || confine(filter))?;
            Ok((calls, requests, server))
        };
        let (calls, requests, server) =
            serve().map_err(StartError::host("a thread for the API"))?;
        tracing::info!("serving the API at {}", socket.path().display());
        Ok(Self {
            calls,
            requests,
            _server: Stop(Some(server)),
            _socket: socket,
        })
    }

    /// What was asked for so far.
    #[must_use]
    pub(crate) fn requests(&self) -> Requests {
        self.requests.now()
    }

    /// What is asked. It can be watched.
    #[must_use]
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }
}

/// There is no API without its filter.
fn confine(filter: seccomp::Level) {
    if let Err(error) = seccomp::put_on(Kind::Api, filter) {
        eprintln!(
            "hull-vmm: no seccomp filter for the API: {}",
            with_sources(&error)
        );
        std::process::exit(ExitCause::NoResource.code().into());
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(ServerThread::stop) {
            tracing::warn!("the API ended before the microVM did: {error}");
        }
    }
}
