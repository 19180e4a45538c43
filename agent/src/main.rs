//! `/init` of the guest. See `boot` in the library; there is nothing here but the way in.

#![cfg_attr(not(test), no_main)]

/// The C library calls this directly: Rust's own start-up (signal handlers, standard streams, the
/// bounds of the stack from `/proc`) is a dozen system calls for things that the agent has no use for.
#[cfg(not(test))]
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    hull_agent::boot()
}
