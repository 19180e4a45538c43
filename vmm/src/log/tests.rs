use std::io::Read;

use super::*;

#[test]
fn a_day_has_its_date() {
    for (days, expected) in [
        (0, (1970, 1, 1)),
        (58, (1970, 2, 28)),
        (59, (1970, 3, 1)),
        (364, (1970, 12, 31)),
        (789, (1972, 2, 29)),
        (10_956, (1999, 12, 31)),
        (11_016, (2000, 2, 29)),
        (20_787, (2026, 11, 30)),
        (47_540, (2100, 2, 28)),
        (47_541, (2100, 3, 1)),
        (157_113, (2400, 2, 29)),
    ] {
        assert_eq!(date(days), expected, "day {days}");
    }
}

#[test]
fn an_event_is_one_line_whatever_it_names() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let settings = Logger {
        level: Level::Info,
        show_level: true,
        ..Logger::default()
    };
    change(&settings, Some(writer.into()));
    let id = "vm1".to_owned();
    tracing::subscriber::with_default(Log { id }, || {
        tracing::debug!("nobody asked for this");
        tracing::info!(size = 3, name = "d\n", "a disk of {}", "x\n\u{1b}[31m");
        let _entered = tracing::info_span!("a span").entered();
        tracing::warn!(error = %io::Error::from(io::ErrorKind::NotFound));
    });
    let stderr = io::stderr().as_fd().try_clone_to_owned().unwrap();
    change(&Logger::default(), Some(stderr.into()));
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let words: Vec<_> = lines.iter().map(|(_, words)| *words).collect();
    assert_eq!(
        words,
        [
            r#"[vm1 INFO] a disk of x\n\u{1b}[31m size=3 name="d\n""#,
            "[vm1 WARN] error=entity not found",
        ]
    );
    for (time, _) in lines {
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }
}
