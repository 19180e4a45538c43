//! A socket of the host in the container: connections to it go on over vsock, to a port of the host where the container's owner listens.
//!
//! It is a process of the agent's own, a copy of it without its descriptors: what it may hold and how many connections there are is bounded,
//! and nothing that it does holds the agent up. It lives as long as the machine. A connection that was open when a machine was saved is
//! broken in its clones, as vsock has it; new ones are made as ever.

use std::os::fd::{AsFd, OwnedFd};

use hull_agent_protocol::FailureKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, accept_with, recv, send, shutdown};
use rustix::process::chdir;
use rustix::stdio::dup2_stdin;

use crate::failure::{Explain, Result};
use crate::sys::clone::{self, Clone, Memory};
use crate::sys::{exec, vsock};

/// So many connections at a time; others wait in the socket's queue.
const MOST: usize = 64;
/// So many bytes of one direction of a connection are held.
const HELD: usize = 16 * 1024;

#[derive(Debug)]
struct Task {
    listener: OwnedFd,
    port: u32,
}

/// Passes on what connects to `listener`, which does not block.
pub(crate) fn start(listener: OwnedFd, port: u32) -> Result<()> {
    let how = Clone {
        memory: Memory::Copied,
        namespaces: 0,
        cgroup: None,
    };
    let task = Task { listener, port };
    clone::spawn(&how, main, &task)
        .map(drop)
        .explain(FailureKind::System, || "start a process".into())
}

fn main(task: &Task) -> i32 {
    // A working directory in the container would keep its disk busy at the end.
    if dup2_stdin(&task.listener)
        .and_then(|()| chdir("/"))
        .is_err()
    {
        return 1;
    }
    // Of the agent's other descriptors connections would stay open that the agent closes.
    exec::close_from(3);
    let listener = rustix::stdio::stdin();
    let mut relay = Relay {
        port: task.port,
        connections: Vec::new(),
        buffer: vec![0; HELD],
    };
    loop {
        match relay.turn(&listener) {
            Ok(()) | Err(Errno::INTR) => {}
            Err(error) => {
                crate::log::warn(&format!("a relay of connections ends: {error}"));
                return 1;
            }
        }
    }
}

#[derive(Debug)]
struct Relay {
    port: u32,
    connections: Vec<Connection>,
    /// What is read goes through this.
    buffer: Vec<u8>,
}

impl Relay {
    /// Waits until something can be done, and does it.
    fn turn(&mut self, listener: &impl AsFd) -> std::result::Result<(), Errno> {
        let accepts = self.connections.len() < MOST;
        let mut waiting: Vec<PollFd<'_>> = Vec::with_capacity(1 + 2 * self.connections.len());
        if accepts {
            waiting.push(PollFd::new(listener, PollFlags::IN));
        }
        for connection in &self.connections {
            waiting.extend(connection.wanted());
        }
        poll(&mut waiting, None)?;
        drop(waiting);
        if accepts {
            match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                // If the host cannot be reached the caller sees it closed.
                Ok(inner) => self
                    .connections
                    .extend(Connection::new(inner, self.port).ok()),
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error),
            }
        }
        let buffer = &mut self.buffer;
        self.connections
            .retain_mut(|connection| connection.step(buffer).unwrap_or(false));
        Ok(())
    }
}

/// A program's connection, and its other half to the host.
#[derive(Debug)]
struct Connection {
    inner: OwnedFd,
    outer: OwnedFd,
    connected: bool,
    out: Way,
    back: Way,
}

impl Connection {
    fn new(inner: OwnedFd, port: u32) -> std::result::Result<Self, Errno> {
        Ok(Self {
            inner,
            outer: vsock::connect_to_host(port)?,
            connected: false,
            out: Way::default(),
            back: Way::default(),
        })
    }

    /// What it waits for. An end for which there is nothing to do is left out: it would tell of its end over and over.
    fn wanted(&self) -> impl Iterator<Item = PollFd<'_>> {
        let (inner, outer) = match self.connected {
            false => (PollFlags::empty(), PollFlags::OUT),
            true => (flags(&self.out, &self.back), flags(&self.back, &self.out)),
        };
        let ends = [(&self.inner, inner), (&self.outer, outer)];
        let wanted = ends.into_iter().filter(|(_, flags)| !flags.is_empty());
        wanted.map(|(end, flags)| PollFd::new(end, flags))
    }

    /// Does what can be done; whether there will be more.
    fn step(&mut self, buffer: &mut [u8]) -> std::result::Result<bool, Errno> {
        if !self.connected {
            // The kernel gives up by itself, after two seconds.
            let mut outer = [PollFd::new(&self.outer, PollFlags::OUT)];
            if poll(&mut outer, Some(&Timespec::default()))? == 0 {
                return Ok(true);
            }
            socket_error(&self.outer)??;
            self.connected = true;
        }
        self.out.step(&self.inner, &self.outer, buffer)?;
        self.back.step(&self.outer, &self.inner, buffer)?;
        Ok(!(self.out.shut && self.back.shut))
    }
}

/// What an end waits for from which one direction comes and to which the other goes.
fn flags(from: &Way, to: &Way) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, from.may_read());
    flags.set(PollFlags::OUT, to.may_write());
    flags
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    held: Vec<u8>,
    /// Nothing more comes.
    ended: bool,
    /// Nothing more goes.
    shut: bool,
}

impl Way {
    fn may_read(&self) -> bool {
        !self.ended && self.held.is_empty()
    }

    fn may_write(&self) -> bool {
        !self.held.is_empty()
    }

    fn step(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        buffer: &mut [u8],
    ) -> std::result::Result<(), Errno> {
        if self.may_read() {
            match recv(from, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.ended = true,
                Ok((_, count)) => {
                    let read = buffer.get(..count).unwrap_or_default();
                    self.held.extend_from_slice(read);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        if self.may_write() {
            match send(to, &self.held, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.held.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::PIPE) => {
                    // Who does not listen any more may still have something to say: only this direction is over.
                    self.held.clear();
                    (self.ended, self.shut) = (true, true);
                    let _ = shutdown(from, Shutdown::Read);
                }
                Err(error) => return Err(error),
            }
        }
        if self.ended && self.held.is_empty() && !self.shut {
            // To somebody who is gone there is nothing to tell.
            let _ = shutdown(to, Shutdown::Write);
            self.shut = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
