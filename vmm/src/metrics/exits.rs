//! How often vCPUs came out of the guest, by kind, and how long they stayed out.

use std::time::Duration;

use hull_devices::metrics::{Counter, Durations, Field, Figure, Metrics};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A kind of exit from the guest to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The guest read an I/O port.
    IoIn,
    /// The guest wrote an I/O port.
    IoOut,
    /// The guest read where there is no memory.
    MmioRead,
    /// The guest wrote where there is no memory.
    MmioWrite,
    /// An instruction that KVM's emulator does not know was carried out here.
    Emulated,
    /// A signal interrupted the vCPU.
    Interrupted,
    /// Anything else.
    Other,
    /// Of all these: an access that no device answers.
    Unclaimed,
}

/// Each kind by its name, the name and help of its metric, and, where the time is taken, that one's name.
const KINDS: [Kind; 8] = [
    Kind {
        name: "io_in",
        metric: "exit_io_in",
        help: "Exits because the guest read an I/O port.",
        time: Some("exit_io_in_agg"),
    },
    Kind {
        name: "io_out",
        metric: "exit_io_out",
        help: "Exits because the guest wrote an I/O port.",
        time: Some("exit_io_out_agg"),
    },
    Kind {
        name: "mmio_read",
        metric: "exit_mmio_read",
        help: "Exits because the guest read where there is no memory.",
        time: Some("exit_mmio_read_agg"),
    },
    Kind {
        name: "mmio_write",
        metric: "exit_mmio_write",
        help: "Exits because the guest wrote where there is no memory.",
        time: Some("exit_mmio_write_agg"),
    },
    Kind {
        name: "emulated",
        metric: "exit_emulated",
        help: "Instructions that KVM's emulator does not know and the VMM carried out.",
        time: Some("exit_emulated_agg"),
    },
    Kind {
        name: "interrupted",
        metric: "exit_interrupted",
        help: "Exits because of a signal: for a pause, or the end.",
        time: None,
    },
    Kind {
        name: "other",
        metric: "failures",
        help: "Exits for any other reason, after which the machine ends.",
        time: None,
    },
    Kind {
        name: "unclaimed",
        metric: "unclaimed_accesses",
        help: "Accesses to ports and addresses that no device answers.",
        time: None,
    },
];

struct Kind {
    name: &'static str,
    metric: &'static str,
    help: &'static str,
    time: Option<&'static str>,
}

/// Counters that all vCPUs share: an exit costs microseconds, so an atomic add beside it is nothing.
#[derive(Debug, Default)]
pub struct Exits {
    counts: [Counter; KINDS.len()],
    times: [Durations; KINDS.len()],
    /// KVM did not take it that time passed without the guest.
    pub kvmclock_ctrl_fails: Counter,
}

impl Exits {
    /// Counts one exit.
    pub fn count(&self, exit: Exit) {
        if let Some(counter) = self.counts.get(exit as usize) {
            counter.count();
        }
    }

    /// Counts one exit, after which the vCPU was busy here for so long.
    pub fn took(&self, exit: Exit, time: Duration) {
        self.count(exit);
        if let Some(times) = self.times.get(exit as usize) {
            times.add(time);
        }
    }

    /// How many of a kind there were.
    #[must_use]
    pub fn of(&self, exit: Exit) -> u64 {
        self.counts.get(exit as usize).map_or(0, Counter::get)
    }
}

/// All of them since the start, by name.
impl Serialize for Exits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(KINDS.len()))?;
        for (kind, counter) in KINDS.iter().zip(&self.counts) {
            map.serialize_entry(kind.name, &counter.get())?;
        }
        map.end()
    }
}

impl Metrics for Exits {
    fn each(&self, tell: &mut dyn FnMut(Figure)) {
        for ((kind, counter), times) in KINDS.iter().zip(&self.counts).zip(&self.times) {
            tell(Figure {
                name: kind.metric,
                help: kind.help,
                value: counter.value(),
            });
            if let Some(name) = kind.time {
                tell(Figure {
                    name,
                    help: "How long vCPUs stayed out for these.",
                    value: times.value(),
                });
            }
        }
        tell(Figure {
            name: "kvmclock_ctrl_fails",
            help: "Pauses of which KVM could not tell the guest's clock.",
            value: self.kvmclock_ctrl_fails.value(),
        });
    }
}
