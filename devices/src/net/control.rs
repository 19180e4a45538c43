//! The control queue's commands (virtio 1.2, section 5.1.6.5).

use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
    VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET,
    VIRTIO_NET_CTRL_MAC_TABLE_SET, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
    VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_ERR,
    VIRTIO_NET_OK,
};

use super::config::MacAddress;
use super::frame::at;
use crate::iov::Span;
use crate::queue::total_len;
use crate::worker::Outcome;
use crate::{Chain, GuestMemory};

/// The longest command that is taken: a table of 680 addresses.
const MAX_COMMAND: usize = 4096;

/// What a driver can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Whether all frames, or all to groups, are wanted.
    ReceiveMode,
    /// Which frames are wanted.
    ReceiveTable,
    /// Another address.
    SetMac(MacAddress),
    /// The announcement is on its way.
    AckAnnounce,
    /// How many pairs of queues it uses.
    SetPairs(u16),
    /// Which offloads it takes now.
    SetOffloads(u64),
}

impl Command {
    /// A command's class, number and data; none if it is not known, or is not as long as it must be.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [class, number] = at(bytes, 0)?;
        let data = bytes.get(2..)?;
        match (class.into(), number.into()) {
            (VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC | VIRTIO_NET_CTRL_RX_ALLMULTI) => {
                exactly::<1>(data).map(|_| Self::ReceiveMode)
            }
            (VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET) => {
                let groups = skip_addresses(data)?;
                let rest = skip_addresses(groups)?;
                rest.is_empty().then_some(Self::ReceiveTable)
            }
            (VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET) => {
                let mac = MacAddress(exactly(data)?);
                mac.is_station().then_some(Self::SetMac(mac))
            }
            (VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK) => {
                data.is_empty().then_some(Self::AckAnnounce)
            }
            (VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET) => {
                Some(Self::SetPairs(u16::from_le_bytes(exactly(data)?)))
            }
            (VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET) => {
                Some(Self::SetOffloads(u64::from_le_bytes(exactly(data)?)))
            }
            _ => None,
        }
    }
}

/// Takes a command out of the queue and answers it: with OK, if `obey` says that it is done.
pub(super) fn serve(
    memory: &GuestMemory,
    chain: &Chain,
    obey: impl FnOnce(Command) -> bool,
) -> Outcome {
    let answer = Span::all(memory, chain.writable());
    if total_len(chain.writable()) == 0 || total_len(chain.readable()) > to_u64(MAX_COMMAND) {
        // Nobody wants to know, or it is no command.
        return reply(answer, false);
    }
    let mut bytes = [0; MAX_COMMAND];
    let command = Span::all(memory, chain.readable())
        .copy_out(&mut bytes)
        .ok()
        .and_then(|len| Command::parse(bytes.get(..len)?));
    reply(answer, command.is_some_and(obey))
}

fn reply(answer: Span<'_>, is_done: bool) -> Outcome {
    let code = if is_done {
        VIRTIO_NET_OK
    } else {
        VIRTIO_NET_ERR
    };
    match answer.copy_in(&[u8::try_from(code).unwrap_or(1)]) {
        Ok(count) => Outcome::Used(crate::worker::written(count)),
        Err(_) => Outcome::Used(0),
    }
}

/// What follows a count and as many addresses.
fn skip_addresses(data: &[u8]) -> Option<&[u8]> {
    let count = usize::try_from(u32::from_le_bytes(at(data, 0)?)).ok()?;
    data.get(count.checked_mul(6)?.checked_add(4)?..)
}

fn exactly<const N: usize>(data: &[u8]) -> Option<[u8; N]> {
    data.try_into().ok()
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
