//! Opening what was named: files by path, descriptors that were handed over, devices.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use hull_vm_api::config::HostPath;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::staged::{self, Staged};
use crate::files::{Access, FileError, duplicate};

/// How long a file may take to be opened while a machine is started, and when it runs: then requests wait for it.
pub(crate) const PATIENCE_AT_START: Duration = Duration::from_secs(20);
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take until a file's name is on its disk.
const PATIENCE_TO_PUBLISH: Duration = Duration::from_secs(60);
/// Opening takes little.
const STACK: usize = 128 << 10;

/// The descriptors that were handed over, by name, and the rights of the process to open.
///
/// A path can lead to a file system that does not answer, and nothing can be done about an open(2) that waits for it. So a thread does
/// it in the end ([`Opener::step_aside`]), which is waited for only so long.
#[derive(Debug, Default)]
pub struct Opener {
    fds: Arc<Fds>,
    aside: Option<Aside>,
}

/// The descriptors that were handed over, by name.
#[derive(Debug, Default)]
struct Fds(BTreeMap<String, File>);

/// Something to be opened.
#[derive(Debug, Clone)]
struct Wanted {
    what: &'static str,
    path: HostPath,
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    File(Access),
    /// With flags of its own.
    Again(Access),
    Directory,
    /// A new file, which is put there.
    Create(Arc<OnceLock<Staged>>),
    /// It gets its name.
    Publish(Vec<Staged>),
}

type Opened = Result<OwnedFd, FileError>;

impl Opener {
    /// Takes what was handed over. The numbers themselves stay open; copies of them are used, which no child inherits.
    ///
    /// # Errors
    /// The first number that is not open, or name that is there twice.
    pub fn new(numbers: &[(String, RawFd)]) -> Result<Self, FileError> {
        let mut fds = BTreeMap::new();
        for (name, number) in numbers {
            let Ok(file) = duplicate(*number) else {
                return Err(FileError::ClosedFd {
                    name: name.clone(),
                    number: *number,
                });
            };
            if fds.insert(name.clone(), file).is_some() {
                return Err(FileError::TwoFds(name.clone()));
            }
        }
        Ok(Self {
            fds: Arc::new(Fds(fds)),
            aside: None,
        })
    }

    /// From now on a thread opens, which does `first` before anything else.
    ///
    /// # Errors
    /// If the host has no thread for it.
    pub(crate) fn step_aside(&mut self, first: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.aside = Some(Aside::start(self.fds.clone(), first)?);
        Ok(())
    }

    /// How long a file may take from now on.
    pub(crate) fn be_patient(&mut self, patience: Duration) {
        if let Some(aside) = &mut self.aside {
            aside.patience = patience;
        }
    }

    /// Opens a path, or takes the descriptor that it names.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(
        &self,
        what: &'static str,
        path: &HostPath,
        access: Access,
    ) -> Result<File, FileError> {
        self.get(what, path, How::File(access)).map(File::from)
    }

    /// Opens a path; if it names a descriptor, what that is open on, once more.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn again(
        &self,
        what: &'static str,
        path: &HostPath,
        access: Access,
    ) -> Result<File, FileError> {
        self.get(what, path, How::Again(access)).map(File::from)
    }

    /// Opens a directory to look things up in it, or takes the descriptor that it names.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn directory(&self, what: &'static str, path: &HostPath) -> Opened {
        self.get(what, path, How::Directory)
    }

    /// Makes a file that is to be at a path when it is published. The descriptor that a path names is taken as it is.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn create(
        &self,
        what: &'static str,
        path: &HostPath,
    ) -> Result<(OwnedFd, Option<Staged>), FileError> {
        if path.as_fd().is_some() {
            let file = self.get(what, path, How::Again(Access::ReadWrite))?;
            return Ok((file, None));
        }
        let made = Arc::new(OnceLock::new());
        let file = self.get(what, path, How::Create(made.clone()))?;
        Ok((file, made.get().cloned()))
    }

    /// Publishes files that belong together, in this order.
    ///
    /// # Errors
    /// Why they are not there.
    pub(crate) fn publish(&self, what: &'static str, staged: Vec<Staged>) -> Result<(), FileError> {
        let path = staged.last().map(|last| HostPath::try_from(last.target()));
        let Some(path) = path else {
            return Ok(());
        };
        let path = path.unwrap_or_else(|_| "a snapshot's file".into());
        self.get(what, &path, How::Publish(staged)).map(drop)
    }

    fn get(&self, what: &'static str, path: &HostPath, how: How) -> Opened {
        let path = path.clone();
        let wanted = Wanted { what, path, how };
        let aside = self.aside.as_ref();
        match aside.filter(|_| wanted.may_wait()) {
            Some(aside) => aside.open(wanted),
            None => self.fds.open(&wanted),
        }
    }
}

impl Fds {
    fn open(&self, wanted: &Wanted) -> Opened {
        match (&wanted.how, wanted.path.as_fd()) {
            (How::File(access) | How::Again(access), None) => {
                wanted.file(wanted.path.as_path(), *access)
            }
            (How::Directory, None) => wanted.directory(),
            (How::Publish(staged), _) => staged::publish(staged).map_err(wanted.fail()),
            (How::Create(made), _) => wanted.create(made),
            (How::File(_) | How::Directory, Some(name)) => {
                let copy = self.named(name, wanted)?.try_clone();
                copy.map(OwnedFd::from).map_err(wanted.fail())
            }
            (How::Again(access), Some(name)) => {
                let number = self.named(name, wanted)?.as_raw_fd();
                wanted.file(Path::new(&format!("/proc/self/fd/{number}")), *access)
            }
        }
    }

    fn named(&self, name: &str, wanted: &Wanted) -> Result<&File, FileError> {
        self.0.get(name).ok_or_else(|| FileError::UnknownFd {
            what: wanted.what,
            name: name.to_owned(),
        })
    }
}

impl Wanted {
    /// Whether the host can keep one waiting; a copy of a descriptor it has at hand.
    fn may_wait(&self) -> bool {
        !matches!(self.how, How::File(_) | How::Directory) || self.path.as_fd().is_none()
    }

    fn fail(&self) -> impl FnOnce(io::Error) -> FileError {
        let (what, path) = (self.what, self.path.clone());
        move |source| FileError::Open { what, path, source }
    }

    /// Opens a file of this path, which waits for nobody's other end.
    fn file(&self, path: &Path, access: Access) -> Opened {
        let mut options = OpenOptions::new();
        match access {
            Access::Read | Access::Input => options.read(true),
            Access::ReadWrite => options.read(true).write(true),
            Access::Append => options.append(true).create(true),
        };
        options.custom_flags(libc::O_NONBLOCK).mode(0o644);
        let file = match options.open(path) {
            // A pipe that nobody reads yet can be opened for both ways.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                options.read(true).open(path)
            }
            result => result,
        };
        let file = file.map_err(self.fail())?;
        let kind = file.metadata().map_err(self.fail())?.file_type();
        let (what, path) = (self.what, self.path.clone());
        if kind.is_dir() {
            return Err(FileError::Directory { what, path });
        }
        let must_be_file = matches!(access, Access::Read | Access::ReadWrite);
        if must_be_file && !kind.is_file() && !kind.is_block_device() {
            return Err(FileError::NoFile { what, path });
        }
        Ok(file.into())
    }

    /// Makes a new file, unless something is there whose place a file must not take.
    fn create(&self, made: &OnceLock<Staged>) -> Opened {
        if let Ok(there) = fs::metadata(self.path.as_path()) {
            let (what, path) = (self.what, self.path.clone());
            if there.is_dir() {
                return Err(FileError::Directory { what, path });
            }
            if !there.is_file() {
                return Err(FileError::NoFile { what, path });
            }
        }
        let (file, staged) = Staged::make(self.path.as_path()).map_err(self.fail())?;
        let _ = made.set(staged);
        Ok(file)
    }

    fn directory(&self) -> Opened {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, self.path.as_path(), flags, Mode::empty());
        opened.map_err(|error| self.fail()(error.into()))
    }
}

/// The thread that opens.
#[derive(Debug)]
struct Aside {
    asks: Sender<(u64, Wanted)>,
    answers: Receiver<(u64, Opened)>,
    patience: Duration,
    /// The number of the last question.
    asked: Cell<u64>,
    /// It was given up, and the thread is still at it.
    is_stuck: Cell<bool>,
}

impl Aside {
    fn start(fds: Arc<Fds>, first: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (asks, asked) = mpsc::channel::<(u64, Wanted)>();
        let (tell, answers) = mpsc::channel();
        let open = move || {
            first();
            for (number, wanted) in asked {
                if tell.send((number, fds.open(&wanted))).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("opener".to_owned());
        // Nobody waits for its end: it may never come.
        drop(thread.stack_size(STACK).spawn(open)?);
        Ok(Self {
            asks,
            answers,
            patience: PATIENCE_AT_START,
            asked: Cell::new(0),
            is_stuck: Cell::new(false),
        })
    }

    fn open(&self, wanted: Wanted) -> Opened {
        let slow = FileError::Slow {
            what: wanted.what,
            path: wanted.path.clone(),
        };
        // What was given up comes late, and is closed. There is never more than one such question.
        if self.is_stuck.get() && self.answers.try_recv().is_err() {
            return Err(slow);
        }
        self.is_stuck.set(false);
        let number = self.asked.get() + 1;
        self.asked.set(number);
        // Names go to the disk with all else that is on its way there; who gave up before would not know whether they are.
        let patience = match wanted.how {
            How::Publish(_) => self.patience.max(PATIENCE_TO_PUBLISH),
            _ => self.patience,
        };
        let sent = self.asks.send((number, wanted));
        match self.answers.recv_timeout(patience) {
            Ok((of, opened)) if of == number && sent.is_ok() => opened,
            _ => {
                self.is_stuck.set(true);
                Err(slow)
            }
        }
    }
}

/// Opens KVM.
///
/// # Errors
/// The host's answer.
pub(crate) fn kvm() -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/kvm")?;
    Ok(file.into())
}

/// Opens what the kernel has for faults that another process sees to.
///
/// # Errors
/// The host's answer.
pub(crate) fn faults() -> io::Result<OwnedFd> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/userfaultfd")?;
    Ok(file.into())
}
