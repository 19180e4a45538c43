//! The device status machine (virtio 1.2, sections 2.1 and 3.1.1) as a table to hold beside the specification.

/// ACKNOWLEDGE: the guest has noticed the device.
pub const ACKNOWLEDGE: u8 = 1;
/// DRIVER: the guest knows how to drive it.
pub const DRIVER: u8 = 2;
/// DRIVER_OK: the driver is set up; the device works.
pub const DRIVER_OK: u8 = 4;
/// FEATURES_OK: features are negotiated.
pub const FEATURES_OK: u8 = 8;
/// DEVICE_NEEDS_RESET: the device is lost. Only the device sets it.
pub const NEEDS_RESET: u8 = 64;
/// FAILED: the driver has given up.
pub const FAILED: u8 = 128;

/// How far initialisation has come.
const S0: u8 = 0;
const S1: u8 = ACKNOWLEDGE;
const S2: u8 = S1 | DRIVER;
const S3: u8 = S2 | FEATURES_OK;
const S4: u8 = S3 | DRIVER_OK;

/// What the transport must do when the driver writes the status register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Only take the new value.
    Accept,
    /// Check the features; take the new value if they are good, else keep the old one, so that the driver reads it back
    /// without FEATURES_OK (section 3.1.1, step 6).
    CheckFeatures,
    /// Start the device.
    Start,
    /// The driver gave up: take that, and nothing else that the value claims.
    GiveUp,
    /// Stop the device and forget everything.
    Reset,
    /// The driver broke the order; the old value stays.
    Ignore,
}

/// Drivers write the register step by step, always with the bits they already set.
const TABLE: &[(u8, u8, Step)] = &[
    //from  to   what
    (S0, S1, Step::Accept),
    (S1, S2, Step::Accept),
    (S2, S3, Step::CheckFeatures),
    (S3, S4, Step::Start),
    // Writing the same again changes nothing.
    (S1, S1, Step::Accept),
    (S2, S2, Step::Accept),
    (S3, S3, Step::Accept),
    (S4, S4, Step::Accept),
];

/// What follows from writing `to` while the register holds `from`.
#[must_use]
pub fn step(from: u8, to: u8) -> Step {
    // The device's own bit is not the driver's to write.
    let (from, to) = (from & !NEEDS_RESET, to & !NEEDS_RESET);
    if to == 0 {
        return Step::Reset;
    }
    if to & FAILED != 0 {
        return Step::GiveUp;
    }
    TABLE
        .iter()
        .find(|(old, new, _)| (*old, *new) == (from, to))
        .map_or(Step::Ignore, |(_, _, step)| *step)
}

/// Whether a saved status is one that the table can reach.
#[must_use]
pub fn is_reachable(status: u8) -> bool {
    let status = status & !NEEDS_RESET;
    status & FAILED != 0 || [S0, S1, S2, S3, S4].contains(&status)
}
