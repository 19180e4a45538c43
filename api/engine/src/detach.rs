//! The keys that end an attachment to a terminal and leave its program alone.

use thiserror::Error;

/// What is no sequence of keys.
#[derive(Debug, Error)]
#[error(
    "Invalid escape keys ({0}) provided: characters, or ctrl- with one of a-z @ [ \\ ] ^ _, are expected"
)]
pub struct InvalidKeys(String);

/// A sequence of keys, watched for in what is typed.
#[derive(Clone, Debug)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them came last.
    seen: usize,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q`, `a`, `ctrl-@,x`; nothing means Docker's default.
    ///
    /// # Errors
    /// When a part is neither a character nor `ctrl-` with one that has a control code.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        if text.is_empty() {
            let keys = vec![0x10, 0x11];
            return Ok(Self { keys, seen: 0 });
        }
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        match keys {
            Some(keys) => Ok(Self { keys, seen: 0 }),
            None => Err(InvalidKeys(text.to_owned())),
        }
    }

    /// Takes what was typed; what of it is for the program goes to `out`. True at the last key of the sequence.
    pub fn pass(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in typed {
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return true;
                }
                continue;
            }
            // What was held back was not the sequence, but its first key may begin another one.
            out.extend(self.keys.iter().take(self.seen));
            self.seen = 0;
            if self.keys.first() == Some(byte) {
                self.seen = 1;
                if self.keys.len() == 1 {
                    return true;
                }
            } else {
                out.push(*byte);
            }
        }
        false
    }
}

fn key(text: &str) -> Option<u8> {
    match (
        text.as_bytes(),
        text.strip_prefix("ctrl-").map(str::as_bytes),
    ) {
        ([key], _) => Some(*key),
        (_, Some([letter @ (b'a'..=b'z')])) => Some(letter - b'a' + 1),
        (_, Some(b"@")) => Some(0),
        (_, Some([sign @ b'['..=b'_'])) => Some(sign - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_are_read() {
        let keys = |text| DetachKeys::parse(text).map(|keys| keys.keys).ok();
        assert_eq!(keys(""), Some(vec![16, 17]));
        assert_eq!(keys("ctrl-p,ctrl-q"), Some(vec![16, 17]));
        assert_eq!(
            keys("a,ctrl-@,ctrl-[,ctrl-\\,ctrl-_"),
            Some(vec![b'a', 0, 27, 28, 31])
        );
        for text in ["ctrl-", "ctrl-A", "ctrl-1", "ab", ",", "ctrl-pp"] {
            assert_eq!(keys(text), None, "{text}");
        }
    }

    #[test]
    fn the_sequence_is_found_and_all_else_passes() {
        let mut keys = DetachKeys::parse("").unwrap();
        let mut out = Vec::new();
        assert!(!keys.pass(b"a\x10", &mut out));
        assert_eq!(out, b"a");
        assert!(!keys.pass(b"b\x10\x10", &mut out));
        assert_eq!(out, b"a\x10b\x10");
        assert!(keys.pass(b"\x11after", &mut out));
        assert_eq!(out, b"a\x10b\x10");
    }

    proptest! {
        #[test]
        fn without_the_sequence_nothing_is_lost(chunks in prop::collection::vec(prop::collection::vec(0_u8..0x12, 0..8), 0..8)) {
            let mut keys = DetachKeys::parse("").unwrap();
            let (all, mut out) = (chunks.concat(), Vec::new());
            let detached = chunks.iter().any(|chunk| keys.pass(chunk, &mut out));
            let sequence = all.windows(2).position(|pair| pair == [0x10, 0x11]);
            prop_assert_eq!(detached, sequence.is_some());
            let end = sequence.unwrap_or(all.len() - keys.seen);
            prop_assert_eq!(&out, &all[..end]);
        }
    }
}
