//! virtio-balloon (virtio 1.2, section 5.5): the guest gives memory back to the host.
//!
//! There are three ways, and each ends in the host's kernel having the pages: *inflating*, when the VMM sets a target and the
//! driver gives pages up until it is reached; *free page reporting*, when the driver tells by itself of what it does not use; and
//! *free page hinting*, when the VMM asks once and the driver tells of all that is free at that time. Deflating needs nothing:
//! a page comes back when the guest touches it.
//!
//! On huge pages only whole ones go back, so there only reporting and hinting do something: drivers inflate page by page.

mod config;
mod counters;
mod device;
mod hinting;
mod pages;
mod roles;
mod state;
mod statistics;
#[cfg(test)]
mod tests;
mod ticker;

pub use config::{BalloonConfig, PAGE_SIZE};
pub use counters::BalloonCounters;
pub use device::Balloon;
pub use hinting::{HINT_DONE, HINT_STOP, HintingStatus};
pub use state::{BalloonError, BalloonState};
pub use statistics::BalloonStatistics;
