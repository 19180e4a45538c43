use std::process::Command;

use rustix::thread::UnshareFlags;

use super::*;

/// Runs a test in a network namespace of its own.
fn in_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let inside = || {
            // SAFETY: the thread has nothing that depends on its network namespace, and ends here.
            if let Err(error) = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) } {
                println!("SKIPPED: network namespaces cannot be made: {error}");
                return;
            }
            test();
        };
        scope.spawn(inside).join().unwrap();
    });
}

fn ip(arguments: &str) {
    let done = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(done.status.success(), "ip {arguments}: {done:?}");
}

fn refusal(name: &str, queues: u8) -> String {
    open(name, queues).unwrap_err().to_string()
}

#[test]
fn a_name_that_is_mistyped_makes_no_interface() {
    in_namespace(|| {
        for name in ["tap7", "tap%d", "a\0b"] {
            for queues in [1, 2] {
                let said = refusal(name, queues);
                assert!(said.contains("there is no TAP device"), "{said}");
            }
        }
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&links.stdout).contains("tap"));
    });
}

#[test]
fn one_that_is_in_use_and_what_is_none_say_so() {
    in_namespace(|| {
        ip("tuntap add tap0 mode tap");
        let first = open("tap0", 1).unwrap();
        for _ in 0..2 {
            let said = refusal("tap0", 1);
            assert!(said.contains("tap0 is in use"), "{said}");
        }
        drop(first);
        assert!(open("tap0", 1).is_ok());
        for name in ["lo", "tun0"] {
            if name == "tun0" {
                ip("tuntap add tun0 mode tun");
            }
            for queues in [1, 2] {
                let said = refusal(name, queues);
                assert!(said.contains("is no TAP device"), "{said}");
            }
        }
    });
}

#[test]
fn queues_are_those_that_it_was_made_with() {
    in_namespace(|| {
        ip("tuntap add single mode tap");
        ip("tuntap add many mode tap multi_queue");
        let said = refusal("single", 3);
        assert!(
            said.contains("with one queue") && said.contains("multi_queue"),
            "{said}"
        );
        // Also while somebody has it.
        let held = open("single", 1).unwrap();
        assert!(refusal("single", 2).contains("with one queue"));
        drop(held);
        assert_eq!(open("many", 3).unwrap().len(), 3);
        assert_eq!(open("many", 1).unwrap().len(), 1);
    });
}
