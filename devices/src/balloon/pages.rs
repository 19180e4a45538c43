//! The pages that requests name, and other contents of their buffers.

use super::config::PAGE_SIZE;
use crate::iov::Span;
use crate::queue::total_len;
use crate::reclaim::Ranges;
use crate::{Chain, GuestMemory};

/// The most pages in one request for inflation. Linux names 256 at once, other drivers up to 1024.
const MAX_PFNS: u64 = 16 << 10;
/// Bytes of a page's number.
const PFN: u64 = 4;

/// The pages whose numbers are in a request; false if some were left out.
pub(super) fn numbered(ranges: &mut Ranges, memory: &GuestMemory, chain: &Chain) -> bool {
    let pages = Span::all(memory, chain.readable());
    let count = total_len(chain.readable()) / PFN;
    let mut chunk = [0; 4096];
    let mut done = 0;
    while done < count.min(MAX_PFNS) {
        let rest = pages.part(done * PFN, (count.min(MAX_PFNS) - done) * PFN);
        let numbers = match rest.copy_out(&mut chunk) {
            Ok(bytes @ 4..) => chunk.get(..bytes).unwrap_or_default().chunks_exact(4),
            _ => return false,
        };
        for number in numbers {
            let number = <[u8; 4]>::try_from(number).map_or(0, u32::from_le_bytes);
            ranges.add(u64::from(number) * PAGE_SIZE, PAGE_SIZE);
            done += 1;
        }
    }
    count <= MAX_PFNS
}

/// The free pages that a request's writable buffers are.
pub(super) fn free(ranges: &mut Ranges, chain: &Chain) {
    for segment in chain.writable() {
        ranges.add(segment.addr.0, segment.len.into());
    }
}

/// A request of the hinting queue has something that is no command.
pub(super) struct NoCommand;

/// The command in a request of the hinting queue, if there is one.
pub(super) fn command(memory: &GuestMemory, chain: &Chain) -> Result<Option<u32>, NoCommand> {
    if chain.readable().is_empty() {
        return Ok(None);
    }
    let mut command = [0; 4];
    match Span::all(memory, chain.readable()).copy_out(&mut command) {
        Ok(4) => Ok(Some(u32::from_le_bytes(command))),
        _ => Err(NoCommand),
    }
}
