//! What a user may say about a balloon, and what the driver reads about it (virtio 1.2, section 5.5.4).

use serde::{Deserialize, Serialize};

/// Bytes in a balloon's page, whatever the guest's pages are.
pub const PAGE_SIZE: u64 = 4096;

/// Feature bits (section 5.5.3). The device does not offer MUST_TELL_HOST, because a page that is used too early just comes
/// back, nor PAGE_POISON, because what comes back need not be zeros.
const STATS_VQ: u64 = 1 << 1;
const DEFLATE_ON_OOM: u64 = 1 << 2;
const FREE_PAGE_HINT: u64 = 1 << 3;
const REPORTING: u64 = 1 << 5;

/// Where the driver says how many pages it gave up.
const ACTUAL: u64 = 4;

/// What a user may say about a balloon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonConfig {
    /// Pages of 4 KiB that the guest should give up.
    pub target_pages: u32,
    /// Whether the guest may take pages back when it has no other left.
    pub deflate_on_oom: bool,
    /// Seconds between two questions for statistics; 0 for none, ever.
    pub statistics_interval_s: u16,
    /// Whether the guest can be asked for its free pages.
    pub free_page_hinting: bool,
    /// Whether the guest tells of its free pages by itself.
    pub free_page_reporting: bool,
}

impl BalloonConfig {
    /// The features of this balloon.
    pub(super) fn features(&self) -> u64 {
        let offered = [
            (self.statistics_interval_s > 0, STATS_VQ),
            (self.deflate_on_oom, DEFLATE_ON_OOM),
            (self.free_page_hinting, FREE_PAGE_HINT),
            (self.free_page_reporting, REPORTING),
        ];
        offered
            .iter()
            .filter(|(wanted, _)| *wanted)
            .fold(0, |all, (_, bit)| all | bit)
    }
}

/// Which of the queues that depend on a feature were negotiated: statistics, hinting, reporting.
pub(super) fn negotiated(features: u64) -> [bool; 3] {
    [STATS_VQ, FREE_PAGE_HINT, REPORTING].map(|bit| features & bit != 0)
}

/// The configuration space.
pub(super) fn config_space(target: u32, actual: u32, hint_command: u32) -> [u8; 16] {
    let mut space = [0; 16];
    let fields = [target, actual, hint_command];
    for (place, field) in space.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    space
}

/// How many pages the driver says it gave up, if that is what it writes.
pub(super) fn written_actual(offset: u64, data: &[u8]) -> Option<u32> {
    let bytes = <[u8; 4]>::try_from(data).ok()?;
    (offset == ACTUAL).then(|| u32::from_le_bytes(bytes))
}
