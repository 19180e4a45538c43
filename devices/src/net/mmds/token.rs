//! Session tokens that need no memory: each carries the time at which it ends, and a proof that it was issued here.
//!
//! The proof is an HMAC-SHA-256 (RFC 2104) under a key that no other microVM has and no snapshot holds. So a guest can ask
//! for as many as it likes, and those from before a restore are worth nothing.

use std::io;
use std::time::Duration;

use rustix::rand::GetRandomFlags;
use sha2::{Digest, Sha256};

/// Bytes of SHA-256's block, and of its result.
const BLOCK: usize = 64;
const PROOF: usize = 32;
/// Bytes of the time.
const TIME: usize = 8;
/// The longest life of a token, in seconds: six hours.
const MAX_TTL: u64 = 21_600;

/// A time to live that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token lives for 1 to {MAX_TTL} seconds")]
pub(super) struct InvalidTtl;

/// Issues tokens and knows its own again.
pub(super) struct Tokens {
    key: [u8; BLOCK],
}

impl Tokens {
    pub(super) fn new() -> io::Result<Self> {
        let mut key = [0; BLOCK];
        let count = rustix::rand::getrandom(&mut key, GetRandomFlags::empty())?;
        if count != BLOCK {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { key })
    }

    /// A token that is good for `ttl` seconds, as a guest writes them.
    pub(super) fn issue(&self, ttl: &str, now: Duration) -> Result<String, InvalidTtl> {
        let is_number = ttl.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = ttl.parse::<u64>().map_err(|_| InvalidTtl)?;
        if !is_number || !(1..=MAX_TTL).contains(&seconds) {
            return Err(InvalidTtl);
        }
        let end = now.saturating_add(Duration::from_secs(seconds)).as_nanos();
        let end = u64::try_from(end).unwrap_or(u64::MAX).to_be_bytes();
        let mut token = [0; TIME + PROOF];
        token[..TIME].copy_from_slice(&end);
        token[TIME..].copy_from_slice(&prove(&self.key, &end));
        Ok(hex::encode(token))
    }

    pub(super) fn is_valid(&self, token: &str, now: Duration) -> bool {
        let mut bytes = [0; TIME + PROOF];
        if hex::decode_to_slice(token, &mut bytes).is_err() {
            return false;
        }
        let (end, given) = bytes.split_at(TIME);
        // All bytes are compared, so that the time it takes tells nothing.
        let wrong = prove(&self.key, end)
            .iter()
            .zip(given)
            .fold(0, |wrong, (a, b)| wrong | (a ^ b));
        let end = end.iter().fold(0, |end, byte| end << 8 | u64::from(*byte));
        wrong == 0 && u128::from(end) > now.as_nanos()
    }
}

/// HMAC-SHA-256 with a key of exactly one block.
pub(super) fn prove(key: &[u8; BLOCK], message: &[u8]) -> [u8; PROOF] {
    let inner = Sha256::new()
        .chain_update(key.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(key.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}
