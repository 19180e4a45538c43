//! Container identifiers: 64 hexadecimal digits, as Docker's.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// 32 random bytes in lower-case hexadecimal. What is not of that form is no `ContainerId`, so one
/// can be joined to a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// A new identifier from the kernel's random numbers.
    pub(crate) fn random() -> io::Result<Self> {
        random().map(Self)
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people and for short paths.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// 64 hexadecimal digits from the kernel's random numbers.
pub(crate) fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

impl TryFrom<String> for ContainerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(hexadecimal) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{text:?} is no container id: 64 hexadecimal digits are expected"
            ))
        }
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_valid_and_differ() {
        let (one, two) = (
            ContainerId::random().unwrap(),
            ContainerId::random().unwrap(),
        );
        assert_ne!(one, two);
        assert_eq!(
            ContainerId::try_from(one.as_str().to_owned()),
            Ok(one.clone())
        );
        assert_eq!(one.short().len(), 12);
    }

    #[test]
    fn what_could_leave_a_directory_is_no_id() {
        for text in [
            "",
            "..",
            "../etc",
            &"g".repeat(64),
            &"A".repeat(64),
            &"a".repeat(63),
        ] {
            assert!(ContainerId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
