//! Rates on a clock that the test turns, and a timer that really goes off.

use std::time::Duration;

use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{
    BucketConfig, BucketState, Limits, RateConfig, RateLimiter, RateRestoreError, RateState,
};

const START: Duration = Duration::from_secs(1000);

fn bucket(size: u64, refill_time: u64) -> BucketConfig {
    BucketConfig {
        size,
        one_time_burst: 0,
        refill_time,
    }
}

fn ops(config: BucketConfig) -> RateConfig {
    RateConfig {
        bandwidth: None,
        ops: Some(config),
    }
}

fn bandwidth(config: BucketConfig) -> RateConfig {
    RateConfig {
        bandwidth: Some(config),
        ops: None,
    }
}

/// Takes what costs (`bytes`, `operations`) as long as there is any; how often, and how long to wait for the next.
fn drain(limits: &mut Limits, now: Duration, bytes: u64, operations: u64) -> (u64, Duration) {
    for count in 0..10_000_000 {
        match limits.admit(bytes, operations, now) {
            Ok(()) => limits.charge(bytes, operations),
            Err(wait) => return (count, wait),
        }
    }
    panic!("nothing is limited");
}

/// What passes in `span`, when whoever waits is woken `late` after the right moment.
fn passes(limits: &mut Limits, span: Duration, late: Duration, bytes: u64, ops: u64) -> u64 {
    let mut now = START;
    let mut count = 0;
    while now < START + span {
        let (passed, wait) = drain(limits, now, bytes, ops);
        count += passed;
        assert!(wait > Duration::ZERO, "a wait of nothing is a busy loop");
        now += wait + late;
    }
    count
}

fn assert_within(count: u64, expected: u64, percent: u64) {
    let off = count.abs_diff(expected) * 100;
    assert!(
        off <= expected * percent,
        "{count} passed, where {expected} are allowed"
    );
}

#[test]
fn slow_and_fast_rates_are_held() {
    let minute = Duration::from_secs(60);
    for late in [0, 70, 1000].map(Duration::from_micros) {
        for config in [bucket(10, 1000), bucket(1, 100)] {
            let mut limits = Limits::new(&ops(config), START);
            drain(&mut limits, START, 0, 1);
            assert_within(passes(&mut limits, minute, late, 0, 1), 600, 2);
        }
        for config in [bucket(100_000, 1000), bucket(1000, 10), bucket(100, 1)] {
            // A busy host can be later by far than a fast rate's waits are long.
            for late in [late, late * 10] {
                let mut limits = Limits::new(&ops(config), START);
                drain(&mut limits, START, 0, 1);
                let passed = passes(&mut limits, Duration::from_secs(5), late, 0, 1);
                assert_within(passed, 500_000, 2);
            }
        }
    }
}

#[test]
fn odd_rates_do_not_drift() {
    // 7 in 3 s, for an hour: 8400.
    let mut limits = Limits::new(&ops(bucket(7, 3000)), START);
    drain(&mut limits, START, 0, 1);
    let passed = passes(&mut limits, Duration::from_secs(3600), Duration::ZERO, 0, 1);
    assert!(passed.abs_diff(8400) <= 1, "{passed}");
}

#[test]
fn the_burst_comes_once_and_the_bucket_again() {
    let config = BucketConfig {
        one_time_burst: 50,
        ..bucket(10, 1000)
    };
    let mut limits = Limits::new(&ops(config), START);
    assert_eq!(drain(&mut limits, START, 0, 1).0, 60);
    // However long nothing happens: no more than the bucket holds.
    let hour = Duration::from_secs(3600);
    assert_eq!(drain(&mut limits, START + hour, 0, 1).0, 10);
    assert_eq!(drain(&mut limits, START + hour * 2, 0, 1).0, 10);
}

#[test]
fn a_request_larger_than_the_bucket_passes_and_is_paid_for() {
    let mut limits = Limits::new(&bandwidth(bucket(1000, 1000)), START);
    assert_eq!(limits.admit(10_000, 1, START), Ok(()));
    limits.charge(10_000, 1);
    // 9 s of debt, and 1 s for a bucketful.
    let wait = limits.admit(1000, 1, START).unwrap_err();
    assert_eq!(wait, Duration::from_secs(10));
    // The next large one only waits for the debt.
    let wait = limits.admit(5000, 1, START).unwrap_err();
    assert_eq!(wait, Duration::from_secs(9));
    assert_eq!(limits.admit(5000, 1, START + wait), Ok(()));
    // And in the long run they have the same rate as all others.
    let mut limits = Limits::new(&bandwidth(bucket(1000, 1000)), START);
    let passed = passes(
        &mut limits,
        Duration::from_secs(1000),
        Duration::ZERO,
        10_000,
        1,
    );
    assert_within(passed, 100, 2);
}

#[test]
fn both_buckets_or_neither_pay() {
    let config = RateConfig {
        bandwidth: Some(bucket(1000, 1000)),
        ops: Some(bucket(2, 1000)),
    };
    let mut limits = Limits::new(&config, START);
    assert_eq!(drain(&mut limits, START, 600, 1).0, 1);
    // The refused one did not cost an operation.
    assert_eq!(limits.admit(400, 1, START), Ok(()));
    limits.charge(400, 1);
    let wait = limits.admit(1, 1, START).unwrap_err();
    assert_eq!(wait, Duration::from_millis(500), "the longer wait counts");
}

#[test]
fn zero_means_no_limit() {
    for none in [bucket(0, 100), bucket(100, 0), bucket(0, 0)] {
        let limits = Limits::new(&ops(none), START);
        assert!(limits.is_unlimited());
    }
}

#[test]
fn the_largest_numbers_work() {
    for (size, refill) in [(u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX, 1)] {
        let mut limits = Limits::new(&bandwidth(bucket(size, refill)), START);
        for _ in 0..4 {
            limits.charge(u64::MAX, 1);
        }
        assert!(limits.admit(1, 1, START).is_err());
        let state = limits.save(START);
        let mut restored = Limits::restore(&state, START).unwrap();
        assert!(restored.admit(1, 1, START).is_err());
    }
}

#[test]
fn a_change_keeps_tokens_debts_and_what_was_spent() {
    let config = BucketConfig {
        one_time_burst: 20,
        ..bucket(100, 1000)
    };
    let mut limits = Limits::new(&ops(config), START);
    limits.charge(0, 60);
    let faster = BucketConfig {
        one_time_burst: 20,
        ..bucket(200, 1000)
    };
    limits.change(&ops(faster), START);
    assert_eq!(limits.config(), ops(faster));
    assert_eq!(drain(&mut limits, START, 0, 1).0, 60, "60 of 100 were left");
    // What a change does not name stays; what it sets to 0 goes.
    limits.change(&bandwidth(bucket(1000, 1000)), START);
    assert_eq!(limits.config().ops, Some(faster));
    limits.change(&ops(bucket(0, 0)), START);
    assert_eq!(limits.config(), bandwidth(bucket(1000, 1000)));
    // A debt does not outgrow the new bucket, or a small one would block for ages.
    limits.charge(1_000_000, 1);
    limits.change(&bandwidth(bucket(10, 1000)), START);
    let wait = limits.admit(10, 1, START).unwrap_err();
    assert_eq!(wait, Duration::from_secs(2));
}

#[test]
fn saved_limits_go_on_where_they_were() {
    let config = RateConfig {
        bandwidth: Some(BucketConfig {
            one_time_burst: 500,
            ..bucket(1000, 1000)
        }),
        ops: Some(bucket(10, 1000)),
    };
    let mut limits = Limits::new(&config, START);
    limits.charge(400, 15);
    let state = limits.save(START);
    let later = START * 2;
    let mut restored = Limits::restore(&state, later).unwrap();
    assert_eq!(restored.save(later), state);
    assert_eq!(restored.config(), config);
    assert_eq!(restored.admit(1100, 0, later), Ok(()));
    assert_eq!(restored.admit(0, 1, later), Err(Duration::from_millis(600)));
}

#[test]
fn states_that_can_not_be_are_refused() {
    let with = |state| RateState {
        bandwidth: Some(state),
        ops: None,
    };
    let good = BucketState {
        config: bucket(10, 10),
        tokens: 10,
        debt: 0,
        burst: 0,
    };
    assert!(Limits::restore(&with(good), START).is_ok());
    let too_full = [
        BucketState { tokens: 11, ..good },
        BucketState { burst: 1, ..good },
    ];
    for state in too_full {
        assert!(matches!(
            Limits::restore(&with(state), START),
            Err(RateRestoreError::TooFull { .. })
        ));
    }
    let none = BucketState {
        config: bucket(0, 10),
        ..good
    };
    assert!(matches!(
        Limits::restore(&with(none), START),
        Err(RateRestoreError::NoLimit)
    ));
}

/// Whether the limiter's timer goes off within `limit`.
fn goes_off(limiter: &RateLimiter, limit: Duration) -> bool {
    let fd = limiter.fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    rustix::event::poll(&mut fds, Some(&limit)).unwrap() == 1
}

#[test]
fn the_timer_goes_off_when_a_refused_request_passes() {
    let mut limiter = RateLimiter::new(&ops(bucket(1, 20))).unwrap();
    assert!(!goes_off(&limiter, Duration::ZERO));
    assert!(limiter.take(0, 1));
    assert!(!goes_off(&limiter, Duration::ZERO));
    for _ in 0..3 {
        while limiter.take(0, 1) {}
        assert!(goes_off(&limiter, Duration::from_secs(60)));
        assert!(limiter.take(0, 1), "woken for nothing");
    }
}

#[test]
fn a_hundred_thousand_a_second_are_held_by_the_real_timer() {
    let mut limiter = RateLimiter::new(&ops(bucket(1000, 10))).unwrap();
    while limiter.take(0, 1) {}
    let began = std::time::Instant::now();
    let mut passed = 0_u64;
    while passed < 50_000 {
        assert!(goes_off(&limiter, Duration::from_secs(60)));
        while limiter.take(0, 1) {
            passed += 1;
        }
    }
    let allowed = u64::try_from(began.elapsed().as_micros()).unwrap() / 10;
    // A bucketful, and what may be made up for a late wake-up: 20 ms' worth.
    assert!(
        passed <= allowed * 103 / 100 + 3000,
        "{passed} passed, {allowed} are allowed"
    );
    assert!(
        passed >= allowed / 2,
        "{passed} passed, {allowed} are allowed"
    );
}

#[test]
fn a_change_from_elsewhere_wakes_who_waits() {
    let mut limiter = RateLimiter::new(&ops(bucket(1, 3_600_000))).unwrap();
    assert!(limiter.take(0, 1));
    assert!(!limiter.take(0, 1));
    assert!(!goes_off(&limiter, Duration::ZERO));
    let control = limiter.control();
    let changed = std::thread::spawn(move || control.change(&ops(bucket(0, 0))));
    assert!(goes_off(&limiter, Duration::from_secs(60)));
    changed.join().unwrap();
    assert!(limiter.take(0, 1));
    assert_eq!(limiter.config(), RateConfig::default());
}

#[test]
fn a_change_that_nobody_has_noticed_is_saved() {
    let limiter = RateLimiter::new(&RateConfig::default()).unwrap();
    limiter.control().change(&bandwidth(bucket(7, 7)));
    limiter.control().change(&ops(bucket(8, 8)));
    let state = limiter.save();
    assert_eq!(state.bandwidth.unwrap().config, bucket(7, 7));
    assert_eq!(state.ops.unwrap().config, bucket(8, 8));
    assert_eq!(RateLimiter::restore(&state).unwrap().save(), state);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked for, in whatever order: no more passes than the rate allows and a bucket holds, and none waits
    /// for ever.
    #[test]
    fn no_more_than_the_rate_passes(
        size in 1_u64..5000,
        refill_time in 1_u64..5000,
        requests in prop::collection::vec((0_u64..10_000, 0_u64..50_000_000), 1..200),
    ) {
        let mut limits = Limits::new(&bandwidth(bucket(size, refill_time)), START);
        let mut now = START;
        let (mut passed, mut largest) = (0_u128, 0_u128);
        for (bytes, idle) in requests {
            now += Duration::from_nanos(idle);
            if let Err(wait) = limits.admit(bytes, 1, now) {
                now += wait;
                prop_assert_eq!(limits.admit(bytes, 1, now), Ok(()));
            }
            limits.charge(bytes, 1);
            passed += u128::from(bytes);
            largest = largest.max(u128::from(bytes));
        }
        let earned = (now - START).as_nanos() * u128::from(size) / (u128::from(refill_time) * 1_000_000);
        prop_assert!(passed <= earned + u128::from(size) + largest + 1);
    }
}
