//! What the VMM counts besides its vCPUs and devices.

use hull_devices::counters;
use hull_devices::metrics::{Counter, Level};

counters! {
    /// How long it took until the API was there.
    pub(crate) struct StartupCounters {
        /// From the start of the process until its API was served, in microseconds.
        pub(crate) process_startup_time_us: Level,
        /// Time on a CPU until then, in microseconds.
        pub(crate) process_startup_time_cpu_us: Level,
    }
}

counters! {
    /// How long the last one of each took, in microseconds.
    pub(crate) struct Latencies {
        /// The last pause, until nothing of the machine moved, in microseconds.
        pub(crate) pause_vm: Level,
        /// The last resumption, in microseconds.
        pub(crate) resume_vm: Level,
        /// The last full snapshot, until its files were in their places, in microseconds.
        pub(crate) full_create_snapshot: Level,
        /// The last diff, in the same way, in microseconds.
        pub(crate) diff_create_snapshot: Level,
        /// How long a microVM that ran stood still for its last snapshot, in microseconds.
        pub(crate) live_snapshot_pause: Level,
        /// From the order to load the machine's snapshot until it could run, in microseconds; 0 if it booted.
        pub(crate) load_snapshot: Level,
    }
}

counters! {
    /// What became of the machine.
    pub(crate) struct MachineCounters {
        /// Reboots after which the guest was started again.
        pub(crate) restarts: Counter,
    }
}

counters! {
    /// What was not written down.
    pub(crate) struct LoggerCounters {
        /// Metrics that could not be written.
        pub(crate) missed_metrics_count: Counter,
        /// Lines of the log for which there was no room.
        pub(crate) missed_log_count: Level,
    }
}

counters! {
    /// Interrupts of virtio devices.
    pub(crate) struct InterruptCounters {
        /// Interrupts because of queues.
        pub(crate) triggers: Counter,
        /// Interrupts because a device's configuration changed.
        pub(crate) config_updates: Counter,
    }
}
