//! Programs of others, unchanged, drive `hull-vmm` (a client library of Firecracker's API, and schemathesis) and `hull daemon`
//! (docker-py). `cargo xtask clients` installs them.

mod docker_py;
mod library;
mod schemathesis;

use std::path::PathBuf;

use hull_tests::programs;

/// A program of `cargo xtask clients`.
fn client(name: &str) -> PathBuf {
    let path = programs().join("../clients/bin").join(name);
    let checkout = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/clients/bin"
    ))
    .join(name);
    [path, checkout]
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: install it with `cargo xtask clients`"))
}
