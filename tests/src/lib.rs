//! The harness of the end-to-end suites: real `hull`, real microVMs on `/dev/kvm`, real images, a real
//! registry server and real terminals.
//!
//! Every test has a [`Home`] of its own: state and runtime directories that no other Hull knows, checked for
//! leftovers at the end. Suites are in `tests/`, one per thing that a user does.

pub mod daemon;
pub mod herd;
pub mod home;
pub mod leaks;
pub mod network;
pub mod process;
pub mod registry;
pub mod terminal;

pub use daemon::{Daemon, has_docker};
pub use home::Home;
pub use process::{Finished, Running, await_end, run};
pub use registry::Registry;
pub use terminal::Terminal;

use std::path::PathBuf;
use std::time::Duration;

/// How long any single program may take. Guest kernel code is interpreted on some hosts, where a boot under
/// load takes minutes: this bounds a hang and asserts nothing about speed.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Whether `/dev/kvm` can be used; if not, says that the calling test is skipped.
#[must_use]
pub fn kvm() -> bool {
    let usable = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if !usable {
        println!("SKIPPED: no usable /dev/kvm");
    }
    usable
}

/// The directory of the programs under test: Cargo's output directory of this profile.
#[must_use]
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors()
        .nth(2)
        .map_or_else(PathBuf::new, PathBuf::from)
}

/// An image that `cargo xtask images` made: an OCI layout.
///
/// # Panics
/// When it was not made.
#[must_use]
pub fn image(name: &str) -> PathBuf {
    let path = programs().join("../images").join(name);
    let checkout =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/images")).join(name);
    [path, checkout]
        .into_iter()
        .find(|path| path.join("index.json").exists())
        .unwrap_or_else(|| {
            panic!("there is no image {name}: make it with `cargo xtask images {name}`")
        })
}
