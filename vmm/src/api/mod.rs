//! What the machine answers to requests ([`after`]), which the keeper hands on, one after the other.
//!
//! The event loop answers them; what may take long is done by a device's thread, and answered later ([`later`]).

mod after;
mod devices;
mod later;
mod live;
mod snapshots;

use crate::files::Files;
use crate::metrics::Figures;

pub(crate) use after::us;
pub(crate) use later::Later;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a machine has of the process besides its configuration.
#[derive(Debug)]
pub(crate) struct Host {
    /// The way to files of the host.
    pub files: Files,
    /// Where figures are written.
    pub figures: Figures,
}
