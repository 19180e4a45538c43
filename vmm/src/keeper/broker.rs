//! The keeper's answers to what the machine's process asks for.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use hull_devices::vsock::{Connector, UnixConnector};
use hull_vm_api::config::{HostPath, NamedPath};
use hull_vm_api::tap;

use super::ask::{self, Ask, Packet, Refusal};
use super::grants::Grants;
use super::opening::{self, Opener};
use super::staged::Staged;
use crate::files::{Access, FileError};
use crate::log;
use crate::socket::{self, SocketError, SocketFile, SocketUse};

/// Questions that are answered before others have their turn.
const BUDGET: usize = 64;
/// The longest note that is kept of what is no question, in bytes.
const LONGEST_NOTE: usize = 256;

/// Whoever answers.
#[derive(Debug)]
pub(crate) struct Broker {
    socket: OwnedFd,
    opener: Opener,
    grants: Grants,
    /// The vsock device's socket, whose file goes with the machine. A guest that is started again listens at the same one.
    vsock: Option<(UnixListener, SocketFile)>,
    metrics: Option<File>,
    /// New files, which have no names yet.
    staged: Vec<Staged>,
    /// Those of the request that waits aside.
    aside: Vec<Staged>,
    /// The file for what is recorded.
    working_set: Option<Staged>,
    /// The last words of a process whose sandbox was violated.
    note: Option<String>,
}

impl Broker {
    /// Answers on this socket.
    #[must_use]
    pub(crate) fn new(socket: OwnedFd, opener: Opener) -> Self {
        Self {
            socket,
            opener,
            grants: Grants::default(),
            vsock: None,
            metrics: None,
            staged: Vec::new(),
            aside: Vec::new(),
            working_set: None,
            note: None,
        }
    }

    /// What was handed over, and the right to open.
    #[must_use]
    pub(crate) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// The same, to change how it opens.
    pub(crate) fn opener_mut(&mut self) -> &mut Opener {
        &mut self.opener
    }

    /// Where figures are to go from now on.
    pub(crate) fn send_metrics_to(&mut self, file: File) {
        self.metrics = Some(file);
    }

    /// Lets a machine have what its configuration names. Nothing is left of one that did not start.
    pub(crate) fn grant(&mut self, named: Vec<NamedPath>) {
        self.vsock = None;
        self.grants.set(named);
    }

    /// The machine that was to have it all did not start. Nothing is left of files that it began.
    pub(crate) fn revoke(&mut self) {
        self.working_set = None;
        self.grant(Vec::new());
    }

    /// Lets the machine have what a request names, until it is answered.
    pub(crate) fn lend(&mut self, named: Vec<NamedPath>) {
        self.grants.lend(named);
    }

    /// The request is done, so that the machine may have for ever what it named.
    pub(crate) fn keep(&mut self) {
        self.staged.clear();
        self.grants.keep();
    }

    /// The request is refused. Nothing is left of files that it began.
    pub(crate) fn take_back(&mut self) {
        self.staged.clear();
        self.grants.take_back();
    }

    /// The request is answered later. It has all that it needs but the names of its files.
    pub(crate) fn set_aside(&mut self) {
        self.aside.append(&mut self.staged);
        self.grants.take_back();
    }

    /// That one is answered. Nothing is left of files that were not published.
    pub(crate) fn end_aside(&mut self) {
        self.aside.clear();
    }

    /// What the process said of its own end.
    #[must_use]
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Answers what was asked.
    ///
    /// # Errors
    /// If the other end is gone, or does not take answers.
    pub(crate) fn serve(&mut self) -> io::Result<()> {
        for _ in 0..BUDGET {
            match ask::receive(self.socket.as_fd())? {
                None => return Ok(()),
                Some(Packet::Ask(question)) => {
                    let answer = self.answer(&question);
                    ask::answer(self.socket.as_fd(), &answer)?;
                }
                Some(Packet::Asks(questions)) => {
                    let answers = questions.iter().map(|question| self.answer(question));
                    let answers: Vec<_> = answers.collect();
                    ask::answer_all(self.socket.as_fd(), &answers)?;
                }
                Some(Packet::Other(mut bytes)) => {
                    bytes.truncate(LONGEST_NOTE);
                    let note = String::from_utf8_lossy(&bytes);
                    let plain = |c: char| if c.is_control() { ' ' } else { c };
                    self.note = Some(note.chars().map(plain).collect());
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, question: &Ask) -> Result<Option<OwnedFd>, Refusal> {
        let answer = match question {
            Ask::Publish => self.publish().map(|()| None),
            Ask::PublishWorkingSet => {
                let staged = self.working_set.take();
                let published = staged.map(|staged| self.opener.publish("", vec![staged]));
                published.transpose()?;
                Ok(None)
            }
            _ => self.give(question).map(Some),
        };
        if let Err(refusal) = &answer {
            tracing::debug!("not given: {question:?}: {refusal:?}");
        }
        answer
    }

    /// Gives new files their names. They are whole, and on their disk; so are the names, when this is over.
    fn publish(&mut self) -> Result<(), Refusal> {
        let staged = match self.aside.is_empty() {
            true => &mut self.staged,
            false => &mut self.aside,
        };
        Ok(self.opener.publish("", std::mem::take(staged))?)
    }

    fn give(&mut self, question: &Ask) -> Result<OwnedFd, Refusal> {
        if !self.grants.permit(question) {
            tracing::warn!("the machine asked for what nobody named: {question:?}");
            return Err(Refusal::NotNamed);
        }
        // Whoever asks knows what it is for, and says so.
        let what = "";
        match question {
            Ask::Kvm => opening::kvm().map_err(|error| Refusal::host(&error)),
            Ask::Log => given(log::copy()),
            Ask::Metrics => given(self.metrics.as_ref().map(File::try_clone)),
            Ask::File(path, access) => Ok(self.opener.open(what, path, *access)?.into()),
            Ask::Again(path, access) => Ok(self.opener.again(what, path, *access)?.into()),
            Ask::Directory(path) => Ok(self.opener.directory(what, path)?),
            Ask::Tap { name, many } => tap::open_queue(name.as_str(), *many).map_err(Refusal::Tap),
            Ask::Create(path) => {
                let (file, staged) = self.opener.create(what, path)?;
                let is_there =
                    |known: &Staged| Some(known.target()) == staged.as_ref().map(Staged::target);
                if self.staged.iter().any(is_there) {
                    return Err(Refusal::Host(libc::EEXIST));
                }
                self.staged.extend(staged);
                Ok(file)
            }
            Ask::Faults => opening::faults().map_err(|error| Refusal::host(&error)),
            Ask::FaultHandler(path) => match path.as_fd() {
                Some(_) => Ok(self.opener.open(what, path, Access::ReadWrite)?.into()),
                None => UnixStream::connect(path.as_path())
                    .map(OwnedFd::from)
                    .map_err(|error| Refusal::host(&error)),
            },
            Ask::WorkingSet(path) => {
                let (file, staged) = self.opener.create(what, path)?;
                self.working_set = staged;
                Ok(file)
            }
            // They have no descriptor.
            Ask::Publish | Ask::PublishWorkingSet => Err(Refusal::NotNamed),
            Ask::Listener(path) => self.listener(path),
            Ask::Connect(port) => self.connect(*port),
        }
    }

    fn listener(&mut self, path: &HostPath) -> Result<OwnedFd, Refusal> {
        let (listener, _) = match self.vsock.take() {
            Some(kept) => self.vsock.insert(kept),
            None => {
                let made = socket::listen(SocketUse::Vsock, path, &self.opener)?;
                self.vsock.insert(made)
            }
        };
        let copy = listener.try_clone();
        copy.map(OwnedFd::from)
            .map_err(|error| Refusal::host(&error))
    }

    fn connect(&self, port: u32) -> Result<OwnedFd, Refusal> {
        let path: PathBuf = match &self.vsock {
            Some((_, socket)) => socket.path().to_owned(),
            None => return Err(Refusal::NotNamed),
        };
        let connected = UnixConnector::new(path).connect(port);
        connected
            .map(OwnedFd::from)
            .map_err(|error| Refusal::host(&error))
    }
}

fn given(copy: Option<io::Result<File>>) -> Result<OwnedFd, Refusal> {
    let copy = copy.ok_or(Refusal::NotNamed)?;
    copy.map(OwnedFd::from)
        .map_err(|error| Refusal::host(&error))
}

impl AsFd for Broker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<FileError> for Refusal {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Open { source, .. } => Self::host(&source),
            FileError::Directory { .. } => Self::IsDirectory,
            FileError::NoFile { .. } => Self::NoFile,
            FileError::Slow { .. } => Self::Slow,
            FileError::NotNamed { .. } => Self::NotNamed,
            FileError::UnknownFd { .. } | FileError::TwoFds(_) | FileError::ClosedFd { .. } => {
                Self::UnknownFd
            }
        }
    }
}

impl From<SocketError> for Refusal {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::InUse { .. } => Self::InUse,
            SocketError::NoSocket { .. } => Self::NoSocket,
            SocketError::Descriptor(_) => Self::NotListening,
            SocketError::Bind { source, .. } => Self::host(&source),
            SocketError::File(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
