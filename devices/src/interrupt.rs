//! From a device to its driver: interrupts, and the register bits that explain them (virtio 1.2, sections 2.3 and 4.2.2).
//!
//! A device holds a [`Notifier`]; the transport holds the same one and shows its bits in registers; the VMM supplies the
//! [`Interrupt`] that reaches the guest. Nothing here is locked: the bits are atomic, so a vCPU reads and acknowledges
//! them while the event loop works on a request.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What an interrupt is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The device put something into the used ring of the queue with this index.
    Queue(u16),
    /// The device's configuration or its status changed.
    Config,
}

/// How interrupts reach the guest. The VMM implements it, usually by writing to an eventfd that KVM knows as an irqfd.
/// With a single line for all causes (virtio-mmio, PCI INTx) the cause can be ignored; with MSI-X it picks the vector.
pub trait Interrupt: Send + Sync + fmt::Debug {
    /// Interrupts the guest.
    ///
    /// # Errors
    /// What writing to the eventfd gave. The caller logs it and goes on.
    fn trigger(&self, cause: Cause) -> io::Result<()>;
}

/// InterruptStatus bit: a queue has used buffers (section 4.2.2).
pub const ISR_QUEUE: u32 = 1;
/// InterruptStatus bit: the configuration or the device status changed.
pub const ISR_CONFIG: u32 = 2;

/// Warnings about one device's driver.
const MAX_COMPLAINTS: u32 = 8;

#[derive(Debug, Default)]
struct Bits {
    isr: AtomicU32,
    generation: AtomicU32,
    needs_reset: AtomicU32,
    complaints: AtomicU32,
}

/// A device's end of its interrupts. Clones share their bits.
#[derive(Clone, Debug)]
pub struct Notifier {
    bits: Arc<Bits>,
    interrupt: Arc<dyn Interrupt>,
}

impl Notifier {
    /// A notifier with no bit set.
    #[must_use]
    pub fn new(interrupt: Arc<dyn Interrupt>) -> Self {
        Self {
            bits: Arc::default(),
            interrupt,
        }
    }

    /// Tells the driver that a queue has used buffers.
    pub fn queue(&self, index: u16) {
        self.raise(ISR_QUEUE, Cause::Queue(index));
    }

    /// Tells the driver that the configuration space changed.
    pub fn config_changed(&self) {
        self.bits.generation.fetch_add(1, Ordering::SeqCst);
        self.raise(ISR_CONFIG, Cause::Config);
    }

    /// Tells the driver that the device is lost until it is reset (DEVICE_NEEDS_RESET, section 2.1.2). Says so once.
    pub fn needs_reset(&self) {
        if self.bits.needs_reset.swap(1, Ordering::SeqCst) == 0 {
            self.raise(ISR_CONFIG, Cause::Config);
        }
    }

    /// Whether the device waits for a reset.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.bits.needs_reset.load(Ordering::SeqCst) != 0
    }

    /// Whether what the driver did wrong is worth a warning: a few times for each device, because a hostile guest could
    /// fill the log by doing it again and again.
    #[must_use]
    pub(crate) fn may_complain(&self) -> bool {
        let counted = |count: u32| (count < MAX_COMPLAINTS).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.bits
            .complaints
            .fetch_update(order, order, counted)
            .is_ok()
    }

    /// The InterruptStatus register.
    #[must_use]
    pub fn isr(&self) -> u32 {
        self.bits.isr.load(Ordering::SeqCst)
    }

    /// The InterruptACK register: clears the given bits.
    pub fn acknowledge(&self, bits: u32) {
        self.bits.isr.fetch_and(!bits, Ordering::SeqCst);
    }

    /// The ConfigGeneration register.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.bits.generation.load(Ordering::SeqCst)
    }

    /// Interrupts again for what is not yet acknowledged: an interrupt that was on its way when a snapshot was taken is
    /// not in the snapshot of KVM's interrupt controller. Spurious ones do no harm.
    pub(crate) fn repeat(&self, queues: u16) {
        let isr = self.isr();
        if isr & ISR_QUEUE != 0 {
            (0..queues).for_each(|index| self.trigger(Cause::Queue(index)));
        }
        if isr & ISR_CONFIG != 0 {
            self.trigger(Cause::Config);
        }
    }

    /// Back to the state after power-on; the generation stays, because a driver may compare it across a reset.
    pub(crate) fn reset(&self) {
        self.bits.isr.store(0, Ordering::SeqCst);
        self.bits.needs_reset.store(0, Ordering::SeqCst);
    }

    /// Takes up saved bits.
    pub(crate) fn restore(&self, isr: u32, generation: u32, needs_reset: bool) {
        self.bits
            .isr
            .store(isr & (ISR_QUEUE | ISR_CONFIG), Ordering::SeqCst);
        self.bits.generation.store(generation, Ordering::SeqCst);
        self.bits
            .needs_reset
            .store(needs_reset.into(), Ordering::SeqCst);
    }

    fn raise(&self, bit: u32, cause: Cause) {
        // The bit comes first: a driver that wakes up and reads no bit takes the interrupt for someone else's.
        self.bits.isr.fetch_or(bit, Ordering::SeqCst);
        self.trigger(cause);
    }

    fn trigger(&self, cause: Cause) {
        if let Err(error) = self.interrupt.trigger(cause) {
            tracing::warn!(?cause, %error, "an interrupt did not reach the guest");
        }
    }
}
