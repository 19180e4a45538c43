//! Whether a container is started again after its end, and when.

use std::time::Duration;

use crate::container::RestartPolicy;

/// The first wait before a container is started again; each one after it is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// One that ran for so long begins with the first wait again.
const SETTLED: Duration = Duration::from_secs(10);

/// How long was waited before the last start; this doubles for a container that does not stay up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BackOff(Option<Duration>);

impl BackOff {
    /// How long to wait after the container ran for this long.
    pub(super) fn next(&mut self, ran: Duration) -> Duration {
        let wait = match self.0 {
            Some(last) if ran < SETTLED => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.0 = Some(wait);
        wait
    }
}

/// Whether a container of this policy, which ended with `code` after it was started again `restarts` times, is started again.
pub(super) fn is_due(policy: RestartPolicy, code: u8, stopped: bool, restarts: u32) -> bool {
    match policy {
        _ if stopped => false,
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { maximum } => {
            code != 0 && maximum.is_none_or(|maximum| maximum == 0 || restarts < maximum)
        }
    }
}

/// Whether a container that a user stopped is started with the daemon all the same.
pub(super) fn forgets_stop(policy: RestartPolicy) -> bool {
    policy == RestartPolicy::Always
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_docker_s() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let twice = OnFailure { maximum: Some(2) };
        let ever = OnFailure { maximum: Some(0) };
        for (policy, code, stopped, restarts, due) in [
            (No, 1, false, 0, false),
            (Always, 0, false, 99, true),
            (Always, 0, true, 0, false),
            (UnlessStopped, 0, false, 0, true),
            (UnlessStopped, 1, true, 0, false),
            (twice, 0, false, 0, false),
            (twice, 1, false, 1, true),
            (twice, 1, false, 2, false),
            (ever, 1, false, 99, true),
        ] {
            assert_eq!(
                is_due(policy, code, stopped, restarts),
                due,
                "{policy:?} {code}"
            );
        }
        assert!(forgets_stop(Always) && !forgets_stop(UnlessStopped));
    }

    #[test]
    fn who_does_not_stay_up_waits_longer_each_time() {
        let mut back_off = BackOff::default();
        let mut waits = (0..12).map(|_| back_off.next(Duration::from_secs(1)));
        assert_eq!(waits.next(), Some(FIRST));
        assert_eq!(waits.next(), Some(FIRST * 2));
        assert_eq!(waits.last(), Some(LONGEST));
        assert_eq!(back_off.next(SETTLED), FIRST);
    }
}
