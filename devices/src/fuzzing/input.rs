//! The bytes of a fuzzer, taken from the front as numbers. When they are over, all numbers are zero.

/// Values at which something tends to end.
const EDGES: [u64; 16] = [
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    (1 << 63) - 1,
    1 << 32,
    (1 << 32) - 1,
    1 << 31,
    (1 << 31) - 1,
    1 << 20,
    0xffff,
    0x1_0000,
    4095,
    4096,
    1024,
    512,
    255,
];

/// What is left of the bytes.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// One byte that stands for a number: itself if it is small, else one of the edges.
    pub(super) fn number(&mut self) -> u64 {
        let byte = self.u8();
        match byte.checked_sub(240) {
            None => byte.into(),
            Some(edge) => EDGES[usize::from(edge)],
        }
    }

    /// The same for fields of 32 bits.
    pub(super) fn short_number(&mut self) -> u32 {
        u32::try_from(self.number() & 0xffff_ffff).unwrap()
    }

    pub(super) fn flip(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.u8()) % end.max(1)
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Up to `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes whose number the next byte says.
    pub(super) fn literal(&mut self) -> &'a [u8] {
        let len = self.u8();
        self.take(len.into())
    }
}
