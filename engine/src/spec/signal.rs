//! Signals by name and number, as `--stop-signal` and STOPSIGNAL give them.

use thiserror::Error;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A text that names no signal.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("invalid signal: {0}")]
pub struct UnknownSignal(String);

/// The number, 1 to 64, of a signal given as `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-2`.
pub fn signal_number(text: &str) -> Result<u8, UnknownSignal> {
    let unknown = || UnknownSignal(text.to_owned());
    if let Ok(number) = text.parse::<u8>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return u8::try_from(index + 1).map_err(|_| unknown());
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest
            .strip_prefix(sign)?
            .parse::<u8>()
            .ok()
            .filter(|n| *n <= 30),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        // glibc keeps the first two real-time signals for itself, so that RTMIN is 34.
        (Some(rest), _) => offset(rest, '+').map(|n| 34 + n),
        (_, Some(rest)) => offset(rest, '-').map(|n| 64 - n),
        _ => None,
    };
    number.ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_gives_the_number() {
        for (text, number) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("9", 9),
            ("WINCH", 28),
            ("RTMIN+3", 37),
            ("SIGRTMAX", 64),
        ] {
            assert_eq!(signal_number(text), Ok(number), "{text}");
        }
        for text in [
            "", "0", "65", "-1", "SIG", "FOO", "RTMIN-1", "RTMIN+31", "RTMAX-99",
        ] {
            assert!(signal_number(text).is_err(), "{text}");
        }
    }
}
