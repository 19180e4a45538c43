//! Times and durations as Docker's filters and flags have them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;

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

/// A point in time: seconds since 1970, a date with or without a time, or a duration before `now`.
pub(crate) fn point(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !seconds.is_empty() && digits(seconds) && digits(fraction) && fraction.len() <= 9 {
        let nanos = format!("{fraction:0<9}").parse::<i32>().ok()?;
        return Timestamp::new(seconds.parse().ok()?, nanos).ok();
    }
    if let Some(before) = go_duration(text) {
        return now.checked_sub(before).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // Without a zone it is this machine's.
    let local = text.parse::<DateTime>().ok()?;
    let zone = jiff::tz::TimeZone::system();
    local.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
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
    fn points_in_time_come_in_several_forms() {
        let now: Timestamp = "2024-05-06T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("1714996800", "2024-05-06T12:00:00Z"),
            ("1714996800.5", "2024-05-06T12:00:00.5Z"),
            ("1h", "2024-05-06T11:00:00Z"),
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05+01:00", "2024-01-02T02:04:05Z"),
        ] {
            assert_eq!(point(text, now), Some(expected.parse().unwrap()), "{text}");
        }
        assert!(point("2024-01-02", now).is_some());
        assert_eq!(point("soon", now), None);
    }
}
