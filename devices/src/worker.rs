//! What devices have in common between start and stop: their resources, and the loop over a queue.

use crate::device::{Progress, Resources, StartError};
use crate::{Chain, GuestMemory, Notifier, QueueError, QueueState, Virtqueue};

/// Requests that one queue gets done before others have their turn.
const BUDGET: usize = 64;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done, and this many bytes were written for the driver.
    Used(u32),
    /// The same, but it took long: others should have their turn before the next.
    Enough(u32),
    /// It is half-done, and others should have their turn before the rest.
    Again,
    /// It can't be done now: it stays in the queue, and so do those behind it.
    Later,
    /// It can't be done now, but those behind it can: the device keeps its chain and gives it back some day, by
    /// [`Running::give_back`].
    Kept,
    /// It is part of a [`crate::Job`], and so may those behind it be: the device keeps its chain, and looks at the queue again
    /// when the job is done, so that the driver need not say that there is more.
    Gathered,
    /// The same, and the job is full.
    Full,
    /// It is a job by itself, and those behind it are for other threads.
    Apart,
}

/// The resources of a device, while it has them, and a chain to reuse.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    resources: Option<Resources>,
    chain: Chain,
    /// The configuration space changed while there was nobody to tell.
    config_changed: bool,
}

/// A running device's resources, taken apart so that they can be used at the same time.
pub(crate) struct Running<'a> {
    pub(crate) memory: &'a GuestMemory,
    pub(crate) queues: &'a mut [Virtqueue],
    pub(crate) notifier: &'a Notifier,
    pub(crate) chain: &'a mut Chain,
}

impl Worker {
    pub(crate) fn start(&mut self, resources: Resources, wanted: usize) -> Result<(), StartError> {
        let given = resources.queues.len();
        if given != wanted {
            return Err(StartError::Queues { given, wanted });
        }
        if std::mem::take(&mut self.config_changed) {
            resources.notifier.config_changed();
        }
        self.resources = Some(resources);
        Ok(())
    }

    pub(crate) fn stop(&mut self) -> Vec<QueueState> {
        let resources = self.resources.take();
        resources.map_or_else(Vec::new, |resources| {
            resources.queues.iter().map(Virtqueue::state).collect()
        })
    }

    /// Tells the driver that the configuration space changed, now or when the device is started.
    pub(crate) fn config_changed(&mut self) {
        match &self.resources {
            Some(resources) => resources.notifier.config_changed(),
            None => self.config_changed = true,
        }
    }

    /// Whether the device is stopped, so that nothing can be given back to its driver for now.
    pub(crate) fn is_stopped(&self) -> bool {
        self.resources.is_none()
    }

    /// The resources; none if the device is stopped or lost.
    pub(crate) fn running(&mut self) -> Option<Running<'_>> {
        let resources = self.resources.as_mut()?;
        if resources.notifier.is_lost() {
            return None;
        }
        Some(Running {
            memory: &resources.memory,
            queues: &mut resources.queues,
            notifier: &resources.notifier,
            chain: &mut self.chain,
        })
    }

    /// Does what is in a queue, request by request, and interrupts at most once. A broken queue ends the device's work
    /// until its reset.
    pub(crate) fn work(
        &mut self,
        index: u16,
        serve: impl FnMut(&GuestMemory, &Chain) -> Outcome,
    ) -> Progress {
        let Some(mut running) = self.running() else {
            return Progress::Done;
        };
        running.work(index, serve)
    }
}

impl Running<'_> {
    /// See [`Worker::work`].
    pub(crate) fn work(
        &mut self,
        index: u16,
        serve: impl FnMut(&GuestMemory, &Chain) -> Outcome,
    ) -> Progress {
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return Progress::Done;
        };
        let done = drain(queue, self.memory, self.chain, serve);
        let progress = done.and_then(|(progress, used)| {
            if used && queue.wants_interrupt(self.memory)? {
                self.notifier.queue(index);
            }
            Ok(progress)
        });
        progress.unwrap_or_else(|error| self.give_up(index, &error))
    }

    /// Gives a request that was kept back to the driver, and interrupts it.
    pub(crate) fn give_back(&mut self, index: u16, chain: &Chain, written: u32) {
        self.give_back_quietly(index, chain, written);
        self.interrupt(index);
    }

    /// The same without the interrupt, which [`Running::interrupt`] brings for several at once.
    pub(crate) fn give_back_quietly(&mut self, index: u16, chain: &Chain, written: u32) {
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return;
        };
        if let Err(error) = queue.push(self.memory, chain, written) {
            let _ = self.give_up(index, &error);
        }
    }

    /// Interrupts for what was given back, if the driver wants to know.
    pub(crate) fn interrupt(&mut self, index: u16) {
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return;
        };
        match queue.wants_interrupt(self.memory) {
            Ok(true) => self.notifier.queue(index),
            Ok(false) => {}
            Err(error) => {
                let _ = self.give_up(index, &error);
            }
        }
    }

    /// The driver broke the rules: nothing more is done for it until it resets the device.
    pub(crate) fn give_up(&self, index: u16, error: &QueueError) -> Progress {
        if self.notifier.may_complain() {
            tracing::warn!(queue = index, %error, "a driver broke a queue; the device needs a reset");
        }
        self.notifier.needs_reset();
        Progress::Done
    }
}

/// Serves up to [`BUDGET`] requests; whether something was given back, and whether more is there.
fn drain(
    queue: &mut Virtqueue,
    memory: &GuestMemory,
    chain: &mut Chain,
    mut serve: impl FnMut(&GuestMemory, &Chain) -> Outcome,
) -> Result<(Progress, bool), QueueError> {
    let mut used = false;
    let mut gathered = false;
    queue.silence(memory)?;
    for _ in 0..BUDGET {
        if !queue.pop(memory, chain)? {
            if gathered {
                return Ok((Progress::Done, used));
            }
            // What came while notifications were off must not wait for the next kick.
            if !queue.listen(memory)? {
                return Ok((Progress::Done, used));
            }
            continue;
        }
        match serve(memory, chain) {
            Outcome::Used(written) => {
                queue.push(memory, chain, written)?;
                used = true;
            }
            Outcome::Enough(written) => {
                queue.push(memory, chain, written)?;
                return Ok((Progress::More, true));
            }
            Outcome::Again => {
                queue.unpop();
                return Ok((Progress::More, used));
            }
            Outcome::Later => {
                queue.unpop();
                return Ok((Progress::Done, used));
            }
            Outcome::Kept => {}
            Outcome::Gathered => gathered = true,
            Outcome::Apart => {
                let progress = if queue.listen(memory)? {
                    Progress::More
                } else {
                    Progress::Done
                };
                return Ok((progress, used));
            }
            Outcome::Full => return Ok((Progress::Done, used)),
        }
    }
    if gathered {
        return Ok((Progress::More, used));
    }
    // Hardly ever is there more than that, and another turn for nothing costs two system calls.
    let more = queue.listen(memory)?;
    Ok((if more { Progress::More } else { Progress::Done }, used))
}

/// A count of bytes as the used ring has it.
pub(crate) fn written(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
