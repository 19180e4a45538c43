//! What the machine's process may ask the keeper for, and what it is answered: a packet each way, the second with a descriptor.
//!
//! The questions are few and say what a thing is for, so that the keeper can compare them with what its user named.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_vm_api::config::HostPath;
use hull_vm_api::tap::TapError;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::files::Access;

/// The longest packet, in bytes: a path can have 4096, each of which is up to six in JSON.
const LONGEST: usize = 32 << 10;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// `/dev/kvm`.
    Kvm,
    /// Where the log goes.
    Log,
    /// Where figures go.
    Metrics,
    /// A file.
    File(HostPath, Access),
    /// The same, with flags that nobody else has, where the path names a descriptor that was handed over.
    Again(HostPath, Access),
    /// A directory, only to look things up in it.
    Directory(HostPath),
    /// A queue of a TAP device, which may have several.
    Tap {
        /// Its name.
        name: HostPath,
        /// It has several queues.
        many: bool,
    },
    /// A new file, which gets its name by [`Ask::Publish`].
    Create(HostPath),
    /// All new files that were asked for are whole: they are to have their names, in that order. Comes without a descriptor.
    Publish,
    /// What the kernel has for faults that another process sees to.
    Faults,
    /// A connection to that process.
    FaultHandler(HostPath),
    /// The vsock device's listening socket.
    Listener(HostPath),
    /// A connection to the host's side of a port of the vsock device.
    Connect(u32),
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// Its descriptor comes with it.
    Here,
    /// It is done, and there is no descriptor to come.
    Done,
    Refused(Refusal),
}

/// Why something is not given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The host's answer, as its number.
    Host(i32),
    /// A directory where a file must be.
    IsDirectory,
    /// A pipe, a terminal or the like where a file must be.
    NoFile,
    /// Its file system does not answer.
    Slow,
    /// There is no such descriptor.
    UnknownFd,
    /// Nobody named it, for this use.
    NotNamed,
    /// Another process listens there.
    InUse,
    /// Something that is no socket is there.
    NoSocket,
    /// A descriptor that does not listen.
    NotListening,
    /// A TAP device that cannot be used.
    Tap(TapError),
}

impl Refusal {
    /// The host's answer.
    pub(crate) fn host(error: &io::Error) -> Self {
        Self::Host(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// As an error of the host, for whoever tells no more than that.
    pub(crate) fn into_io(self) -> io::Error {
        let number = match self {
            Self::Host(number) => number,
            Self::IsDirectory => libc::EISDIR,
            Self::NoFile => libc::EINVAL,
            Self::Slow => libc::ETIMEDOUT,
            Self::UnknownFd => libc::EBADF,
            Self::NotNamed | Self::Tap(_) => libc::EPERM,
            Self::InUse => libc::EADDRINUSE,
            Self::NoSocket | Self::NotListening => libc::ENOTSOCK,
        };
        io::Error::from_raw_os_error(number)
    }
}

/// Asks, and waits for the answer.
///
/// # Errors
/// If the keeper is gone, or refuses.
pub(crate) fn ask(socket: BorrowedFd<'_>, question: &Ask) -> Result<OwnedFd, Refusal> {
    // The answer is one to another question.
    let none = || Refusal::Host(libc::EPROTO);
    demand(socket, question)?.ok_or_else(none)
}

/// Asks for something that is no descriptor, or may be none.
///
/// # Errors
/// If the keeper is gone, or refuses.
pub(crate) fn demand(socket: BorrowedFd<'_>, question: &Ask) -> Result<Option<OwnedFd>, Refusal> {
    exchange(socket, question).unwrap_or_else(|error| Err(Refusal::host(&error)))
}

fn exchange(
    socket: BorrowedFd<'_>,
    question: &Ask,
) -> io::Result<Result<Option<OwnedFd>, Refusal>> {
    let question = serde_json::to_vec(question)?;
    send(socket, &question, SendFlags::NOSIGNAL)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut packet = [0; 256];
    let got = loop {
        let mut into = [IoSliceMut::new(&mut packet)];
        match recvmsg(socket, &mut into, &mut rights, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?,
        }
    };
    let packet = packet.get(..got.bytes).unwrap_or_default();
    if packet.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let fd = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (serde_json::from_slice(packet)?, fd) {
        (Answer::Here, Some(fd)) => Ok(Ok(Some(fd))),
        (Answer::Done, _) => Ok(Ok(None)),
        // The answer was sent, but there was no place for the descriptor.
        (Answer::Here, None) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        (Answer::Refused(refusal), _) => Ok(Err(refusal)),
    }
}

/// What came from the machine's process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A question.
    Ask(Ask),
    /// Something else, in short.
    Other(Vec<u8>),
}

/// The next packet, if there is one. Descriptors that come with it are dropped.
///
/// # Errors
/// If the other end is gone.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
    let mut packet = vec![0; LONGEST];
    let got = match recv(socket, packet.as_mut_slice(), RecvFlags::DONTWAIT) {
        Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((got, _)) => got,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    packet.truncate(got);
    Ok(Some(match serde_json::from_slice(&packet) {
        Ok(ask) => Packet::Ask(ask),
        Err(_) => Packet::Other(packet),
    }))
}

/// Answers. Whoever does not take an answer gets none.
///
/// # Errors
/// If it cannot be sent at once.
pub(crate) fn answer(
    socket: BorrowedFd<'_>,
    answer: &Result<Option<OwnedFd>, Refusal>,
) -> io::Result<()> {
    let (told, fd) = match answer {
        Ok(Some(fd)) => (Answer::Here, Some([fd.as_fd()])),
        Ok(None) => (Answer::Done, None),
        Err(refusal) => (Answer::Refused(refusal.clone()), None),
    };
    let told = serde_json::to_vec(&told)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if let Some(fd) = &fd {
        rights.push(SendAncillaryMessage::ScmRights(fd));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(&told)], &mut rights, flags)?;
    Ok(())
}
