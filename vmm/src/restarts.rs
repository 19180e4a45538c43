//! How often a guest that reboots is started again: a guest that crashes as soon as it boots must not keep the host busy for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many restarts are allowed in [`PERIOD`]. No working system reboots that often.
pub(crate) const MOST: usize = 5;
/// See [`MOST`].
pub(crate) const PERIOD: Duration = Duration::from_secs(60);

/// The restarts of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    recent: VecDeque<Instant>,
    all: u64,
}

impl Restarts {
    /// Notes one and gives its number, from 1; none if there were too many lately.
    pub(crate) fn next(&mut self, now: Instant) -> Option<u64> {
        self.recent
            .retain(|then| now.saturating_duration_since(*then) < PERIOD);
        if self.recent.len() >= MOST {
            return None;
        }
        self.recent.push_back(now);
        self.all += 1;
        Some(self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_is_given_up_and_a_reboot_now_and_then_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut often = Restarts::default();
        let numbers: Vec<_> = (0..7).map(|second| often.next(at(second))).collect();
        let allowed = [Some(1), Some(2), Some(3), Some(4), Some(5)];
        assert_eq!(numbers[..5], allowed);
        assert_eq!(numbers[5..], [None, None]);
        // A minute after the first there is one more.
        assert_eq!(often.next(at(60)), Some(6));
        assert_eq!(often.next(at(60)), None);
        let mut seldom = Restarts::default();
        assert!((0..100).all(|number| seldom.next(at(number * 13)).is_some()));
    }
}
