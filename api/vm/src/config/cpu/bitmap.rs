//! Bits that are set, cleared or left as they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What becomes of the bits of a register of `BITS` bits (32 or 64), written `0b` and from the highest to the lowest: `0` and `1` are
/// put there, `x` leaves what was; bits that are not written are left too. Underscores are for the reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bitmap<const BITS: u32> {
    mask: u64,
    value: u64,
}

/// A text that is no bitmap.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is no bitmap; it must be 0b and 1 to {bits} of the characters 0, 1 and x, with underscores anywhere"
)]
pub struct NoBitmap {
    text: String,
    bits: u32,
}

impl<const BITS: u32> Bitmap<BITS> {
    /// The bits that are put there.
    #[must_use]
    pub fn mask(self) -> u64 {
        self.mask
    }

    /// What they are put to: a part of the mask.
    #[must_use]
    pub fn value(self) -> u64 {
        self.value
    }
}

impl Bitmap<32> {
    /// What becomes of `register`.
    #[must_use]
    pub fn apply(self, register: u32) -> u32 {
        // Both have 32 bits only: see `from_str`.
        let low = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
        register & !low(self.mask) | low(self.value)
    }
}

impl Bitmap<64> {
    /// What becomes of `register`.
    #[must_use]
    pub fn apply(self, register: u64) -> u64 {
        register & !self.mask | self.value
    }
}

impl<const BITS: u32> FromStr for Bitmap<BITS> {
    type Err = NoBitmap;

    fn from_str(text: &str) -> Result<Self, NoBitmap> {
        let refused = || NoBitmap {
            text: text.to_owned(),
            bits: BITS,
        };
        let digits = text.strip_prefix("0b").ok_or_else(refused)?;
        let (mut mask, mut value, mut bit) = (0, 0, 0);
        for digit in digits.bytes().rev().filter(|digit| *digit != b'_') {
            if bit == BITS {
                return Err(refused());
            }
            match digit {
                b'x' => {}
                b'0' => mask |= 1 << bit,
                b'1' => {
                    mask |= 1 << bit;
                    value |= 1 << bit;
                }
                _ => return Err(refused()),
            }
            bit += 1;
        }
        if bit == 0 {
            return Err(refused());
        }
        Ok(Self { mask, value })
    }
}

impl<const BITS: u32> fmt::Display for Bitmap<BITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0b")?;
        for bit in (0..BITS).rev() {
            let digit = match (self.mask >> bit & 1, self.value >> bit & 1) {
                (0, _) => "x",
                (_, 0) => "0",
                _ => "1",
            };
            f.write_str(digit)?;
        }
        Ok(())
    }
}

impl<const BITS: u32> TryFrom<String> for Bitmap<BITS> {
    type Error = NoBitmap;

    fn try_from(text: String) -> Result<Self, NoBitmap> {
        text.parse()
    }
}

impl<const BITS: u32> From<Bitmap<BITS>> for String {
    fn from(bitmap: Bitmap<BITS>) -> Self {
        bitmap.to_string()
    }
}
