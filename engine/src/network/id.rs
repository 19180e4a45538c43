//! Identifiers of networks and endpoints: eight random hexadecimal digits.
//!
//! They are short because the kernel's names of interfaces, which contain them, have at most 15 bytes, and of one
//! alphabet because they stand in file names and in nftables' language.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// Eight random bytes.
pub(crate) fn random_bytes() -> io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn is_id(text: &str) -> bool {
    text.len() == 8
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            pub(crate) fn random() -> io::Result<Self> {
                let [a, b, c, d, ..] = random_bytes()?;
                Ok(Self(hex::encode([a, b, c, d])))
            }

            /// The eight digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                if is_id(&text) { Ok(Self(text)) } else { Err("an identifier is eight hexadecimal digits") }
            }
        }
    };
}

identifier! {
    /// Names a network for good.
    NetworkId
}
identifier! {
    /// Names an endpoint for good.
    EndpointId
}

impl NetworkId {
    /// The name of the network's bridge.
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("hull-{self}")
    }
}

impl EndpointId {
    /// The name of the endpoint's TAP.
    #[must_use]
    pub fn tap(&self) -> String {
        format!("hullt-{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_fit_the_kernel_and_identifiers_are_of_one_alphabet() {
        let (network, endpoint) = (NetworkId::random().unwrap(), EndpointId::random().unwrap());
        assert!(network.bridge().len() <= 15 && endpoint.tap().len() <= 15);
        for wrong in [
            "",
            "0123456",
            "0123456789",
            "0123456G",
            "../../et",
            "0123456 ",
        ] {
            assert!(NetworkId::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
        assert_eq!(NetworkId::try_from(network.to_string()), Ok(network));
    }
}
