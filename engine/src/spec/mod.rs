//! From what a user asks and what the image says to what the agent is told.

mod hostname;
mod process;
mod signal;
mod size;

pub use process::InvalidProcess;
pub(crate) use process::{ImageDefaults, Merged, check, merge};
pub use signal::{UnknownSignal, signal_number};
pub(crate) use size::{CPU_PERIOD_US, Shape};
pub use size::{InvalidSize, parse_cpus, parse_size};
