//! What a container may be called on a network.

use thiserror::Error;

/// A text that is no host name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("invalid hostname format: {0}")]
pub struct InvalidHostname(String);

/// Accepts up to 63 letters, digits, `-`, `_` and `.` (RFC 1123 and Docker's leniency): the text also
/// goes into `/etc/hosts`, so nothing else may.
pub(crate) fn check(name: &str) -> Result<(), InvalidHostname> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() <= 63 && name.split('.').all(label) {
        Ok(())
    } else {
        Err(InvalidHostname(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_names_pass() {
        for good in ["tiny", "a.b-c.d", "db_1", "0"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a..b", "a b", "a\n127.0.0.1 b", &"a".repeat(64)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
