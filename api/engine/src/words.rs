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

/// A moment as the API takes it, of those that [`hull_image::moment`] knows.
///
/// # Errors
/// When it is none of these.
pub(crate) fn moment(text: &str) -> Result<Timestamp, ApiError> {
    hull_image::moment(text, Timestamp::now()).ok_or_else(|| {
        ApiError::invalid(format!(
            "failed to parse {text:?} as a time: seconds since 1970, RFC 3339 or a duration such as 10m is expected"
        ))
    })
}

#[cfg(test)]
mod tests {
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
    fn log_lines_have_times_of_one_length() {
        let time = Timestamp::new(1_600_000_000, 1_000).unwrap();
        assert_eq!(fixed_time(time), "2020-09-13T12:26:40.000001000Z");
    }
}
