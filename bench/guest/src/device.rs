//! A device behind the virtio-mmio transport (virtio 1.2, section 4.2).

use crate::Failure;
use crate::job::Job;
use crate::queue::Queue;

const MAGIC: u32 = 0x7472_6976;
const VERSION_1: u32 = 1; // bit 32 of the features

const DEVICE_FEATURES: usize = 0x10;
const DEVICE_FEATURES_SEL: usize = 0x14;
const DRIVER_FEATURES: usize = 0x20;
const DRIVER_FEATURES_SEL: usize = 0x24;
const QUEUE_SEL: usize = 0x30;
const QUEUE_NUM_MAX: usize = 0x34;
const QUEUE_NUM: usize = 0x38;
const QUEUE_READY: usize = 0x44;
const QUEUE_NOTIFY: usize = 0x50;
const STATUS: usize = 0x70;
const QUEUE_DESC: usize = 0x80;
const QUEUE_DRIVER: usize = 0x90;
const QUEUE_DEVICE: usize = 0xa0;
const CONFIG: usize = 0x100;

const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;

pub struct Device {
    base: usize,
}

impl Device {
    /// Finds the first device of this kind and agrees with it on nothing but version 1.
    pub fn find(id: u32, job: &Job) -> Result<Self, Failure> {
        let mut places = (0..job.count).map(|index| Self {
            base: job.base + index * job.step,
        });
        let device = places
            .find(|device| device.read(0) == MAGIC && device.read(8) == id)
            .ok_or("no such device")?;
        if device.read(4) != 2 {
            return Err("the device is a legacy one");
        }
        device.write(STATUS, 0);
        device.write(STATUS, ACKNOWLEDGE);
        device.write(STATUS, ACKNOWLEDGE | DRIVER);
        device.write(DEVICE_FEATURES_SEL, 1);
        if device.read(DEVICE_FEATURES) & VERSION_1 == 0 {
            return Err("the device does not know version 1");
        }
        device.write(DRIVER_FEATURES_SEL, 0);
        device.write(DRIVER_FEATURES, 0);
        device.write(DRIVER_FEATURES_SEL, 1);
        device.write(DRIVER_FEATURES, VERSION_1);
        device.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if device.read(STATUS) & FEATURES_OK == 0 {
            return Err("the device refuses the features");
        }
        Ok(device)
    }

    /// Gives it a queue.
    pub fn set_up(&self, index: u32, queue: &Queue) -> Result<(), Failure> {
        self.write(QUEUE_SEL, index);
        let most = self.read(QUEUE_NUM_MAX) as usize;
        if most < crate::queue::SIZE {
            return Err("the device's queues are too short");
        }
        self.write(QUEUE_NUM, crate::queue::SIZE as u32);
        for (register, address) in [
            (QUEUE_DESC, queue.descriptors()),
            (QUEUE_DRIVER, queue.available()),
            (QUEUE_DEVICE, queue.used()),
        ] {
            self.write(register, address as u32);
            self.write(register + 4, (address as u64 >> 32) as u32);
        }
        self.write(QUEUE_READY, 1);
        Ok(())
    }

    /// The queues are set up.
    pub fn start(&self) {
        self.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// There is something in this queue.
    pub fn notify(&self, queue: u32) {
        self.write(QUEUE_NOTIFY, queue);
    }

    /// A register of the device's own configuration.
    pub fn config(&self, offset: usize) -> u32 {
        self.read(CONFIG + offset)
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: all addresses below 4 GiB are mapped; what nothing answers reads as some number.
        unsafe { ((self.base + register) as *const u32).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: the command line says that virtio-mmio registers are here; what they do to memory is the queues' business.
        unsafe { ((self.base + register) as *mut u32).write_volatile(value) }
    }
}
