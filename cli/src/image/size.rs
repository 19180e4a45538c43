//! Sizes as Docker prints them: decimal, three digits, no space.

/// `1234567` is `1.23MB`.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    // Hundredths of the unit, to stay with integers.
    let mut hundredths = u128::from(bytes) * 100 / 1000;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    while hundredths >= 100_000 {
        let Some(larger) = units.next() else { break };
        hundredths /= 1000;
        unit = larger;
    }
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{rest:02}{unit}"),
        10..100 => format!("{whole}.{}{unit}", rest / 10),
        _ => format!("{whole}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn three_digits_and_a_unit() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (4_269_000, "4.26MB"),
            (82_100_000, "82.1MB"),
            (999_999_999, "999MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
