//! The behaviour of virtio-balloon.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::config::{self, BalloonConfig, PAGE_SIZE};
use super::hinting::{Hinting, HintingStatus};
use super::roles::{self, Role};
use super::state::{BalloonError, BalloonState};
use super::statistics::BalloonStatistics;
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::Span;
use crate::queue::total_len;
use crate::reclaim::{self, Ranges, Reclaimed};
use crate::worker::{Outcome, Worker};
use crate::{Chain, GuestMemory, QueueState};

const QUEUES: &[u16; roles::QUEUES] = &[256; roles::QUEUES];
/// The most pages in one request for inflation. Linux names 256 at once, other drivers up to 1024.
const MAX_PFNS: u64 = 16 << 10;
/// Bytes of a page's number.
const PFN: u64 = 4;
/// Bytes after whose return others have their turn.
const TURN: u64 = 64 << 20;

/// What a balloon did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BalloonCounters {
    /// Requests to inflate.
    pub inflates: u64,
    /// Requests to deflate.
    pub deflates: u64,
    /// Buffers of statistics.
    pub statistics_updates: u64,
    /// Reports of free pages.
    pub reports: u64,
    /// Hints at free pages, those outside of a run included.
    pub hints: u64,
    /// Bytes that went back to the host by inflation.
    pub inflated_bytes: u64,
    /// Bytes that went back by reports.
    pub reported_bytes: u64,
    /// Bytes that went back by hints.
    pub hinted_bytes: u64,
    /// Bytes that were named and stayed: outside of the guest's memory, or parts of huge pages.
    pub left_bytes: u64,
    /// Requests that could not be understood, and calls that the host's kernel refused.
    pub failures: u64,
}

/// A balloon.
#[derive(Debug)]
pub struct Balloon {
    config: BalloonConfig,
    actual_pages: u32,
    hinting: Hinting,
    statistics: BalloonStatistics,
    /// Whether the driver's buffer goes back, so that it fills it again.
    statistics_due: bool,
    timer: OwnedFd,
    worker: Worker,
    roles: [Option<Role>; roles::QUEUES],
    ranges: Ranges,
    counters: BalloonCounters,
}

impl Balloon {
    /// An empty balloon.
    ///
    /// # Errors
    /// [`BalloonError::Timer`] if the kernel has no more descriptors.
    pub fn new(config: BalloonConfig) -> Result<Self, BalloonError> {
        let state = BalloonState {
            config,
            actual_pages: 0,
            hinting: Hinting::default(),
        };
        Self::restore(&state)
    }

    /// A balloon as it was saved.
    ///
    /// # Errors
    /// [`BalloonError::Timer`] if the kernel has no more descriptors.
    pub fn restore(state: &BalloonState) -> Result<Self, BalloonError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|error| BalloonError::Timer(error.into()))?;
        let balloon = Self {
            config: state.config,
            actual_pages: state.actual_pages,
            hinting: state.hinting,
            statistics: BalloonStatistics::default(),
            statistics_due: false,
            timer,
            worker: Worker::default(),
            roles: [None; roles::QUEUES],
            ranges: Ranges::default(),
            counters: BalloonCounters::default(),
        };
        let interval = state.config.statistics_interval_s;
        balloon.set_timer(i64::from(interval), 0)?;
        Ok(balloon)
    }

    /// What the balloon is told to be now.
    #[must_use]
    pub fn config(&self) -> BalloonConfig {
        self.config
    }

    /// Pages of 4 KiB that the driver says it gave up.
    #[must_use]
    pub fn actual_pages(&self) -> u32 {
        self.actual_pages
    }

    /// What the balloon did.
    #[must_use]
    pub fn counters(&self) -> BalloonCounters {
        self.counters
    }

    /// Asks the guest to give up this many pages of 4 KiB in all. It takes its time.
    pub fn set_target(&mut self, pages: u32) {
        self.config.target_pages = pages;
        self.worker.config_changed();
    }

    /// The guest's last statistics.
    ///
    /// # Errors
    /// [`BalloonError::NoStatistics`] if it is not asked for them.
    pub fn statistics(&self) -> Result<BalloonStatistics, BalloonError> {
        if self.config.statistics_interval_s == 0 {
            return Err(BalloonError::NoStatistics);
        }
        Ok(self.statistics)
    }

    /// Changes how often the guest is asked for statistics, and asks it at once.
    ///
    /// # Errors
    /// [`BalloonError::StatisticsStateChange`] if there were none, or would be none.
    pub fn set_statistics_interval(&mut self, seconds: u16) -> Result<(), BalloonError> {
        let was = self.config.statistics_interval_s;
        if (was == 0) != (seconds == 0) {
            return Err(BalloonError::StatisticsStateChange {
                was,
                wanted: seconds,
            });
        }
        self.config.statistics_interval_s = seconds;
        self.set_timer(0, 1)
    }

    /// Asks the guest once for its free pages, which go back to the host as they come. With `acknowledge_on_stop` the guest may use
    /// them again as soon as it has named them all, otherwise after [`Balloon::stop_hinting`].
    ///
    /// A guest that runs out of memory takes hinted pages back without a word. One that does so in the moment in which
    /// the host takes them loses what it wrote there: do this when the guest has memory to spare.
    ///
    /// # Errors
    /// [`BalloonError::NoHinting`] if the driver was not offered it.
    pub fn start_hinting(&mut self, acknowledge_on_stop: bool) -> Result<(), BalloonError> {
        self.must_hint()?;
        self.hinting.start(acknowledge_on_stop);
        self.worker.config_changed();
        Ok(())
    }

    /// How far hinting is.
    ///
    /// # Errors
    /// [`BalloonError::NoHinting`] if the driver was not offered it.
    pub fn hinting_status(&self) -> Result<HintingStatus, BalloonError> {
        self.must_hint()?;
        Ok(self.hinting.status())
    }

    /// Ends hinting: what the guest names from now on stays, and it may use its pages again.
    ///
    /// # Errors
    /// [`BalloonError::NoHinting`] if the driver was not offered it.
    pub fn stop_hinting(&mut self) -> Result<(), BalloonError> {
        self.must_hint()?;
        self.hinting.stop();
        self.worker.config_changed();
        Ok(())
    }

    fn must_hint(&self) -> Result<(), BalloonError> {
        if self.config.free_page_hinting {
            Ok(())
        } else {
            Err(BalloonError::NoHinting)
        }
    }

    /// Sets the timer for the statistics, and for when it goes off first. Without statistics it is never set.
    fn set_timer(&self, tv_sec: i64, tv_nsec: i64) -> Result<(), BalloonError> {
        let seconds = self.config.statistics_interval_s;
        if seconds == 0 {
            return Ok(());
        }
        let times = Itimerspec {
            it_interval: Timespec {
                tv_sec: seconds.into(),
                tv_nsec: 0,
            },
            it_value: Timespec { tv_sec, tv_nsec },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times)
            .map_err(|error| BalloonError::Timer(error.into()))?;
        Ok(())
    }

    fn role(&self, queue: u16) -> Option<Role> {
        self.roles.get(usize::from(queue)).copied().flatten()
    }

    fn inflate(&mut self, queue: u16) -> Progress {
        let (ranges, counters) = (&mut self.ranges, &mut self.counters);
        self.worker.work(queue, |memory, chain| {
            counters.inflates += 1;
            if !collect_pages(ranges, memory, chain) {
                counters.failures += 1;
            }
            let result = reclaim::give_back(memory, ranges);
            counters.inflated_bytes += result.bytes;
            count(counters, result)
        })
    }

    fn deflate(&mut self, queue: u16) -> Progress {
        let counters = &mut self.counters;
        self.worker.work(queue, |_, _| {
            counters.deflates += 1;
            Outcome::Used(0)
        })
    }

    fn report(&mut self, queue: u16) -> Progress {
        let (ranges, counters) = (&mut self.ranges, &mut self.counters);
        self.worker.work(queue, |memory, chain| {
            counters.reports += 1;
            collect_buffers(ranges, chain);
            let result = reclaim::give_back(memory, ranges);
            counters.reported_bytes += result.bytes;
            count(counters, result)
        })
    }

    /// Takes the driver's buffer out of its queue only to give it back: in between it waits there, and so it survives
    /// a pause or a snapshot.
    fn take_statistics(&mut self, queue: u16) -> Progress {
        let (due, counters) = (&mut self.statistics_due, &mut self.counters);
        let statistics = &mut self.statistics;
        self.worker.work(queue, |memory, chain| {
            if std::mem::take(due) {
                return Outcome::Used(0);
            }
            match BalloonStatistics::read(Span::all(memory, chain.readable())) {
                Ok(new) => {
                    counters.statistics_updates += 1;
                    *statistics = new;
                    Outcome::Later
                }
                Err(error) => {
                    tracing::debug!(%error, "statistics can't be read");
                    counters.failures += 1;
                    Outcome::Used(0)
                }
            }
        })
    }

    fn take_hints(&mut self, queue: u16) -> Progress {
        let (ranges, counters) = (&mut self.ranges, &mut self.counters);
        let hinting = &mut self.hinting;
        let mut command_changed = false;
        let progress = self.worker.work(queue, |memory, chain| {
            match read_command(memory, chain) {
                Ok(Some(command)) => command_changed |= hinting.take_command(command),
                Ok(None) => {}
                Err(()) => counters.failures += 1,
            }
            if chain.writable().is_empty() {
                return Outcome::Used(0);
            }
            counters.hints += 1;
            if !hinting.is_running() {
                return Outcome::Used(0);
            }
            collect_buffers(ranges, chain);
            let result = reclaim::give_back(memory, ranges);
            counters.hinted_bytes += result.bytes;
            count(counters, result)
        });
        if command_changed {
            self.worker.config_changed();
        }
        progress
    }
}

fn count(counters: &mut BalloonCounters, result: Reclaimed) -> Outcome {
    counters.left_bytes = counters.left_bytes.saturating_add(result.left);
    counters.failures += result.failures;
    if result.bytes > TURN {
        Outcome::Enough(0)
    } else {
        Outcome::Used(0)
    }
}

/// The pages whose numbers are in a request; false if some were left out.
fn collect_pages(ranges: &mut Ranges, memory: &GuestMemory, chain: &Chain) -> bool {
    let pages = Span::all(memory, chain.readable());
    let count = total_len(chain.readable()) / PFN;
    let mut chunk = [0; 4096];
    let mut done = 0;
    while done < count.min(MAX_PFNS) {
        let rest = pages.part(done * PFN, (count.min(MAX_PFNS) - done) * PFN);
        let numbers = match rest.copy_out(&mut chunk) {
            Ok(bytes @ 4..) => chunk.get(..bytes).unwrap_or_default().chunks_exact(4),
            _ => return false,
        };
        for number in numbers {
            let number = <[u8; 4]>::try_from(number).map_or(0, u32::from_le_bytes);
            ranges.add(u64::from(number) * PAGE_SIZE, PAGE_SIZE);
            done += 1;
        }
    }
    count <= MAX_PFNS
}

/// The free pages that a request's writable buffers are.
fn collect_buffers(ranges: &mut Ranges, chain: &Chain) {
    for segment in chain.writable() {
        ranges.add(segment.addr.0, segment.len.into());
    }
}

/// The command in a request of the hinting queue, if there is one.
fn read_command(memory: &GuestMemory, chain: &Chain) -> Result<Option<u32>, ()> {
    if chain.readable().is_empty() {
        return Ok(None);
    }
    let mut command = [0; 4];
    match Span::all(memory, chain.readable()).copy_out(&mut command) {
        Ok(4) => Ok(Some(u32::from_le_bytes(command))),
        _ => Err(()),
    }
}

impl VirtioDevice for Balloon {
    fn device_type(&self) -> DeviceType {
        DeviceType::Balloon
    }

    fn queue_sizes(&self) -> &[u16] {
        QUEUES
    }

    fn features(&self) -> u64 {
        self.config.features()
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let command = self.hinting.status().host_cmd;
        let space = config::config_space(self.config.target_pages, self.actual_pages, command);
        crate::device::read_space(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let Some(actual) = config::written_actual(offset, data) {
            self.actual_pages = actual;
        }
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        let features = resources.features;
        let mut ready = [false; roles::QUEUES];
        for (place, queue) in ready.iter_mut().zip(&resources.queues) {
            *place = queue.is_ready();
        }
        self.worker.start(resources, QUEUES.len())?;
        self.roles = roles::roles(features, ready);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        match self.role(queue) {
            Some(Role::Inflate) => self.inflate(queue),
            Some(Role::Deflate) => self.deflate(queue),
            Some(Role::Statistics) => self.take_statistics(queue),
            Some(Role::Hinting) => self.take_hints(queue),
            Some(Role::Reporting) => self.report(queue),
            None => Progress::Done,
        }
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.timer.as_raw_fd())
    }

    fn poll(&mut self) -> Progress {
        // Only that it went off matters, not how often.
        if rustix::io::read(&self.timer, &mut [0; 8]).is_err() {
            return Progress::Done;
        }
        let queue = (0..).zip(self.roles);
        let queue = queue
            .into_iter()
            .find_map(|(index, role)| (role == Some(Role::Statistics)).then_some(index));
        match queue {
            Some(queue) => {
                self.statistics_due = true;
                let progress = self.take_statistics(queue);
                // With no buffer there the driver is still at it.
                self.statistics_due = false;
                progress
            }
            None => Progress::Done,
        }
    }

    fn reset(&mut self) {
        self.actual_pages = 0;
        self.statistics = BalloonStatistics::default();
        self.roles = [None; roles::QUEUES];
        self.hinting.reset();
    }

    fn save(&self) -> DeviceState {
        DeviceState::Balloon(BalloonState {
            config: self.config,
            actual_pages: self.actual_pages,
            hinting: self.hinting,
        })
    }
}
