//! A snapshot of a machine that runs, from the event loop's side: the thread of snapshots says when it is to stand still and when it can go on
//! ([`crate::snapshot::live`]). From then on the request waits aside, and others are answered.

use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use hull_vm_api::{Fault, Reply, Request, Stage};

use super::after::us;
use super::later::{Claim, News, Teller, What};
use crate::keeper::message::Report;
use crate::running::Running;
use crate::snapshot::format::v1::MemoryLabel;
use crate::snapshot::live::{LiveError, Reins};
use crate::vcpus::Stuck;

/// The answer where the machine did not live long enough.
pub(super) const OVER: &str = "Create snapshot error: the microVM ended before it was written";

/// A snapshot that is written while the machine runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) number: u64,
    request: Request,
    began: Instant,
    /// Taken by who puts it in its place, or by who gives it up.
    claim: Claim,
}

/// The thread's way to the event loop.
pub(super) struct Rope {
    pub(super) teller: Teller,
    pub(super) claim: Claim,
}

impl Reins for Rope {
    fn halt(&self) -> Result<(), LiveError> {
        let (answer, halted) = mpsc::channel();
        self.teller.tell(News::Halt(answer));
        // Nobody answers when there is no machine any more.
        let halted = halted.recv().map_err(|_| LiveError::Over)?;
        Ok(halted?)
    }

    fn go_on(&self, is_copied: bool) {
        self.teller.tell(News::GoOn { is_copied });
    }

    fn claim(&self) -> bool {
        self.claim.take()
    }
}

impl Live {
    /// What became of it, where there is no machine any more: what is about to be put in its place is there.
    pub(super) fn give_up(self, told: impl FnOnce() -> Option<News>) -> Report {
        let over = || Err(Fault::internal(OVER));
        let answer = match self.claim.take() {
            true => over(),
            false => match told() {
                Some(News::Done(result)) => result.map(|_| Reply::Done),
                _ => over(),
            },
        };
        Report::late(answer)
    }
}

impl Running {
    /// Stops a machine that is to go on soon, if it is not paused already. It is in its stage all the time.
    pub(super) fn halt(&mut self, answer: &Sender<Result<(), Stuck>>) {
        let began = Instant::now();
        let halted = self.vcpus.pause();
        if halted.is_ok() {
            self.virtio.pause();
            self.later.halted = Some(began);
        }
        // Without anybody who waits for it there will be nobody who has it go on.
        if answer.send(halted).is_err() {
            self.go_on();
        }
    }

    /// Starts it again, unless it was paused.
    fn go_on(&mut self) {
        if let (Stage::Running, Some(halted)) = (self.stage, self.later.halted.take()) {
            self.virtio.resume();
            self.vcpus.resume();
            let stood_still = us(halted);
            self.latencies.live_snapshot_pause.set(stood_still);
            tracing::info!("stood still for {stood_still} us for a snapshot");
        }
    }

    /// The machine can go on. If the rest is done without it, the request that waits is put aside.
    pub(super) fn end_halt(&mut self, is_copied: bool) -> Option<Report> {
        self.go_on();
        if !is_copied {
            return None;
        }
        // One that was paused goes on as well.
        self.resume();
        let waiting = self.later.waiting.take()?;
        let What::Live { began, claim } = waiting.what else {
            self.later.waiting = Some(waiting);
            return None;
        };
        self.later.live = Some(Live {
            number: waiting.number,
            request: waiting.request,
            began,
            claim,
        });
        Some(Report::Aside)
    }

    /// What became of a snapshot that was written while the machine ran.
    pub(super) fn end_live(
        &mut self,
        result: Result<Option<MemoryLabel>, Fault>,
    ) -> Option<Report> {
        let live = self.later.live.take()?;
        let answer = result.map(|label| {
            self.last_snapshot = label;
            self.note_snapshot(&live.request, live.began);
            Reply::Done
        });
        Some(Report::late(answer))
    }
}
