//! Kills at any moment of a start, of either process.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::common::{Running, Vm, no_kvm};
use super::{machine, process, start};

/// So many starts are killed, each so much later than the one before.
const STARTS: u64 = 60;
const STEP: Duration = Duration::from_micros(500);

/// The process that is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Keeper,
    Machine,
}

/// Starts a machine and kills a process of it after a while; the keeper's number.
fn kill_after(vm: &Vm, victim: Victim, delay: Duration) -> Pid {
    // One that was killed may have left it, and this one may not get as far.
    let had_socket = vm.path("vsock").exists();
    let running = Running::of(vm.command().spawn().unwrap());
    let keeper = running.pid();
    // There is nothing to await: any moment is to be one of them.
    thread::sleep(delay);
    match (victim, process::child(keeper)) {
        (Victim::Machine, Some(machine)) => {
            let _ = kill_process(machine, Signal::KILL);
            let ended = running.end();
            assert_ne!(ended.status.code(), Some(0), "{ended:?}");
            assert_eq!(ended.status.signal(), None, "{ended:?}");
            // The keeper cleans up behind it.
            if !had_socket {
                vm.assert_clean();
            }
        }
        _ => {
            running.signal(Signal::KILL);
            running.wait();
        }
    }
    process::await_none(vm.dir.path());
    keeper
}

#[test]
fn kills_at_any_moment_of_a_start_leave_nothing_but_a_socket_that_the_next_start_cleans() {
    if no_kvm() {
        return;
    }
    let vm = machine();
    let mut keepers = Vec::new();
    for number in 0..STARTS {
        let victim = [Victim::Keeper, Victim::Machine][usize::try_from(number % 2).unwrap()];
        let more = RandomState::new().hash_one(number) % 1000;
        let delay = STEP * u32::try_from(number).unwrap() + Duration::from_micros(more);
        keepers.push(kill_after(&vm, victim, delay));
        let files = fs::read_dir(vm.dir.path()).unwrap();
        let odd: Vec<_> = files
            .map(|file| file.unwrap().file_name())
            .filter(|name| {
                let known = [
                    "config.json",
                    "disk",
                    "kernel",
                    "metrics",
                    "shared",
                    "vsock",
                    // Held while a socket that was left is replaced. The next start removes it, too.
                    "vsock.lock",
                ];
                !known.iter().any(|known| name == known)
            })
            .collect();
        assert!(odd.is_empty(), "{victim:?} after {delay:?}: {odd:?}");
    }
    let (running, machine) = start(&vm);
    for keeper in keepers {
        let left = process::groups(&format!("-{}", keeper.as_raw_nonzero()));
        assert!(left.is_empty(), "{left:?}");
    }
    running.signal(Signal::INT);
    running.end();
    vm.assert_clean();
    assert!(!vm.path("vsock.lock").exists());
    machine.assert_gone();
}
