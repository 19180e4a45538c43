//! What the machine's process may ask the keeper for, and what it is answered: a packet each way, the second with a descriptor. Several
//! questions can go in one packet, as a list, which is answered by a list.
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
/// The most questions in a packet. Linux passes 253 descriptors at a time.
pub(crate) const MOST: usize = 64;
/// No answer to a question is longer, in bytes.
const LONGEST_ANSWER: usize = 256;

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
    /// A new file for what is recorded while the machine runs, which gets its name by [`Ask::PublishWorkingSet`].
    WorkingSet(HostPath),
    /// That is whole. Comes without a descriptor.
    PublishWorkingSet,
    /// What the kernel has for faults that a process sees to.
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
    send(socket, &serde_json::to_vec(question)?, SendFlags::NOSIGNAL)?;
    let (packet, mut fds) = receive_answer(socket, 1)?;
    taken(serde_json::from_slice(&packet)?, &mut fds)
}

/// Asks several questions at once, at most [`MOST`] and in one packet; the answers come in their order.
///
/// # Errors
/// If the keeper is gone, or they are too long together.
pub(crate) fn ask_all(
    socket: BorrowedFd<'_>,
    questions: &[&Ask],
) -> io::Result<Vec<Result<Option<OwnedFd>, Refusal>>> {
    let packet = serde_json::to_vec(questions)?;
    if packet.len() > LONGEST || questions.len() > MOST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    send(socket, &packet, SendFlags::NOSIGNAL)?;
    let (packet, mut fds) = receive_answer(socket, questions.len())?;
    let answers: Vec<Answer> = serde_json::from_slice(&packet)?;
    if answers.len() != questions.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let answers = answers.into_iter();
    answers.map(|answer| taken(answer, &mut fds)).collect()
}

/// A packet that answers so many questions, with the descriptors that came with it.
fn receive_answer(
    socket: BorrowedFd<'_>,
    count: usize,
) -> io::Result<(Vec<u8>, std::vec::IntoIter<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut packet = vec![0; LONGEST_ANSWER * count];
    let got = loop {
        let mut into = [IoSliceMut::new(&mut packet)];
        match recvmsg(socket, &mut into, &mut rights, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?,
        }
    };
    packet.truncate(got.bytes);
    if packet.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let fds: Vec<_> = rights
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((packet, fds.into_iter()))
}

/// What an answer is, with its descriptor if it has one.
fn taken(
    answer: Answer,
    fds: &mut std::vec::IntoIter<OwnedFd>,
) -> io::Result<Result<Option<OwnedFd>, Refusal>> {
    match answer {
        Answer::Here => match fds.next() {
            Some(fd) => Ok(Ok(Some(fd))),
            // The answer was sent, but there was no place for the descriptor.
            None => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        },
        Answer::Done => Ok(Ok(None)),
        Answer::Refused(refusal) => Ok(Err(refusal)),
    }
}

/// What came from the machine's process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A question.
    Ask(Ask),
    /// Several.
    Asks(Vec<Ask>),
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
    if packet.first() == Some(&b'[')
        && let Ok(asks) = serde_json::from_slice::<Vec<Ask>>(&packet)
        && asks.len() <= MOST
    {
        return Ok(Some(Packet::Asks(asks)));
    }
    Ok(Some(match serde_json::from_slice(&packet) {
        Ok(ask) => Packet::Ask(ask),
        Err(_) => Packet::Other(packet),
    }))
}

/// What is answered.
type Given = Result<Option<OwnedFd>, Refusal>;

/// Answers. Whoever does not take an answer gets none.
///
/// # Errors
/// If it cannot be sent at once.
pub(crate) fn answer(socket: BorrowedFd<'_>, answer: &Given) -> io::Result<()> {
    let told = serde_json::to_vec(&Answer::of(answer))?;
    pass(socket, &told, std::slice::from_ref(answer))
}

/// Answers several questions, in their order.
///
/// # Errors
/// If that cannot be sent at once.
pub(crate) fn answer_all(socket: BorrowedFd<'_>, answers: &[Given]) -> io::Result<()> {
    let told: Vec<_> = answers.iter().map(Answer::of).collect();
    pass(socket, &serde_json::to_vec(&told)?, answers)
}

fn pass(socket: BorrowedFd<'_>, told: &[u8], answers: &[Given]) -> io::Result<()> {
    let given = answers.iter().filter_map(|answer| answer.as_ref().ok());
    let fds: Vec<_> = given.flatten().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        rights.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(told)], &mut rights, flags)?;
    Ok(())
}

impl Answer {
    fn of(given: &Given) -> Self {
        match given {
            Ok(Some(_)) => Self::Here,
            Ok(None) => Self::Done,
            Err(refusal) => Self::Refused(refusal.clone()),
        }
    }
}
