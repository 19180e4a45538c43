//! The beginning of a frame: virtio's header (virtio 1.2, section 5.1.6) and Ethernet's.

use virtio_bindings::bindings::virtio_net::VIRTIO_NET_HDR_F_NEEDS_CSUM;

/// Bytes of `struct virtio_net_hdr` with `num_buffers`, which VERSION_1 always has.
pub(super) const HEADER: usize = 12;
/// Where `num_buffers` is in it.
pub(super) const NUM_BUFFERS: u64 = 10;
/// Bytes of an Ethernet header without tags.
pub(super) const ETHERNET: usize = 14;
/// The longest frame: 64 KiB that a TAP hands over as one segment, Ethernet's header, a VLAN tag.
pub(super) const MAX_FRAME: usize = 65_536 + ETHERNET + 4;
/// How much of a frame from the guest is copied and looked at, with virtio's header: IPv6 with some extension headers and
/// a neighbour advertisement, or IPv4 with all its options.
pub(super) const HEAD: usize = 256;

pub(super) const IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const ARP: [u8; 2] = [0x08, 0x06];
pub(super) const IPV6: [u8; 2] = [0x86, 0xdd];

/// A checksum that whoever sends the frame is still to fill in: bytes from the beginning of the Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where the checksummed part begins.
    pub start: usize,
    /// Where the checksum goes, from there.
    pub offset: usize,
}

/// What virtio's header says of a checksum.
pub(super) fn checksum(header: &[u8]) -> Option<Checksum> {
    let [flags] = at(header, 0)?;
    let needed = u32::from(flags) & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0;
    needed.then_some(Checksum {
        start: u16::from_le_bytes(at(header, 6)?).into(),
        offset: u16::from_le_bytes(at(header, 8)?).into(),
    })
}

/// `N` bytes at an offset, if they are there.
pub(super) fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    let end = offset.checked_add(N)?;
    bytes.get(offset..end)?.try_into().ok()
}
