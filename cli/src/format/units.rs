//! Sizes and times in Docker's words.

pub(crate) use hull_engine_api::duration;
use jiff::Timestamp;

/// `1234567` is `1.23MB`: powers of 1000, three digits.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes, 1000, 3, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `1234567` is `1.177MiB`: powers of 1024, four digits.
pub(crate) fn memory(bytes: u64) -> String {
    scaled(
        bytes,
        1024,
        4,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
    )
}

/// With so many digits, and no zeros behind the point.
fn scaled(bytes: u64, base: u32, digits: usize, units: &[&str]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut value = bytes as f64;
    let mut at = 0;
    while value >= f64::from(base) && at + 1 < units.len() {
        value /= f64::from(base);
        at += 1;
    }
    let unit = units.get(at).copied().unwrap_or_default();
    let whole = format!("{value:.0}").len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

/// How long ago: `3 minutes`, `About an hour`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_or_four_digits_and_a_unit() {
        for (bytes, decimal, binary) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1000, "1kB", "1000B"),
            (1536, "1.54kB", "1.5KiB"),
            (4_269_000, "4.27MB", "4.071MiB"),
            (82_100_000, "82.1MB", "78.3MiB"),
            (536_870_912, "537MB", "512MiB"),
            (u64::MAX, "18.4EB", "16EiB"),
        ] {
            assert_eq!(size(bytes), decimal);
            assert_eq!(memory(bytes), binary);
        }
    }
}
