//! The behaviour of virtio-blk.

use virtio_bindings::bindings::virtio_blk::{VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH};

use super::config::{self, BlockConfig, CacheMode, QUEUE_SIZE};
use super::disk::Disk;
use super::request::{ID_BYTES, Server};
use super::state::{BlockRestoreError, BlockState};
use crate::QueueState;
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::Scatter;
use crate::worker::Worker;

const QUEUES: &[u16] = &[QUEUE_SIZE];

/// A disk. Requests are done one after the other, on the thread that notices them.
#[derive(Debug)]
pub struct Block {
    config: BlockConfig,
    disk: Disk,
    id: [u8; ID_BYTES],
    /// What the driver chose where it may choose: whether writes may wait for a flush.
    writeback: bool,
    features: u64,
    worker: Worker,
    scatter: Scatter,
}

impl Block {
    /// A disk with the given contents.
    #[must_use]
    pub fn new(config: BlockConfig, disk: Disk) -> Self {
        let mut id = [0; ID_BYTES];
        for (place, byte) in id.iter_mut().zip(config.id.bytes()) {
            *place = byte;
        }
        Self {
            config,
            disk,
            id,
            writeback: true,
            features: 0,
            worker: Worker::default(),
            scatter: Scatter::default(),
        }
    }

    /// A disk as it was saved, with its contents opened again.
    ///
    /// # Errors
    /// [`BlockRestoreError`] if they can't be the same contents.
    pub fn restore(state: &BlockState, disk: Disk) -> Result<Self, BlockRestoreError> {
        if state.capacity != disk.capacity() {
            return Err(BlockRestoreError::Capacity {
                saved: state.capacity,
                given: disk.capacity(),
            });
        }
        if state.read_only != disk.is_read_only() {
            return Err(BlockRestoreError::ReadOnly {
                saved: state.read_only,
                given: disk.is_read_only(),
            });
        }
        let config = BlockConfig {
            id: state.id.clone(),
            cache: state.cache,
        };
        Ok(Self {
            writeback: state.writeback,
            ..Self::new(config, disk)
        })
    }

    /// Whether each write must be safe before it is reported: the driver asked for it, or it can't flush although flushing
    /// is meant (section 5.2.6.2).
    fn is_write_through(&self) -> bool {
        let took = |bit: u32| self.features & 1 << bit != 0;
        if self.disk.is_read_only() || self.config.cache == CacheMode::Unsafe {
            return false;
        }
        if took(VIRTIO_BLK_F_CONFIG_WCE) {
            !self.writeback
        } else {
            !took(VIRTIO_BLK_F_FLUSH)
        }
    }
}

impl VirtioDevice for Block {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn queue_sizes(&self) -> &[u16] {
        QUEUES
    }

    fn features(&self) -> u64 {
        config::features(self.disk.is_read_only(), self.config.cache)
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let read_only = self.disk.is_read_only();
        let space = config::config_space(self.disk.capacity(), read_only, self.writeback);
        crate::device::read_space(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let Some(writeback) = config::written_writeback(offset, data)
            && self.features() & 1 << VIRTIO_BLK_F_CONFIG_WCE != 0
        {
            self.writeback = writeback;
        }
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        let features = resources.features;
        self.worker.start(resources, QUEUES.len())?;
        self.features = features;
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        let mut server = Server {
            write_through: self.is_write_through(),
            disk: &self.disk,
            scatter: &mut self.scatter,
            id: &self.id,
            features: self.features,
            moved: 0,
        };
        self.worker
            .work(queue, |memory, chain| server.serve(memory, chain))
    }

    fn reset(&mut self) {
        self.writeback = true;
        self.features = 0;
    }

    fn save(&self) -> DeviceState {
        DeviceState::Block(BlockState {
            id: self.config.id.clone(),
            cache: self.config.cache,
            capacity: self.disk.capacity(),
            read_only: self.disk.is_read_only(),
            writeback: self.writeback,
        })
    }
}
