//! Everything of the host that a machine is made of, as its process gets it: asked for, and answered by descriptors.
//!
//! The process opens nothing itself. It asks its keeper, who compares the question with what the user named
//! ([`crate::keeper`]).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hull_devices::vsock::Connector;
use hull_vm_api::config::HostPath;
use hull_vm_api::tap::TapError;
use serde::{Deserialize, Serialize};

use crate::keeper::ask::{Ask, MOST, Refusal, ask, ask_all, demand};
use crate::sandbox::Confinement;
use crate::socket::{SocketError, SocketUse};

/// Why something that was named is not there.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The host's answer to opening it.
    #[error("cannot open {path} ({what})")]
    Open {
        /// What it is for.
        what: &'static str,
        /// As configured.
        path: HostPath,
        /// The host's answer.
        source: io::Error,
    },
    /// A directory where a file must be.
    #[error("{path} ({what}) is a directory; name a file")]
    Directory {
        /// What it is for.
        what: &'static str,
        /// As configured.
        path: HostPath,
    },
    /// A pipe or a terminal, of which nobody can read anything at any place.
    #[error("{path} ({what}) is neither a file nor a disk of the host; name one")]
    NoFile {
        /// What it is for.
        what: &'static str,
        /// As configured.
        path: HostPath,
    },
    /// It was waited for long enough.
    #[error("cannot open {path} ({what}): its file system does not answer; try again")]
    Slow {
        /// What it is for.
        what: &'static str,
        /// As configured.
        path: HostPath,
    },
    /// `fd:NAME` of a name that was not handed over.
    #[error(
        "{what} is fd:{name}, but no descriptor of that name was handed over; start with --fd {name}=NUMBER"
    )]
    UnknownFd {
        /// What it is for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that was handed over twice.
    #[error("--fd {0} is given twice; each name stands for one descriptor")]
    TwoFds(String),
    /// A number that is no open descriptor.
    #[error("the descriptor {number} ({name}) was to be handed over, but it is not open")]
    ClosedFd {
        /// What for.
        name: String,
        /// Its number.
        number: RawFd,
    },
    /// Something that nobody named.
    #[error("{path} ({what}) was asked for, but nobody named it for this use")]
    NotNamed {
        /// What it was to be for.
        what: &'static str,
        /// As it was asked for.
        path: HostPath,
    },
}

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Must exist, and be a file or a disk.
    Read,
    /// The same.
    ReadWrite,
    /// Must exist; may be a pipe or a terminal as well.
    Input,
    /// Is made if missing; what is written goes behind what is there.
    Append,
}

/// The way to the keeper, for one question at a time.
#[derive(Debug, Clone)]
pub struct Files {
    socket: Arc<Mutex<OwnedFd>>,
    /// What was asked for before it is needed, with its answers.
    ahead: Arc<Mutex<Vec<(Ask, Given)>>>,
    confinement: Confinement,
}

type Given = Result<Option<OwnedFd>, Refusal>;

impl Files {
    /// Asks over this socket, whose packets arrive whole; `kvm` is there for whoever asks first.
    #[must_use]
    pub(crate) fn new(socket: OwnedFd, confinement: Confinement, kvm: Option<OwnedFd>) -> Self {
        let ahead = kvm.map(|kvm| (Ask::Kvm, Ok(Some(kvm))));
        Self {
            socket: Arc::new(Mutex::new(socket)),
            ahead: Arc::new(Mutex::new(ahead.into_iter().collect())),
            confinement,
        }
    }

    /// `/proc/self/fd` of this very process.
    ///
    /// # Errors
    /// If the host has no descriptors left.
    pub fn own_descriptors(&self) -> io::Result<OwnedFd> {
        self.confinement.own_descriptors()
    }

    /// `/proc/self/pagemap` of this very process.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn pagemap(&self) -> io::Result<File> {
        self.confinement.pagemap()
    }

    /// What the threads of the process give up.
    pub(crate) fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// A file, or the descriptor that its path names.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(
        &self,
        what: &'static str,
        path: &HostPath,
        access: Access,
    ) -> Result<File, FileError> {
        let file = self.ask(&Ask::File(path.clone(), access));
        file.map(File::from).map_err(explain(what, path))
    }

    /// The same file with flags of its own, where its path names a descriptor that somebody else has as well.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn again(
        &self,
        what: &'static str,
        path: &HostPath,
        access: Access,
    ) -> Result<File, FileError> {
        let file = self.ask(&Ask::Again(path.clone(), access));
        file.map(File::from).map_err(explain(what, path))
    }

    /// A directory, only to look things up in it.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn directory(&self, what: &'static str, path: &HostPath) -> Result<OwnedFd, FileError> {
        let directory = self.ask(&Ask::Directory(path.clone()));
        directory.map_err(explain(what, path))
    }

    /// A new file, which is to be at this path once [`Files::publish`] was called; the descriptor that the path names is emptied.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn create(&self, what: &'static str, path: &HostPath) -> Result<File, FileError> {
        let file = self.ask(&Ask::Create(path.clone()));
        file.map(File::from).map_err(explain(what, path))
    }

    /// The new files are whole.
    ///
    /// # Errors
    /// Why they are not in their places.
    pub(crate) fn publish(&self) -> io::Result<()> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let done = demand(socket.as_fd(), &Ask::Publish);
        done.map(drop).map_err(Refusal::into_io)
    }

    /// A new file for a working set, which takes the place of what is at this path once [`Files::publish_working_set`] was called.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn working_set(
        &self,
        what: &'static str,
        path: &HostPath,
    ) -> Result<File, FileError> {
        let file = self.ask(&Ask::WorkingSet(path.clone()));
        file.map(File::from).map_err(explain(what, path))
    }

    /// The working set is whole.
    ///
    /// # Errors
    /// Why it is not in its place.
    pub(crate) fn publish_working_set(&self) -> io::Result<()> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let done = demand(socket.as_fd(), &Ask::PublishWorkingSet);
        done.map(drop).map_err(Refusal::into_io)
    }

    /// What the kernel has for faults that another process sees to.
    ///
    /// # Errors
    /// The host's answer.
    pub(crate) fn faults(&self) -> io::Result<OwnedFd> {
        self.ask(&Ask::Faults).map_err(Refusal::into_io)
    }

    /// A connection to the process that sees to them.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn fault_handler(
        &self,
        what: &'static str,
        path: &HostPath,
    ) -> Result<OwnedFd, FileError> {
        let socket = self.ask(&Ask::FaultHandler(path.clone()));
        socket.map_err(explain(what, path))
    }

    /// A queue of a TAP device that exists.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn tap(&self, name: &HostPath, many: bool) -> Result<OwnedFd, TapError> {
        let asked = Ask::Tap {
            name: name.clone(),
            many,
        };
        self.ask(&asked).map_err(|refusal| match refusal {
            Refusal::Tap(error) => error,
            other => {
                let number = other.into_io().raw_os_error().unwrap_or(libc::EIO);
                TapError::host(name.as_str(), number)
            }
        })
    }

    /// KVM.
    ///
    /// # Errors
    /// The host's answer.
    pub fn kvm(&self) -> io::Result<OwnedFd> {
        self.ask(&Ask::Kvm).map_err(Refusal::into_io)
    }

    /// Where the log goes.
    ///
    /// # Errors
    /// If it goes to no file.
    pub(crate) fn log(&self) -> io::Result<File> {
        let file = self.ask(&Ask::Log).map_err(Refusal::into_io)?;
        Ok(file.into())
    }

    /// Where figures go.
    ///
    /// # Errors
    /// If they go to no file.
    pub(crate) fn metrics(&self) -> io::Result<File> {
        let file = self.ask(&Ask::Metrics).map_err(Refusal::into_io)?;
        Ok(file.into())
    }

    /// The vsock device's listening socket, whose file is the keeper's business.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn listener(&self, path: &HostPath) -> Result<UnixListener, SocketError> {
        let what = SocketUse::Vsock;
        let listener = self.ask(&Ask::Listener(path.clone()));
        listener.map(UnixListener::from).map_err(|refusal| {
            let named = path;
            let path = named.as_path().to_owned();
            match refusal {
                Refusal::InUse => SocketError::InUse { path, what },
                Refusal::NoSocket => SocketError::NoSocket { path, what },
                Refusal::NotListening => SocketError::Descriptor(named.clone()),
                Refusal::Host(number) if named.as_fd().is_none() => SocketError::Bind {
                    path,
                    what,
                    source: io::Error::from_raw_os_error(number),
                },
                other => SocketError::File(explain(what.name(), named)(other)),
            }
        })
    }

    /// What makes the connections that the guest asks for.
    #[must_use]
    pub fn connector(&self) -> Box<dyn Connector> {
        Box::new(self.clone())
    }

    /// Asks for all of these at once, since each question by itself waits for the keeper. They are given to whoever asks for them next, until
    /// [`Files::forget_ahead`].
    pub(crate) fn ask_ahead(&self, questions: Vec<Ask>) {
        let mut answered = Vec::new();
        {
            let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
            for some in questions.chunks(MOST) {
                let wanted: Vec<_> = some.iter().collect();
                // What has no answer is asked for when it is needed, and has its error then.
                let answers = ask_all(socket.as_fd(), &wanted).unwrap_or_default();
                answered.extend(some.iter().cloned().zip(answers));
            }
        }
        self.ahead().extend(answered);
    }

    /// Lets go of what was asked for ahead and never needed.
    pub(crate) fn forget_ahead(&self) {
        self.ahead().clear();
    }

    fn ahead(&self) -> MutexGuard<'_, Vec<(Ask, Given)>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, question: &Ask) -> Result<OwnedFd, Refusal> {
        let mut ahead = self.ahead();
        let found = ahead.iter().position(|(asked, _)| asked == question);
        let answered = found.map(|at| ahead.swap_remove(at).1);
        drop(ahead);
        if let Some(answer) = answered {
            return answer?.ok_or(Refusal::Host(libc::EPROTO));
        }
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        ask(socket.as_fd(), question)
    }
}

impl Connector for Files {
    fn connect(&mut self, port: u32) -> io::Result<UnixStream> {
        let connected = self.ask(&Ask::Connect(port));
        connected.map(UnixStream::from).map_err(Refusal::into_io)
    }
}

/// Why a file was not given, as an error about its path.
fn explain(what: &'static str, path: &HostPath) -> impl FnOnce(Refusal) -> FileError {
    let path = path.clone();
    move |refusal| match (refusal, path.as_fd()) {
        (Refusal::IsDirectory, _) => FileError::Directory { what, path },
        (Refusal::NoFile, _) => FileError::NoFile { what, path },
        (Refusal::Slow, _) => FileError::Slow { what, path },
        (Refusal::NotNamed, _) => FileError::NotNamed { what, path },
        (Refusal::UnknownFd, Some(name)) => FileError::UnknownFd {
            what,
            name: name.to_owned(),
        },
        (refusal, _) => FileError::Open {
            what,
            path,
            source: refusal.into_io(),
        },
    }
}

/// A copy of a descriptor that somebody else opened and named by its number.
///
/// # Errors
/// If there is no such descriptor.
#[allow(unsafe_code)]
pub fn duplicate(number: RawFd) -> io::Result<File> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is borrowed for the call below only, which answers EBADF if nothing is open there; nothing
    // is read, written or closed through it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(borrowed.try_clone_to_owned()?.into())
}
