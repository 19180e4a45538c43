//! Getting a vCPU's thread out of KVM_RUN from another thread.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use kvm_ioctls::VcpuFd;

thread_local! {
    /// `immediate_exit` of the vCPU that this thread runs, or null. Without a destructor, so that the handler may look at any time.
    static IMMEDIATE_EXIT: Cell<*const AtomicU8> = const { Cell::new(ptr::null()) };
}

static HANDLER: Once = Once::new();

fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

extern "C" fn handle(_: libc::c_int) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: the pointer is into the page that KVM shares with the vCPU, and `disarm` takes it away before that page goes.
        unsafe { (*flag).store(1, Ordering::SeqCst) };
    }
}

/// Makes kicks harmless for threads that are not armed yet. Call this before there are any.
pub(crate) fn prepare() {
    HANDLER.call_once(|| {
        // SAFETY: the handler only stores one byte through a thread-local pointer, which is allowed in a signal handler; the
        // structure is plain data for which all zeros is "no flags, empty mask".
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as libc::sighandler_t;
            libc::sigaction(signal(), &raw const action, ptr::null_mut());
        }
    });
}

/// Makes [`kick`] work on this thread, which is about to run this vCPU. Look at what kicks are about after this.
pub(crate) fn arm(vcpu: &mut VcpuFd) {
    prepare();
    rearm(vcpu);
    let flag = &raw const vcpu.get_kvm_run().immediate_exit;
    IMMEDIATE_EXIT.set(flag.cast());
}

/// Lets the vCPU enter the guest again after a kick. Look at what the kick was about after this, not before.
pub(crate) fn rearm(vcpu: &mut VcpuFd) {
    vcpu.set_kvm_immediate_exit(0);
}

/// Call this before the vCPU of this thread goes away.
pub(crate) fn disarm() {
    IMMEDIATE_EXIT.set(ptr::null());
}

/// Gets the vCPU that the thread runs out of the guest, or keeps it from entering.
///
/// # Errors
/// If the thread has ended.
pub(crate) fn kick(thread: &JoinHandle<()>) -> io::Result<()> {
    // SAFETY: the handle has not been joined, so the thread's identifier is still valid.
    let result = unsafe { libc::pthread_kill(thread.as_pthread_t(), signal()) };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(result))
}
