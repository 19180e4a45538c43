//! The host probe: micro-guests of a few instructions find out what this host's KVM does with a guest's kernel.
//!
//! Nothing is taken from a host's name or from flags that it shows: each answer is an instruction that was run. One thread runs
//! the guests; the caller's watches it and gets it out of any that does not end, so a probe is over in bounded time. An
//! instruction that fails is a finding. `hull-vmm probe` prints the result; the engine calls that.

mod clock;
mod entry;
mod guest;
mod instructions;
mod masks;
mod state;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hull_vm_api::HostProfile;
use hull_vm_api::profile::Backend;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Kvm;

use crate::kick;
use crate::kvm::{self, KvmError};
use guest::MicroGuest;

/// How long a micro-guest may take. They need microseconds, so this is for a host that is very busy.
const LIMIT: Duration = Duration::from_secs(1);
/// Below this many instructions a second no processor runs a loop, and above no emulator.
const NATIVE: u64 = 50_000_000;

/// KVM cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no usable KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The host is out of memory or threads.
    #[error("the host has no {0} for the probe of its KVM")]
    Host(&'static str),
    /// The simplest loop does not run.
    #[error(
        "this host's KVM does not run a guest ({0}); look into the host's kernel log with: sudo dmesg"
    )]
    NoGuest(String),
}

/// Finds out what this host's KVM does. Takes some milliseconds to some tens of them.
///
/// # Errors
/// That there is no KVM, or that it runs no guest at all.
pub fn run() -> Result<HostProfile, ProbeError> {
    let kvm = kvm::open(&[])?;
    let (beat, beats) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let prober = thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || {
            // The caller waits for this answer, or for the end of the thread.
            let _ = answer.send(probe(&kvm, beat));
        })
        .map_err(|_| ProbeError::Host("thread"))?;
    watch(&beats, &prober);
    answers.recv().map_err(|_| ProbeError::Host("answer"))?
}

/// Whether what is hidden from a guest by its CPUID is hidden from it: not where KVM cannot be asked, either.
pub(crate) fn masks_hold(kvm: &Kvm, supported: &CpuId) -> bool {
    let (beat, _beats) = mpsc::channel();
    let guest = MicroGuest::new(kvm, supported, beat);
    let hold = guest.and_then(|mut guest| masks::hold(&mut guest, supported));
    hold.unwrap_or(false)
}

/// Gets the thread out of every guest that takes too long, until the thread has dropped its end.
fn watch(beats: &Receiver<()>, prober: &JoinHandle<()>) {
    loop {
        match beats.recv_timeout(LIMIT) {
            Ok(()) => {}
            // It fails only when the thread is at its end.
            Err(RecvTimeoutError::Timeout) => drop(kick::kick(prober)),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Runs all micro-guests, with a beat after each.
fn probe(kvm: &Kvm, beat: Sender<()>) -> Result<HostProfile, ProbeError> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(KvmError::step("list the CPUID that it supports"))?;
    let mut guest = MicroGuest::new(kvm, &supported, beat)?;
    let kernel_instructions_per_second = clock::kernel_speed(&mut guest)?;
    let interpreted = kernel_instructions_per_second < NATIVE;
    Ok(HostProfile {
        backend: backend(&supported, interpreted),
        kernel_instructions_per_second,
        user_instructions_per_second: clock::user_speed(&mut guest)?,
        costs: clock::costs(&mut guest)?,
        instructions: instructions::try_all(&mut guest)?,
        syscall: entry::syscall(&mut guest)?,
        cpuid_can_hide: masks::hold(&mut guest, &supported)?,
        max_vcpus: u32::try_from(kvm.get_max_vcpus()).unwrap_or(u32::MAX),
    })
}

fn backend(supported: &CpuId, interpreted: bool) -> Backend {
    let vendor = supported.as_slice().iter().find(|leaf| leaf.function == 0);
    // "Genu" of GenuineIntel and "Cent" of CentaurHauls, whose VT-x it is too.
    let intel = vendor.is_some_and(|leaf| matches!(&leaf.ebx.to_le_bytes(), b"Genu" | b"Cent"));
    match (interpreted, intel) {
        (true, _) => Backend::Emulated,
        (false, true) => Backend::VtX,
        (false, false) => Backend::AmdV,
    }
}

#[cfg(test)]
mod tests;
