//! Requests and responses as they lie in the queue (virtio 1.2, section 5.15.6).

use std::ops::Range;

use super::config::MemConfig;

/// Bytes of a response.
pub(super) const RESPONSE: usize = 10;
/// Bytes of a request.
pub(super) const REQUEST: usize = 24;
/// Bytes of a request without arguments.
const BARE_REQUEST: usize = 8;

/// Blocks that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    address: u64,
    count: u16,
}

/// What a driver may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Plug(Target),
    Unplug(Target),
    UnplugAll,
    State(Target),
}

/// What it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Ack,
    /// To a question for the state.
    State(BlocksState),
    /// Not now: more than requested.
    Nack,
    /// Not now, for reasons of the host.
    Busy,
    /// Never.
    Error,
}

/// Of the blocks that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlocksState {
    Plugged,
    Unplugged,
    Mixed,
}

impl Request {
    /// Makes sense of what a driver wrote; none if there is none to be made.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [t0, t1, ..] = *bytes else {
            return None;
        };
        match u16::from_le_bytes([t0, t1]) {
            0 => Some(Self::Plug(Target::parse(bytes)?)),
            1 => Some(Self::Unplug(Target::parse(bytes)?)),
            2 if bytes.len() >= BARE_REQUEST => Some(Self::UnplugAll),
            3 => Some(Self::State(Target::parse(bytes)?)),
            _ => None,
        }
    }
}

impl Target {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let address = bytes.get(8..16)?.try_into().ok()?;
        let count = bytes.get(16..18)?.try_into().ok()?;
        (bytes.len() >= REQUEST).then_some(Self {
            address: u64::from_le_bytes(address),
            count: u16::from_le_bytes(count),
        })
    }

    /// The numbers of the blocks; none if there are none, or not all of them are blocks of the region.
    pub(super) fn blocks(&self, config: &MemConfig) -> Option<Range<usize>> {
        let offset = self.address.checked_sub(config.address)?;
        if !offset.is_multiple_of(config.block_size) || self.count == 0 {
            return None;
        }
        let first = usize::try_from(offset / config.block_size).ok()?;
        let end = first.checked_add(self.count.into())?;
        (end <= config.blocks()).then_some(first..end)
    }
}

impl Response {
    pub(super) fn bytes(self) -> [u8; RESPONSE] {
        let (kind, state): (u8, u8) = match self {
            Self::Ack => (0, 0),
            Self::State(state) => (0, state as u8),
            Self::Nack => (1, 0),
            Self::Busy => (2, 0),
            Self::Error => (3, 0),
        };
        [kind, 0, 0, 0, 0, 0, 0, 0, state, 0]
    }
}
