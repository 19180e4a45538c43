//! Code in a thread of another process (`ptrace(2)`): its registers are set to a system call, and one instruction is carried out.

#![allow(unsafe_code)]

use std::io;
use std::ptr;

/// A thread that is stopped, and goes on where it was when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    tid: libc::pid_t,
    /// Behind a `syscall` instruction.
    regs: libc::user_regs_struct,
}

/// What became of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// seccomp refused it.
    Trapped,
    /// It gave this.
    Returned(i64),
}

/// `syscall`, as little endian.
const SYSCALL: i64 = 0x050f;

impl Thread {
    /// Stops a thread in a system call.
    pub(crate) fn seize(tid: libc::pid_t) -> Self {
        request(libc::PTRACE_SEIZE, tid, 0, 0).unwrap();
        loop {
            request(libc::PTRACE_INTERRUPT, tid, 0, 0).unwrap();
            wait(tid);
            let regs = registers(tid);
            if peek(tid, regs.rip - 2) & 0xffff == SYSCALL {
                return Self { tid, regs };
            }
            // Elsewhere; it is soon in one again.
            request(libc::PTRACE_CONT, tid, 0, 0).unwrap();
        }
    }

    /// Has it make a system call.
    pub(crate) fn call(&self, number: i64, arguments: [u64; 6]) -> Outcome {
        self.set(number, arguments);
        let outcome = loop {
            request(libc::PTRACE_SINGLESTEP, self.tid, 0, 0).unwrap();
            let signal = wait(self.tid);
            let now = registers(self.tid);
            match signal {
                libc::SIGSYS => break Outcome::Trapped,
                // The end of the last step, which was refused: this one is still to come.
                libc::SIGTRAP if now.rip == self.regs.rip - 2 => {}
                libc::SIGTRAP => break Outcome::Returned(now.rax.cast_signed()),
                signal => panic!("stopped by signal {signal}"),
            }
        };
        set_registers(self.tid, &self.regs);
        outcome
    }

    /// Has it open a file by its path.
    pub(crate) fn open(&self, path: &str) -> Outcome {
        // Below what the thread's own code may use of its stack.
        let place = (self.regs.rsp - 4096) & !7;
        let mut bytes = path.as_bytes().to_vec();
        bytes.resize((bytes.len() / 8 + 1) * 8, 0);
        for (at, word) in (place..).step_by(8).zip(bytes.chunks(8)) {
            let word = u64::from_le_bytes(word.try_into().unwrap());
            request(libc::PTRACE_POKEDATA, self.tid, at, word).unwrap();
        }
        let here = u64::from(libc::AT_FDCWD.cast_unsigned());
        self.call(libc::SYS_openat, [here, place, 0, 0, 0, 0])
    }

    /// Has it make a system call, and go on as it would after that.
    pub(crate) fn end_by(self, number: i64) {
        self.set(number, [0; 6]);
        request(libc::PTRACE_DETACH, self.tid, 0, 0).unwrap();
        std::mem::forget(self);
    }

    fn set(&self, number: i64, [a, b, c, d, e, f]: [u64; 6]) {
        let regs = libc::user_regs_struct {
            rip: self.regs.rip - 2,
            rax: number.cast_unsigned(),
            // Otherwise the call that it was in would be begun again.
            orig_rax: u64::MAX,
            rdi: a,
            rsi: b,
            rdx: c,
            r10: d,
            r8: e,
            r9: f,
            ..self.regs
        };
        set_registers(self.tid, &regs);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let _ = request(libc::PTRACE_DETACH, self.tid, 0, 0);
    }
}

fn request(request: libc::c_uint, tid: libc::pid_t, address: u64, data: u64) -> io::Result<i64> {
    // SAFETY: these requests touch no memory of this process.
    let result = unsafe { libc::ptrace(request, tid, address, data) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn peek(tid: libc::pid_t, address: u64) -> i64 {
    // SAFETY: libc's wrapper returns the word.
    unsafe { libc::ptrace(libc::PTRACE_PEEKDATA, tid, address, 0_u64) }
}

fn registers(tid: libc::pid_t) -> libc::user_regs_struct {
    // SAFETY: plain data, which the request fills.
    let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let to = &raw mut regs;
    // SAFETY: `regs` is what the request writes to, and lives through it.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, ptr::null_mut::<u8>(), to) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    regs
}

fn set_registers(tid: libc::pid_t, regs: &libc::user_regs_struct) {
    let from = ptr::from_ref(regs);
    // SAFETY: `regs` is what the request reads, and lives through it.
    let result = unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, ptr::null_mut::<u8>(), from) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Waits until the thread stops, and tells the signal.
fn wait(tid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    let waited = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
    assert_eq!(waited, tid, "{}", io::Error::last_os_error());
    assert!(libc::WIFSTOPPED(status), "it ended: {status:#x}");
    libc::WSTOPSIG(status)
}
