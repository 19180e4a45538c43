//! A transport and its device as saved data.

use serde::{Deserialize, Serialize};

use crate::{DeviceState, QueueError, QueueState};

/// What the registers of a device hold. Untrusted: [`super::Core::restore`] checks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// The device status register, without NEEDS_RESET.
    pub status: u8,
    /// Whether the device was lost.
    pub needs_reset: bool,
    /// The features that the driver took.
    pub driver_features: u64,
    /// DeviceFeaturesSel.
    pub device_features_select: u32,
    /// DriverFeaturesSel.
    pub driver_features_select: u32,
    /// QueueSel.
    pub queue_select: u32,
    /// InterruptStatus.
    pub isr: u32,
    /// ConfigGeneration.
    pub generation: u32,
    /// All queues, in order.
    pub queues: Vec<QueueState>,
    /// The device behind the registers.
    pub device: DeviceState,
}

/// Why a saved state did not become a transport.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No driver can get there.
    #[error("the saved device status {0:#04x} is not one that a driver can reach")]
    Status(u8),
    /// The driver took what the device does not have.
    #[error("the saved state has the features {saved:#x}, but the device only offers {offered:#x}")]
    Features {
        /// What was saved.
        saved: u64,
        /// What the device has.
        offered: u64,
    },
    /// Another kind of device, or another version of it.
    #[error(
        "the saved state has queues of at most {saved:?} descriptors, but the device has {wanted:?}"
    )]
    Queues {
        /// What was saved.
        saved: Vec<u16>,
        /// What the device has.
        wanted: Vec<u16>,
    },
    /// A queue that can't be.
    #[error("saved queue {index} can't be used")]
    Queue {
        /// Which.
        index: usize,
        /// Why.
        source: QueueError,
    },
    /// An eventfd could not be made.
    #[error("no eventfd for a queue's kicks")]
    EventFd(#[source] std::io::Error),
}
