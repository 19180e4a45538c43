//! The behaviour of virtio-balloon.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::config::{self, BalloonConfig};
use super::counters::BalloonCounters;
use super::hinting::{Hinting, HintingStatus};
use super::pages;
use super::roles::{self, Role};
use super::state::{BalloonError, BalloonState};
use super::statistics::BalloonStatistics;
use super::ticker::Ticker;
use crate::QueueState;
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::Span;
use crate::metrics::Metrics;
use crate::reclaim::{self, Ranges};
use crate::worker::{Outcome, Worker};

const QUEUES: &[u16; roles::QUEUES] = &[256; roles::QUEUES];

/// A balloon.
#[derive(Debug)]
pub struct Balloon {
    config: BalloonConfig,
    actual_pages: u32,
    hinting: Hinting,
    statistics: BalloonStatistics,
    /// Whether the driver's buffer goes back, so that it fills it again.
    statistics_due: bool,
    ticker: Ticker,
    worker: Worker,
    roles: [Option<Role>; roles::QUEUES],
    ranges: Ranges,
    counters: Arc<BalloonCounters>,
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
        let ticker =
            Ticker::new(state.config.statistics_interval_s).map_err(BalloonError::Timer)?;
        Ok(Self {
            config: state.config,
            actual_pages: state.actual_pages,
            hinting: state.hinting,
            statistics: BalloonStatistics::default(),
            statistics_due: false,
            ticker,
            worker: Worker::default(),
            roles: [None; roles::QUEUES],
            ranges: Ranges::default(),
            counters: Arc::default(),
        })
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
    pub fn counters(&self) -> Arc<BalloonCounters> {
        self.counters.clone()
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
        self.ticker.restart(seconds);
        Ok(())
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

    fn role(&self, queue: u16) -> Option<Role> {
        self.roles.get(usize::from(queue)).copied().flatten()
    }

    fn inflate(&mut self, queue: u16) -> Progress {
        let (ranges, counters) = (&mut self.ranges, &self.counters);
        self.worker.work(queue, |memory, chain| {
            counters.inflate_count.count();
            if !pages::numbered(ranges, memory, chain) {
                counters.event_fails.count();
            }
            let result = reclaim::give_back(memory, ranges);
            counters.inflate_freed_bytes.add(result.bytes);
            counters.reclaimed(result, &counters.event_fails)
        })
    }

    fn deflate(&mut self, queue: u16) -> Progress {
        let counters = &self.counters;
        self.worker.work(queue, |_, _| {
            counters.deflate_count.count();
            Outcome::Used(0)
        })
    }

    fn report(&mut self, queue: u16) -> Progress {
        let (ranges, counters) = (&mut self.ranges, &self.counters);
        self.worker.work(queue, |memory, chain| {
            counters.free_page_report_count.count();
            pages::free(ranges, chain);
            let result = reclaim::give_back(memory, ranges);
            counters.free_page_report_freed.add(result.bytes);
            counters.reclaimed(result, &counters.free_page_report_fails)
        })
    }

    /// Takes the driver's buffer out of its queue only to give it back: in between it waits there, and so it survives
    /// a pause or a snapshot.
    fn take_statistics(&mut self, queue: u16) -> Progress {
        let (due, counters) = (&mut self.statistics_due, &self.counters);
        let statistics = &mut self.statistics;
        self.worker.work(queue, |memory, chain| {
            if std::mem::take(due) {
                return Outcome::Used(0);
            }
            match BalloonStatistics::read(Span::all(memory, chain.readable())) {
                Ok(new) => {
                    counters.stats_updates_count.count();
                    *statistics = new;
                    Outcome::Later
                }
                Err(error) => {
                    tracing::debug!(%error, "statistics can't be read");
                    counters.stats_update_fails.count();
                    Outcome::Used(0)
                }
            }
        })
    }

    fn take_hints(&mut self, queue: u16) -> Progress {
        let (ranges, counters) = (&mut self.ranges, &self.counters);
        let hinting = &mut self.hinting;
        let mut command_changed = false;
        let progress = self.worker.work(queue, |memory, chain| {
            match pages::command(memory, chain) {
                Ok(Some(command)) => command_changed |= hinting.take_command(command),
                Ok(None) => {}
                Err(pages::NoCommand) => counters.free_page_hint_fails.count(),
            }
            if chain.writable().is_empty() {
                return Outcome::Used(0);
            }
            counters.free_page_hint_count.count();
            if !hinting.is_running() {
                return Outcome::Used(0);
            }
            pages::free(ranges, chain);
            let result = reclaim::give_back(memory, ranges);
            counters.free_page_hint_freed.add(result.bytes);
            counters.reclaimed(result, &counters.free_page_hint_fails)
        });
        if command_changed {
            self.worker.config_changed();
        }
        progress
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
        Some(self.ticker.fd())
    }

    fn poll(&mut self) -> Progress {
        if !self.ticker.take() {
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

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Balloon(BalloonState {
            config: self.config,
            actual_pages: self.actual_pages,
            hinting: self.hinting,
        })
    }
}
