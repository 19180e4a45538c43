//! What an interface saves.

use serde::{Deserialize, Serialize};

use super::config::{MAX_PAIRS, MIN_MTU, MacAddress};
use super::stream::StreamError;
use super::tap::TapError;
use crate::rate::{RateRestoreError, RateState};

/// The saved state of an interface. Its descriptors, filter, lease and metadata service are not in it: restoring takes new ones. A clone
/// that is to have an address of its own gets it here, in `mac`, before it is restored; its guest must then take it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetState {
    /// The guest's address, as it set it last.
    pub mac: MacAddress,
    /// The MTU that the guest was told.
    pub mtu: Option<u16>,
    /// Whether the link is up.
    pub link_up: bool,
    /// Whether the guest has yet to announce its address.
    pub announce: bool,
    /// Pairs of queues.
    pub pairs: u16,
    /// Those that the guest uses.
    pub active_pairs: u16,
    /// The offloads that the guest chose while it ran; none if it has those that it negotiated.
    pub offloads: Option<u64>,
    /// The limits for what comes to the guest.
    pub rx_rate: RateState,
    /// The limits for what the guest sends.
    pub tx_rate: RateState,
}

/// Why there is no interface.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No descriptor, or more than there can be queues.
    #[error(
        "a network interface has 1 to {MAX_PAIRS} TAP descriptors, one for each pair of queues, and not {0}"
    )]
    Pairs(usize),
    /// A stream is one.
    #[error("a network interface over a stream has one descriptor and one pair of queues, not {0}")]
    StreamPairs(usize),
    /// Too small.
    #[error("an MTU of {0} bytes is too small: give {MIN_MTU} to 65535")]
    Mtu(u16),
    /// A group's address, or none at all.
    #[error(
        "{0} can't be an interface's MAC address: give one whose first byte is even, such as 02:00:5e:10:00:01"
    )]
    Mac(MacAddress),
    /// The TAP could not be set up.
    #[error("the network interface's TAP can't be used")]
    Tap(#[from] TapError),
    /// The stream could not be set up.
    #[error("the network interface's stream can't be used")]
    Stream(#[from] StreamError),
    /// The host has no memory for a frame.
    #[error("the host has no memory for a frame of the network interface")]
    Memory(#[source] std::io::Error),
    /// A limit could not be restored.
    #[error("a rate limit of the saved network interface can't be used")]
    Rate(#[from] RateRestoreError),
    /// The saved interface had other queues.
    #[error(
        "the saved network interface has {saved} pairs of queues, but {given} TAP descriptors were given"
    )]
    OtherPairs {
        /// Then.
        saved: u16,
        /// Now.
        given: usize,
    },
    /// No driver can have done that.
    #[error("the saved network interface uses {active} of {pairs} pairs of queues")]
    Active {
        /// In use.
        active: u16,
        /// All.
        pairs: u16,
    },
    /// The kernel has no more descriptors.
    #[error("can't wait for a network interface's TAP")]
    Events(#[source] std::io::Error),
}
