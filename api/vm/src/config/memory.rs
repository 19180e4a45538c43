//! Memory that comes and goes: the balloon, and memory that is plugged in.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::number::{in_range, number};

/// Most MiB that a field of 32 bits says.
const MAX_MIB: u64 = u32::MAX as u64;

/// A device that takes memory from the guest and gives it back (virtio-balloon).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balloon {
    /// How much to take, in MiB, up to the guest's memory.
    #[serde(deserialize_with = "number::<_, _, 0, MAX_MIB>")]
    pub amount_mib: u32,
    /// Give it back when the guest runs out of memory.
    pub deflate_on_oom: bool,
    /// Seconds between two reports of the guest on its memory; 0 for none ever.
    #[serde(default, deserialize_with = "number::<_, _, 0, { u16::MAX as u64 }>")]
    pub stats_polling_interval_s: u16,
    /// The host can ask which pages are free (VIRTIO_BALLOON_F_FREE_PAGE_HINT).
    #[serde(default)]
    pub free_page_hinting: bool,
    /// The guest says by itself which pages are free (VIRTIO_BALLOON_F_REPORTING).
    #[serde(default)]
    pub free_page_reporting: bool,
}

/// A new size of the balloon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonUpdate {
    /// See [`Balloon::amount_mib`].
    #[serde(deserialize_with = "number::<_, _, 0, MAX_MIB>")]
    pub amount_mib: u32,
}

/// Another time between reports. They can be neither turned on nor off while the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonStatsUpdate {
    /// See [`Balloon::stats_polling_interval_s`].
    #[serde(deserialize_with = "number::<_, _, 0, { u16::MAX as u64 }>")]
    pub stats_polling_interval_s: u16,
}

/// How a run of free page hinting is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HintingStart {
    /// Tell the guest, as soon as it has named all of them, that it can have the pages back. Otherwise it waits for
    /// `/balloon/hinting/stop`.
    #[serde(default = "yes")]
    pub acknowledge_on_stop: bool,
}

impl Default for HintingStart {
    fn default() -> Self {
        Self {
            acknowledge_on_stop: true,
        }
    }
}

fn yes() -> bool {
    true
}

impl Balloon {
    pub(crate) fn validate(&self, mem_size_mib: u64) -> Result<(), ConfigError> {
        in_range("balloon.amount_mib", self.amount_mib, 0, mem_size_mib)
    }

    /// Changes the time between reports.
    pub(crate) fn update_stats(&mut self, update: BalloonStatsUpdate) -> Result<(), ConfigError> {
        let seconds = update.stats_polling_interval_s;
        if (seconds == 0) != (self.stats_polling_interval_s == 0) {
            return Err(ConfigError::conflict(format!(
                "balloon.stats_polling_interval_s is {} and cannot become {seconds}: statistics cannot be turned on or off \
                 after the start",
                self.stats_polling_interval_s
            )));
        }
        self.stats_polling_interval_s = seconds;
        Ok(())
    }
}

/// Memory that can be plugged in while the machine runs (virtio-mem).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplug {
    /// How much can be plugged in at most, in MiB; a multiple of `slot_size_mib`.
    #[serde(deserialize_with = "number::<_, _, 128, MAX_MIB>")]
    pub total_size_mib: u32,
    /// The pieces in which the host gives it, in MiB, from 128; a multiple of `block_size_mib`.
    #[serde(
        default = "MemoryHotplug::default_slot",
        deserialize_with = "number::<_, _, 128, MAX_MIB>"
    )]
    pub slot_size_mib: u32,
    /// The pieces in which the guest takes it, in MiB, from 2; a power of 2.
    #[serde(
        default = "MemoryHotplug::default_block",
        deserialize_with = "number::<_, _, 2, MAX_MIB>"
    )]
    pub block_size_mib: u32,
}

/// How much memory is to be plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplugUpdate {
    /// In MiB; a multiple of `block_size_mib`, up to `total_size_mib`.
    #[serde(deserialize_with = "number::<_, _, 0, MAX_MIB>")]
    pub requested_size_mib: u32,
}

impl MemoryHotplug {
    const MIN_SLOT: u64 = 128;
    const MIN_BLOCK: u64 = 2;
    /// What the device keeps a note of.
    const MAX_BLOCKS: u32 = 1 << 20;

    fn default_slot() -> u32 {
        128
    }

    fn default_block() -> u32 {
        2
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let (total, slot, block) = (self.total_size_mib, self.slot_size_mib, self.block_size_mib);
        in_range(
            "memory-hotplug.block_size_mib",
            block,
            Self::MIN_BLOCK,
            MAX_MIB,
        )?;
        in_range(
            "memory-hotplug.slot_size_mib",
            slot,
            Self::MIN_SLOT,
            MAX_MIB,
        )?;
        in_range("memory-hotplug.total_size_mib", total, slot.into(), MAX_MIB)?;
        if !block.is_power_of_two() {
            return Err(ConfigError::conflict(format!(
                "memory-hotplug.block_size_mib is {block}; it must be a power of 2"
            )));
        }
        if !slot.is_multiple_of(block) {
            return Err(ConfigError::conflict(format!(
                "memory-hotplug.slot_size_mib is {slot}; it must be a multiple of block_size_mib, {block}"
            )));
        }
        let blocks = total / block;
        if blocks > Self::MAX_BLOCKS {
            return Err(ConfigError::conflict(format!(
                "memory-hotplug has {blocks} blocks, and can have {} at most; make block_size_mib larger",
                Self::MAX_BLOCKS
            )));
        }
        if !total.is_multiple_of(slot) {
            return Err(ConfigError::conflict(format!(
                "memory-hotplug.total_size_mib is {total}; it must be a multiple of slot_size_mib, {slot}"
            )));
        }
        Ok(())
    }

    /// Checks how much is to be plugged in.
    pub(crate) fn check(&self, update: MemoryHotplugUpdate) -> Result<(), ConfigError> {
        let size = update.requested_size_mib;
        let most = self.total_size_mib.into();
        in_range("hotplug/memory.requested_size_mib", size, 0, most)?;
        if !size.is_multiple_of(self.block_size_mib) {
            return Err(ConfigError::conflict(format!(
                "hotplug/memory.requested_size_mib is {size}; it must be a multiple of block_size_mib, {}",
                self.block_size_mib
            )));
        }
        Ok(())
    }
}
