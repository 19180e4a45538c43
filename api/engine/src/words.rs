//! Times, durations and sizes in Docker's words.

use jiff::{SignedDuration, Timestamp};

use crate::error::ApiError;

/// How Go writes a time that was never set.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339, or [`NEVER`].
pub(crate) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

/// RFC 3339 with all nine digits, so that lines are of one length.
pub(crate) fn fixed_time(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// How long something took, or takes, as `docker ps` says it.
#[must_use]
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (duration.as_secs_f64() / 3600.0).round());
    // Hours are small here, or the branch below is not reached with them.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, which is as good as exact here"
    )]
    let hours = hours as i64;
    if seconds < 1 {
        "Less than a second".to_owned()
    } else if seconds == 1 {
        "1 second".to_owned()
    } else if seconds < 60 {
        format!("{seconds} seconds")
    } else if minutes == 1 {
        "About a minute".to_owned()
    } else if minutes < 60 {
        format!("{minutes} minutes")
    } else if hours == 1 {
        "About an hour".to_owned()
    } else if hours < 48 {
        format!("{hours} hours")
    } else if hours < 24 * 7 * 2 {
        format!("{} days", hours / 24)
    } else if hours < 24 * 30 * 2 {
        format!("{} weeks", hours / 24 / 7)
    } else if hours < 24 * 365 * 2 {
        format!("{} months", hours / 24 / 30)
    } else {
        format!("{} years", seconds / 3600 / 24 / 365)
    }
}

/// Bytes in powers of 1000, with four digits at most, as Docker's progress bars have them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        value if unit == 0 || value >= 1000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", UNITS[unit])
}

/// A moment as the API takes it: seconds since 1970 with a fraction, RFC 3339 with or without a zone or time, or how long ago (`10m`,
/// `1h30m`).
///
/// # Errors
/// When it is none of these.
pub(crate) fn moment(text: &str) -> Result<Timestamp, ApiError> {
    parse_moment(text, Timestamp::now()).ok_or_else(|| {
        ApiError::invalid(format!(
            "failed to parse {text:?} as a time: seconds since 1970, RFC 3339 or a duration such as 10m is expected"
        ))
    })
}

fn parse_moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(unix) = unix(text) {
        return Some(unix);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // Without a zone it is in the daemon's, which is UTC for all that it shows.
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return time
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|time| time.timestamp());
    }
    now.checked_sub(go_duration(text)?).ok()
}

fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds.strip_prefix('-').unwrap_or(seconds)) || !digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `300ms`.
pub(crate) fn go_duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    if text.is_empty() {
        return None;
    }
    SignedDuration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_said_as_docker_says_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (24 * 3600 * 3, "3 days"),
            (24 * 3600 * 15, "2 weeks"),
            (24 * 3600 * 90, "3 months"),
            (24 * 3600 * 800, "2 years"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn sizes_have_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1536, "1.536kB"),
            (12_345_678, "12.35MB"),
            (100_000_000_000, "100GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn moments_are_read_in_every_spelling() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let parse = |text| parse_moment(text, now);
        assert_eq!(
            parse("1600000000"),
            Timestamp::from_second(1_600_000_000).ok()
        );
        assert_eq!(
            parse("1600000000.5"),
            Timestamp::new(1_600_000_000, 500_000_000).ok()
        );
        assert_eq!(
            parse("1600000000.000000001"),
            Timestamp::new(1_600_000_000, 1).ok()
        );
        assert_eq!(
            parse("2020-09-13T12:26:40Z"),
            Timestamp::from_second(1_600_000_000).ok()
        );
        assert_eq!(
            parse("2020-09-13T14:26:40+02:00"),
            Timestamp::from_second(1_600_000_000).ok()
        );
        assert_eq!(
            parse("2020-09-13T12:26:40"),
            Timestamp::from_second(1_600_000_000).ok()
        );
        assert_eq!(
            parse("2020-09-13"),
            Timestamp::from_second(1_599_955_200).ok()
        );
        assert_eq!(parse("10m"), Timestamp::from_second(1_699_999_400).ok());
        assert_eq!(parse("1h30m"), Timestamp::from_second(1_699_994_600).ok());
        for text in ["", "yesterday", "10", "10x", ".", "m", "1..5s"] {
            assert_eq!(parse(text).is_some(), text == "10", "{text}");
        }
    }

    #[test]
    fn log_lines_have_times_of_one_length() {
        let time = Timestamp::new(1_600_000_000, 1_000).unwrap();
        assert_eq!(fixed_time(time), "2020-09-13T12:26:40.000001000Z");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_moment(&text, Timestamp::UNIX_EPOCH);
        }
    }
}
