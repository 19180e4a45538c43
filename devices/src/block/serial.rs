//! A disk's serial number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of a serial number (virtio 1.2, section 5.2.6).
pub(super) const SERIAL_BYTES: usize = 20;

/// What the guest reads as the disk's serial number: up to 20 characters of printable ASCII. Linux shows it in
/// `/sys/block/vda/serial`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

/// The text is too long, or has other characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no serial number: use up to 20 letters, digits and signs of ASCII")]
pub struct BadSerial(String);

impl Serial {
    /// A serial number.
    ///
    /// # Errors
    /// [`BadSerial`] if the text is too long, or not printable ASCII.
    pub fn new(text: impl Into<String>) -> Result<Self, BadSerial> {
        let text = text.into();
        if text.len() <= SERIAL_BYTES && text.bytes().all(is_good) {
            Ok(Self(text))
        } else {
            Err(BadSerial(text))
        }
    }

    /// What of a text fits a serial number: its first 20 good characters.
    #[must_use]
    pub fn from_start_of(text: &str) -> Self {
        let good = text.chars().filter(|c| u8::try_from(*c).is_ok_and(is_good));
        Self(good.take(SERIAL_BYTES).collect())
    }

    /// Filled up with zeros.
    pub(super) fn bytes(&self) -> [u8; SERIAL_BYTES] {
        let mut bytes = [0; SERIAL_BYTES];
        for (place, byte) in bytes.iter_mut().zip(self.0.bytes()) {
            *place = byte;
        }
        bytes
    }
}

fn is_good(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Serial {
    type Error = BadSerial;

    fn try_from(text: String) -> Result<Self, BadSerial> {
        Self::new(text)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.0
    }
}
