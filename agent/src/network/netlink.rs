//! Messages of netlink(7) as bytes: requests are put together, answers are taken apart. What the kernel sends is not trusted to be
//! whole.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socket_with};

use crate::sys::read;

/// Bytes of `struct nlmsghdr`, and of an attribute's header.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;

/// More than the kernel puts into one answer.
const ANSWER: usize = 32 * 1024;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_CREATE: u16 = 0x400;

/// Bits of an attribute's kind that are no part of it.
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

/// Requests that go to the kernel together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where the last one begins.
    last: usize,
    requests: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    /// Completes "cannot ...".
    what: String,
    /// That it cannot be done means that it is done already.
    may_fail: bool,
}

impl Batch {
    /// Adds a request: its fixed part and its attributes.
    pub(super) fn add(
        &mut self,
        (kind, flags): (u16, u16),
        fixed: &[u8],
        attributes: &[(u16, &[u8])],
        what: impl FnOnce() -> String,
    ) {
        self.last = self.bytes.len();
        let sequence = u32::try_from(self.requests.len()).unwrap_or(u32::MAX);
        request(&mut self.bytes, kind, flags, sequence, fixed, attributes);
        self.requests.push(Asked {
            what: what(),
            may_fail: false,
        });
    }

    /// The last request asks for something to go away, which may be gone.
    pub(super) fn may_fail(&mut self) {
        if let Some(last) = self.requests.last_mut() {
            last.may_fail = true;
        }
    }

    /// What the requests are for, in their order.
    #[cfg(test)]
    pub(super) fn asked(&self) -> Vec<&str> {
        self.requests.iter().map(|asked| &*asked.what).collect()
    }
}

fn request(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    fixed: &[u8],
    attributes: &[(u16, &[u8])],
) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(fixed);
    for (kind, value) in attributes {
        attribute(bytes, *kind, value);
    }
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    set(bytes, start, &length.to_ne_bytes());
}

/// Appends an attribute. Values are far below the 64 KiB that one may have.
pub(super) fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Attributes within an attribute.
pub(super) fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    attribute(&mut bytes, kind | NESTED, value);
    bytes
}

fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// A message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    kind: u16,
    sequence: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// The number of the error that this says; 0 is that all went well.
    fn error(&self) -> Option<Errno> {
        let number = i32::from_ne_bytes(*self.body.first_chunk()?);
        (number != 0).then(|| Errno::from_raw_os_error(number.wrapping_neg()))
    }
}

/// The messages in an answer; what is cut off is not seen.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let whole = bytes.get(..length)?;
        let message = Message {
            kind: u16::from_ne_bytes(*whole.get(4..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*whole.get(8..)?.first_chunk()?),
            body: whole.get(HEADER..)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind the fixed part of a message.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let whole = bytes.get(..length)?;
        let kind = u16::from_ne_bytes(*whole.get(2..)?.first_chunk()?);
        let value = whole.get(ATTRIBUTE..)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND, value))
    })
}

/// A connection to the kernel.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map(Self)
    }

    /// Asks for all objects of a kind.
    pub(super) fn dump(
        &self,
        kind: u16,
        fixed: &[u8],
        attributes: &[(u16, &[u8])],
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        request(&mut bytes, kind, NLM_F_DUMP, 0, fixed, attributes);
        send(&self.0, &bytes, SendFlags::empty())?;
        loop {
            let answer = self.receive()?;
            for message in messages(&answer) {
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return message.error().map_or(Ok(()), Err),
                    _ => each(&message),
                }
            }
        }
    }

    /// Sends all requests at once; the kernel goes through them in order. Fails with what could not be done.
    pub(super) fn run<'a>(&self, batch: &'a Batch) -> Result<(), (&'a str, Errno)> {
        let (Some(last), mut bytes) = (batch.requests.last(), batch.bytes.clone()) else {
            return Ok(());
        };
        let failed = |errno| (last.what.as_str(), errno);
        // Who fails says so anyway.
        if let Some(flags) = bytes.get_mut(batch.last + 6..batch.last + 8) {
            flags[0] |= NLM_F_ACK.to_ne_bytes()[0];
        }
        send(&self.0, &bytes, SendFlags::empty()).map_err(failed)?;
        loop {
            let answer = self.receive().map_err(failed)?;
            for message in messages(&answer).filter(|message| message.kind == NLMSG_ERROR) {
                let number = usize::try_from(message.sequence).unwrap_or(usize::MAX);
                let request = batch.requests.get(number);
                if let (Some(errno), Some(request)) = (message.error(), request)
                    && !request.may_fail
                {
                    return Err((&request.what, errno));
                }
                if number + 1 == batch.requests.len() {
                    return Ok(());
                }
            }
        }
    }

    fn receive(&self) -> Result<Vec<u8>, Errno> {
        let mut answer = Vec::new();
        loop {
            match read::append(&self.0, &mut answer, ANSWER) {
                Ok(0) => return Err(Errno::CONNRESET),
                Ok(_) => return Ok(answer),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_put_together_can_be_taken_apart() {
        let mut batch = Batch::default();
        batch.add(
            (16, 0),
            &[7; 16],
            &[(3, b"eth0\0"), (4, &[1, 2, 3, 4])],
            || "a".into(),
        );
        batch.add((20, NLM_F_CREATE), &[8; 8], &[], || "b".into());
        let all: Vec<_> = messages(&batch.bytes).collect();
        assert_eq!((all[0].kind, all[0].sequence), (16, 0));
        assert_eq!((all[1].kind, all[1].sequence), (20, 1));
        assert_eq!(all[1].body, [8; 8]);
        let inside: Vec<_> = attributes(&all[0].body[16..]).collect();
        assert_eq!(inside, [(3, &b"eth0\0"[..]), (4, &[1, 2, 3, 4])]);
        let nest = nested(26, &nested(10, b"x"));
        let (kind, value) = attributes(&nest).next().unwrap();
        assert_eq!(
            (kind, attributes(value).next()),
            (26, Some((10, &b"x"[..])))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes).take(1000) {
                let _ = message.error();
                let _ = attributes(message.body).take(1000).count();
            }
        }
    }
}
