//! Requests that need the host's files: a thread of the device, or of snapshots, sees to them, and only they wait.
//!
//! The event loop keeps the request and goes on. Whoever is done tells it, and rings; who takes too long is answered that nothing was
//! changed, and that is made true. The keeper hands the next request on when this one is answered.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use hull_devices::MmioTransport;
use hull_devices::block::{Block, Disk};
use hull_vm_api::config::{Drive, DriveUpdate};
use hull_vm_api::request::{SnapshotCreate, VmBody};
use hull_vm_api::{Fault, Reply, Request, Stage};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::Host;
use super::devices::missing;
use super::live::{self, Live, Rope};
use crate::error::{StartError, with_sources};
use crate::keeper::message::Report;
use crate::running::Running;
use crate::snapshot::format::v1::MemoryLabel;
use crate::vcpus::Stuck;
use crate::virtio::{self, Name};

/// How long the host's files may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a device of a machine that is to stand still may take for its requests.
const SETTLING: Duration = Duration::from_secs(10);

/// The request that waits, and the snapshot that is written aside.
#[derive(Debug)]
pub(crate) struct Later {
    pub(super) waiting: Option<Waiting>,
    pub(super) live: Option<Live>,
    /// Since when the machine stands still for a snapshot.
    pub(super) halted: Option<Instant>,
    told: Receiver<Told>,
    /// What was told and not yet looked at.
    heard: VecDeque<Told>,
    tell: Sender<Told>,
    bell: Arc<EventFd>,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) request: Request,
    pub(super) what: What,
}

/// What it waits for.
#[derive(Debug)]
pub(super) enum What {
    /// A device's file, until then.
    File {
        device: Name,
        until: Instant,
        claim: Claim,
    },
    /// Requests of devices that are in flight.
    Settling,
    /// A snapshot, which takes as long as its disk does.
    Snapshot(Instant),
    /// A snapshot of a machine that runs, until that has been copied.
    Live { began: Instant, claim: Claim },
}

/// What is told of a request.
#[derive(Debug)]
pub(super) enum News {
    /// The machine is to stand still.
    Halt(Sender<Result<(), Stuck>>),
    /// It can go on; whether it was copied, so that the rest is done without it.
    GoOn { is_copied: bool },
    /// What became of it: of a snapshot, its label.
    Done(Result<Option<MemoryLabel>, Fault>),
}

type Told = (u64, News);

/// Taken once: by who makes the change, or by who gives it up. That of a device's file is taken with the device's lock held.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether it was free.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// Tells the event loop what became of something.
pub(super) struct Teller {
    number: u64,
    tell: Sender<Told>,
    bell: Arc<EventFd>,
}

impl Teller {
    pub(super) fn tell(&self, news: News) {
        // It fails only when the machine has ended.
        let _ = self.tell.send((self.number, news));
        let _ = self.bell.write(1);
    }
}

impl Later {
    /// Nothing waits.
    ///
    /// # Errors
    /// If the host has no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let (tell, told) = mpsc::channel();
        Ok(Self {
            waiting: None,
            live: None,
            halted: None,
            told,
            heard: VecDeque::new(),
            tell,
            bell: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?),
            next: 0,
        })
    }

    /// Readable when something is done.
    pub(crate) fn bell(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// How long until it has waited for too long.
    pub(crate) fn due(&self) -> Option<Duration> {
        match self.waiting.as_ref()?.what {
            What::File { until, .. } => Some(until.saturating_duration_since(Instant::now())),
            What::Settling | What::Snapshot(_) | What::Live { .. } => None,
        }
    }

    /// The answers to requests that wait when there is no machine any more that could do it.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = Report> {
        let waiting = self.waiting.take().map(|waiting| {
            let message = match waiting.what {
                What::File { .. } => {
                    "the guest ended, or began again, before the host's file answered"
                }
                What::Settling => "the microVM ended before its devices' requests were done",
                What::Snapshot(_) => live::OVER,
                What::Live { claim, .. } => {
                    claim.take();
                    live::OVER
                }
            };
            Report::answer(Err(Fault::internal(message)))
        });
        let live = self.live.take().map(|live| {
            let number = live.number;
            live.give_up(|| self.hear_within(number, PATIENCE))
        });
        waiting.into_iter().chain(live)
    }

    /// The next that was told of a request.
    fn hear(&mut self, number: u64) -> Option<News> {
        self.heard.extend(self.told.try_iter());
        let at = self.heard.iter().position(|(of, _)| *of == number)?;
        self.heard.remove(at).map(|(_, news)| news)
    }

    /// The same, if it is told within that time.
    fn hear_within(&mut self, number: u64, patience: Duration) -> Option<News> {
        let until = Instant::now() + patience;
        loop {
            if let Some(news) = self.hear(number) {
                return Some(news);
            }
            let left = until.saturating_duration_since(Instant::now());
            let told = self.told.recv_timeout(left).ok()?;
            self.heard.push_back(told);
        }
    }

    fn teller(&mut self) -> Teller {
        self.next += 1;
        Teller {
            number: self.next,
            tell: self.tell.clone(),
            bell: self.bell.clone(),
        }
    }
}

impl Running {
    /// Answers a request, or sees to it that it is answered later.
    pub(crate) fn take_request(
        &mut self,
        request: Request,
        host: &mut Host,
    ) -> Option<Result<Reply, Fault>> {
        let began = Instant::now();
        let begun = match &request {
            Request::PatchDrive(update) if update.path_on_host.is_some() => {
                let claim = Claim::default();
                let begun = self.begin_change_of_file(&request, update, &claim, host);
                let device = Name::Drive(update.drive_id.clone());
                let until = Instant::now() + PATIENCE;
                begun.map(|number| {
                    let what = What::File {
                        device,
                        until,
                        claim,
                    };
                    (number, what)
                })
            }
            Request::PatchVm(VmBody { settle: true, .. }) => {
                let begun = self.begin_to_settle(&request, host);
                begun.map(|number| (number, What::Settling))
            }
            Request::CreateSnapshot(create) => {
                let claim = Claim::default();
                let begun = self.begin_snapshot(&request, create, &claim, host);
                begun.map(|(number, is_live)| {
                    let what = match is_live {
                        true => What::Live { began, claim },
                        false => What::Snapshot(began),
                    };
                    (number, what)
                })
            }
            _ => return Some(self.answer(&request, host)),
        };
        match begun {
            Ok((number, what)) => {
                self.later.waiting = Some(Waiting {
                    number,
                    request,
                    what,
                });
                None
            }
            Err(fault) => Some(Err(fault)),
        }
    }

    /// Lets the machine stand still, and has a thread wait until its devices do as well.
    fn begin_to_settle(&mut self, request: &Request, host: &mut Host) -> Result<u64, Fault> {
        self.answer(request, host)?;
        let devices = self.virtio.to_be_saved();
        let teller = self.later.teller();
        let number = teller.number;
        self.errands.send(move || {
            let mut devices = devices.iter();
            let busy = devices.find(|device| device.save(SETTLING).is_none());
            let told = match busy {
                None => Ok(None),
                Some(device) => Err(Fault::internal(format!(
                    "Pause error: the microVM stands still, but {} has requests in flight that its host does not answer; try again",
                    device.name
                ))),
            };
            teller.tell(News::Done(told));
        });
        Ok(number)
    }

    /// Has its thread take a snapshot; whether a copy of the process writes it.
    fn begin_snapshot(
        &mut self,
        request: &Request,
        create: &SnapshotCreate,
        claim: &Claim,
        host: &Host,
    ) -> Result<(u64, bool), Fault> {
        self.stage.check(request)?;
        if self.later.live.is_some() {
            return Err(not_created(
                "the one before it is still being written; wait for its answer",
            ));
        }
        if self.stage == Stage::Paused {
            // What is read for the snapshot is not what the guest touches.
            self.end_recording(PATIENCE);
        }
        let subject = self.subject(host);
        let subject = subject.map_err(|error| not_created(&with_sources(&error)))?;
        let teller = self.later.teller();
        let number = teller.number;
        let (create, claim) = (create.clone(), claim.clone());
        // One that is paused, and of which there can be no copy, goes on later.
        let is_live = match self.stage {
            Stage::Running => true,
            _ => create.resume_vm && subject.can_be_copied().is_ok(),
        };
        self.errands.send(move || {
            let rope = Rope { teller, claim };
            let label = match is_live {
                true => subject.save_live(&create, &rope),
                false => subject.save(&create),
            };
            let told = label.map_err(|error| not_created(&with_sources(&error)));
            rope.teller.tell(News::Done(told.map(Some)));
        });
        Ok((number, is_live))
    }

    /// Has a thread of a disk put another file behind it.
    fn begin_change_of_file(
        &mut self,
        request: &Request,
        update: &DriveUpdate,
        claim: &Claim,
        host: &Host,
    ) -> Result<u64, Fault> {
        self.stage.check(request)?;
        let id = &update.drive_id;
        let config = self.config.changed_by(request)?;
        let drive = config.drives.iter().find(|drive| drive.drive_id == *id);
        let drive = drive.cloned().ok_or_else(|| missing("drive"))?;
        let refused = |error: StartError| Fault::bad_request(with_sources(&error));
        let files = virtio::contents(&drive, &host.files).map_err(refused)?;
        let is_same = |now: &Drive| now.drive_id == *id && now.path_on_host == drive.path_on_host;
        let is_same = self.config.drives.iter().any(is_same);
        let teller = self.later.teller();
        let (number, claim) = (teller.number, claim.clone());
        let errand = move |transport: &MmioTransport| {
            let disk = match virtio::assemble(&drive, files) {
                // It is this very disk that uses it. It may have another size.
                Err(StartError::DiskInUse { .. }) if is_same => measured_again(transport),
                result => result.map_err(refused),
            };
            match disk {
                Ok(disk) => replace(transport, disk, &claim, teller),
                Err(fault) => teller.tell(News::Done(Err(fault))),
            }
        };
        let name = Name::Drive(id.clone());
        match self.virtio.send(&name, errand) {
            true => Ok(number),
            false => Err(missing("drive")),
        }
    }

    /// What there is to report of requests that waited: the answer of one that is done or has waited for too long. Called until there is
    /// nothing.
    pub(crate) fn end_waiting(&mut self) -> Option<Report> {
        // It fails if nobody rang.
        let _ = self.later.bell.read();
        if self.later.waiting.is_none() && self.later.live.is_none() {
            // Of requests that were given up.
            self.later.heard.clear();
        }
        if let Some(live) = &self.later.live {
            let number = live.number;
            if let Some(News::Done(result)) = self.later.hear(number) {
                return self.end_live(result);
            }
        }
        let number = self.later.waiting.as_ref()?.number;
        while let Some(news) = self.later.hear(number) {
            match news {
                News::Halt(answer) => self.halt(&answer),
                News::GoOn { is_copied } => {
                    if let Some(report) = self.end_halt(is_copied) {
                        return Some(report);
                    }
                }
                News::Done(result) => return Some(Report::answer(self.end(result))),
            }
        }
        let waiting = self.later.waiting.as_ref()?;
        let (device, claim) = match &waiting.what {
            What::File {
                device,
                until,
                claim,
            } if *until <= Instant::now() => (device.clone(), claim.clone()),
            _ => return None,
        };
        let gave_up = self
            .virtio
            .with(&device, |block: &mut Block| claim.take() || block.keep());
        // Where it could not be given up, it was just done.
        let result = match self.later.hear(number) {
            Some(News::Done(result)) if gave_up == Some(false) => result,
            _ => Err(Fault::internal(format!(
                "{device}: the host's file did not answer within {} ms; nothing was changed, try again",
                PATIENCE.as_millis()
            ))),
        };
        Some(Report::answer(self.end(result)))
    }

    fn end(&mut self, result: Result<Option<MemoryLabel>, Fault>) -> Result<Reply, Fault> {
        let waiting = self.later.waiting.take();
        let label = result?;
        match waiting {
            Some(Waiting {
                request,
                what: What::Snapshot(began),
                ..
            }) => {
                self.last_snapshot = label;
                self.note_snapshot(&request, began);
                if matches!(&request, Request::CreateSnapshot(create) if create.resume_vm) {
                    self.resume();
                }
            }
            Some(Waiting {
                what: What::Settling,
                ..
            }) => {}
            Some(Waiting { request, .. }) => self.note_change(&request)?,
            None => {}
        }
        Ok(Reply::Done)
    }

    /// The file was changed: the configuration says so, and what else was asked follows.
    fn note_change(&mut self, request: &Request) -> Result<(), Fault> {
        let config = self.config.changed_by(request)?;
        self.change_device(request, &config)?;
        self.config = config;
        Ok(())
    }
}

/// The same files, with the sizes that they have by now.
fn measured_again(transport: &MmioTransport) -> Result<Disk, Fault> {
    let disk = transport.with_device(|block: &mut Block| block.disk());
    let disk = disk.ok_or_else(|| missing("drive"))?;
    let measured = disk.measured_again();
    measured.map_err(|error| Fault::bad_request(with_sources(&error)))
}

/// A snapshot that there is not, as an answer.
fn not_created(sentence: &str) -> Fault {
    Fault::bad_request(format!("Create snapshot error: {sentence}"))
}

fn replace(transport: &MmioTransport, disk: Disk, claim: &Claim, teller: Teller) {
    let old = transport.with_device(|block: &mut Block| {
        if !claim.take() {
            return None;
        }
        let told = move |result: Result<(), _>| {
            let result = result.map(|()| None);
            let result = result.map_err(|error| Fault::bad_request(with_sources(&error)));
            teller.tell(News::Done(result));
        };
        block.replace(disk, Box::new(told))
    });
    // Without the lock, for the last to close it may have to wait.
    drop(old);
}
