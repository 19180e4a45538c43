//! What a balloon saves.

use serde::{Deserialize, Serialize};

use super::config::BalloonConfig;
use super::hinting::Hinting;

/// The saved state of a balloon. Statistics are not in it: the driver's last ones are still in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonState {
    /// As it was last changed.
    pub config: BalloonConfig,
    /// Pages that the driver said it gave up.
    pub actual_pages: u32,
    /// How far hinting is.
    pub(super) hinting: Hinting,
}

/// What a balloon can't do.
#[derive(Debug, thiserror::Error)]
pub enum BalloonError {
    /// The kernel refused.
    #[error("there is no timer for a balloon's statistics")]
    Timer(#[source] std::io::Error),
    /// The driver was not offered statistics, or can't unlearn them.
    #[error(
        "a balloon's statistics can't be turned on or off after it was made: the interval was {was} s and would be {wanted} s"
    )]
    StatisticsStateChange {
        /// Seconds.
        was: u16,
        /// Seconds.
        wanted: u16,
    },
    /// The driver was not offered statistics.
    #[error("the balloon has no statistics: give it a statistics interval when it is made")]
    NoStatistics,
    /// The driver was not offered hinting.
    #[error("the balloon has no free page hinting: turn it on when it is made")]
    NoHinting,
}
