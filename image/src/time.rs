//! Times and durations as Docker's filters and flags have them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A duration in Go's notation, such as `1h30m` or `1.5s`; not below 0.
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    // In nanoseconds, with room for what a fraction is multiplied with.
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || number.len() > 40 {
            return None;
        }
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let digits: String = fraction.chars().take(15).collect();
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if !digits.is_empty() {
            let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
            total = total.checked_add(digits.parse::<u128>().ok()?.checked_mul(unit)? / scale)?;
        }
        rest = after;
    }
    // Go's durations have 64 bits with a sign.
    let total = i64::try_from(total).ok()?;
    Some(Duration::from_nanos(u64::try_from(total).ok()?))
}

/// A point in time: seconds since 1970 with or without a fraction, RFC 3339 with or without a time and a zone, or a duration before
/// `now`. Without a zone it is this machine's, as Docker has it.
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    moment_in(text, now, TimeZone::system)
}

fn moment_in(text: &str, now: Timestamp, here: impl FnOnce() -> TimeZone) -> Option<Timestamp> {
    if let Some(unix) = unix(text) {
        return Some(unix);
    }
    if let Some(before) = go_duration(text) {
        return now.checked_sub(before).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = text.parse::<DateTime>().ok()?.to_zoned(here()).ok()?;
    Some(local.timestamp())
}

/// Seconds since 1970; of the fraction, nine digits count.
fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds.strip_prefix('-').unwrap_or(seconds)) || !digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [
            ("1s", Some(1000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1500)),
            (".5s", Some(500)),
            ("0", Some(0)),
            ("10m", Some(600_000)),
            ("100us", Some(0)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("1..5s", None),
            ("99999999999h", None),
        ] {
            let found = go_duration(text).map(|duration| duration.as_millis());
            assert_eq!(found, millis, "{text}");
        }
    }

    #[test]
    fn moments_are_read_in_every_spelling() {
        let now: Timestamp = "2024-05-06T12:00:00Z".parse().unwrap();
        let two_hours_ahead = || TimeZone::fixed(jiff::tz::offset(2));
        let read = |text: &str| moment_in(text, now, two_hours_ahead);
        for (text, expected) in [
            ("1714996800", "2024-05-06T12:00:00Z"),
            ("1714996800.5", "2024-05-06T12:00:00.5Z"),
            ("1714996800.000000001", "2024-05-06T12:00:00.000000001Z"),
            ("-1", "1969-12-31T23:59:59Z"),
            ("1h", "2024-05-06T11:00:00Z"),
            ("1h30m", "2024-05-06T10:30:00Z"),
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05+01:00", "2024-01-02T02:04:05Z"),
            ("2024-01-02T03:04:05", "2024-01-02T01:04:05Z"),
            ("2024-01-02", "2024-01-01T22:00:00Z"),
        ] {
            assert_eq!(read(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "soon", "10x", ".", "m", "1..5s"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = moment(&text, Timestamp::UNIX_EPOCH);
        }
    }
}
