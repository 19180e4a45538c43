//! What a person says of the root file system, where it is not found out.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SpecError;

/// The device with the root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootSpec(String);

impl FromStr for RootSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for RootSpec {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        let number = text.bytes().all(|byte| byte.is_ascii_digit());
        let bad = match number {
            true => !text.parse().is_ok_and(|number: u8| number > 0),
            false => text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"'),
        };
        if bad {
            return Err(SpecError::Root(text));
        }
        Ok(Self(text))
    }
}

impl From<RootSpec> for String {
    fn from(root: RootSpec) -> Self {
        root.0
    }
}

impl RootSpec {
    /// As Linux takes it.
    pub(super) fn device(&self) -> String {
        match self.0.parse::<u8>() {
            Ok(number) => format!("/dev/vda{number}"),
            Err(_) => self.0.clone(),
        }
    }
}
