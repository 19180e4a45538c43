//! What there is to do, from the command line.

use crate::Failure;
use crate::queue;

/// The longest request, in bytes.
pub const MAX_SIZE: usize = 64 << 10;
/// Most requests at once.
pub const MAX_DEPTH: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    BlockRead,
    BlockWrite,
    NetTransmit,
    NetReceive,
}

pub struct Job {
    pub kind: Kind,
    /// Requests in all.
    pub ops: u32,
    /// Bytes in each.
    pub size: usize,
    /// Requests for each notification.
    pub depth: usize,
    /// Where the first virtio-mmio device can be.
    pub base: usize,
    /// How far the next one is.
    pub step: usize,
    /// How many there can be.
    pub count: usize,
}

impl Job {
    pub fn parse(line: &str) -> Result<Self, Failure> {
        let value = |name: &str| {
            let mut words = line.split_ascii_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let number = |name| {
            value(name)
                .and_then(parse_number)
                .ok_or("a number is missing")
        };
        let kind = match value("job") {
            Some("block-read") => Kind::BlockRead,
            Some("block-write") => Kind::BlockWrite,
            Some("net-tx") => Kind::NetTransmit,
            Some("net-rx") => Kind::NetReceive,
            _ => return Err("no such job"),
        };
        let job = Self {
            kind,
            ops: u32::try_from(number("ops")?).map_err(|_| "too many operations")?,
            size: number("size")?,
            depth: number("depth")?,
            base: number("base")?,
            step: number("step")?,
            count: number("count")?,
        };
        let depths = 1..=MAX_DEPTH.min(queue::SIZE / 3);
        if !depths.contains(&job.depth) || !(1..=MAX_SIZE).contains(&job.size) {
            return Err("depth or size is out of range");
        }
        Ok(job)
    }
}

fn parse_number(text: &str) -> Option<usize> {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
