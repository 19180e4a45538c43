//! The system calls that are not to be had without `unsafe`, each behind a safe function.

pub(crate) mod clone;
pub(crate) mod exec;
pub(crate) mod ioctl;
pub(crate) mod read;
pub(crate) mod signal;
pub(crate) mod time;
pub(crate) mod vsock;
