//! Who answers at which address: one bus for I/O ports, one for memory without RAM behind it.
//!
//! A bus is complete before the first vCPU runs and does not change afterwards, so vCPUs look up without a lock; what the
//! device that they find locks is its own business.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Registers that vCPUs read and write. Offsets count from where the device sits; a guest chooses offset and size, so
/// anything must be expected, but `data` always lies within the device's range and has 1 to 8 bytes.
pub trait Registers: Send + Sync {
    /// Fills `data` with what is at `offset`.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Takes what the guest wrote at `offset`.
    fn write(&self, offset: u64, data: &[u8]);
}

/// Devices by address.
#[derive(Default)]
pub struct Bus {
    /// In order of their addresses, none overlapping.
    slots: Vec<Slot>,
}

struct Slot {
    range: Range<u64>,
    device: Arc<dyn Registers>,
}

/// Two devices want the same address.
#[derive(Debug, thiserror::Error)]
#[error("two devices want the addresses {wanted:#x?} and {taken:#x?}, which overlap")]
pub struct Overlap {
    wanted: Range<u64>,
    taken: Range<u64>,
}

impl Bus {
    /// Puts a device at a range of addresses.
    ///
    /// # Errors
    /// If another device is there.
    pub fn attach(&mut self, range: Range<u64>, device: Arc<dyn Registers>) -> Result<(), Overlap> {
        let overlaps = |slot: &&Slot| slot.range.start < range.end && range.start < slot.range.end;
        if let Some(slot) = self.slots.iter().find(overlaps) {
            return Err(Overlap {
                wanted: range,
                taken: slot.range.clone(),
            });
        }
        let at = self
            .slots
            .partition_point(|slot| slot.range.start < range.start);
        self.slots.insert(at, Slot { range, device });
        Ok(())
    }

    /// Reads for a guest. Where no device is, all bits are set and the answer is false.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        let Some((slot, offset)) = self.find(address, data.len()) else {
            data.fill(0xff);
            return false;
        };
        slot.device.read(offset, data);
        true
    }

    /// Writes for a guest. Where no device is, nothing happens and the answer is false.
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        let Some((slot, offset)) = self.find(address, data.len()) else {
            return false;
        };
        slot.device.write(offset, data);
        true
    }

    fn find(&self, address: u64, len: usize) -> Option<(&Slot, u64)> {
        let after = self
            .slots
            .partition_point(|slot| slot.range.start <= address);
        let slot = self.slots.get(after.checked_sub(1)?)?;
        let end = address.checked_add(u64::try_from(len).ok()?)?;
        (end <= slot.range.end).then(|| (slot, address - slot.range.start))
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.slots.iter().map(|slot| &slot.range))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers with its own number and the offset.
    struct Echo(u8, Mutex<Vec<(u64, usize)>>);

    impl Registers for Echo {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(self.0 + u8::try_from(offset).unwrap());
        }
        fn write(&self, offset: u64, data: &[u8]) {
            self.1.lock().unwrap().push((offset, data.len()));
        }
    }

    fn read(bus: &Bus, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut data = vec![0; len];
        let found = bus.read(address, &mut data);
        if !found {
            assert!(data.iter().all(|b| *b == 0xff));
        }
        found.then_some(data)
    }

    #[test]
    fn an_access_reaches_the_device_that_holds_all_of_it() {
        let high = Arc::new(Echo(100, Mutex::default()));
        let mut bus = Bus::default();
        bus.attach(0x1000..0x1010, high.clone()).unwrap();
        bus.attach(0x10..0x18, Arc::new(Echo(1, Mutex::default())))
            .unwrap();

        assert_eq!(read(&bus, 0x12, 1), Some(vec![3]));
        assert_eq!(read(&bus, 0x100f, 1), Some(vec![115]));
        assert_eq!(read(&bus, 0x17, 2), None);
        assert_eq!(read(&bus, 0xf, 1), None);
        assert_eq!(read(&bus, 0x18, 1), None);
        assert_eq!(read(&bus, u64::MAX, 8), None);
        assert!(bus.write(0x1008, &[0; 8]));
        assert!(!bus.write(0x1009, &[0; 8]));
        assert_eq!(*high.1.lock().unwrap(), [(8, 8)]);
    }

    #[test]
    fn devices_cannot_share_an_address() {
        let device = || Arc::new(Echo(0, Mutex::default()));
        let mut bus = Bus::default();
        bus.attach(0x10..0x20, device()).unwrap();
        for range in [0x1f..0x20, 0x0..0x11, 0x12..0x13, 0x0..0x100] {
            assert!(bus.attach(range, device()).is_err());
        }
        bus.attach(0x20..0x21, device()).unwrap();
    }
}
