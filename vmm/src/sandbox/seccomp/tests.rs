//! What the filters let through, tried in threads of their own.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

#[test]
fn every_list_is_a_program() {
    for kind in Kind::ALL {
        let [numbers, arguments] =
            [Level::Numbers, Level::Arguments].map(|level| programs::of(kind, level).unwrap());
        // BPF_MAXINSNS of Linux.
        assert!(arguments.len() < 4096, "{kind:?}");
        assert!(numbers.len() < arguments.len(), "{kind:?}");
        // Each call that is listed is compared with somewhere (`BPF_JMP | BPF_JEQ`), and by its number alone somewhere else.
        let has = |program: &[seccompiler::sock_filter], number: i64| {
            let mut steps = program.iter();
            steps.any(|step| step.code == 0x15 && i64::from(step.k) == number)
        };
        for call in kind.lists().iter().copied().flatten() {
            let name = call.name();
            assert!(has(numbers, call.number), "{kind:?}: {name}");
            assert!(has(arguments, call.number), "{kind:?}: {name}");
        }
        assert!(programs::of(kind, Level::None).is_none());
    }
}

#[test]
fn nobody_may_run_other_programs_or_make_code() {
    let everywhere = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_setuid,
        libc::SYS_bpf,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_open_by_handle_at,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_add_key,
        libc::SYS_keyctl,
        libc::SYS_open,
        libc::SYS_openat2,
    ];
    let inside = [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind];
    let has = |kind: Kind, number| {
        let mut calls = kind.lists().iter().copied().flatten();
        calls.any(|call| call.number == number)
    };
    for kind in Kind::ALL {
        for number in everywhere {
            assert!(!has(kind, number), "{kind:?}: {number}");
        }
        for number in inside.into_iter().filter(|_| kind != Kind::Keeper) {
            assert!(!has(kind, number), "{kind:?}: {number}");
        }
        let opens = matches!(kind, Kind::Keeper | Kind::Share | Kind::Assembly);
        assert_eq!(has(kind, libc::SYS_openat), opens, "{kind:?}");
        let copies = matches!(kind, Kind::Snapshot | Kind::Assembly);
        assert_eq!(has(kind, libc::SYS_clone), copies, "{kind:?}");
        assert_eq!(has(kind, libc::SYS_mprotect), kind == Kind::Assembly);
        let files = matches!(kind, Kind::Lane | Kind::Share | Kind::Assembly);
        assert_eq!(has(kind, libc::SYS_fallocate), files, "{kind:?}");
    }
}

#[test]
fn the_lists_can_be_read() {
    let lists = all_lists();
    let vcpu = lists["vcpu"].as_array().unwrap();
    let mmap = vcpu.iter().find(|call| call["call"] == "mmap").unwrap();
    assert_eq!(mmap["only"][0][0], "argument 2 & 0x4 is 0x0");
    assert_eq!(lists.as_object().unwrap().len(), Kind::ALL.len());
}

#[test]
#[allow(unsafe_code)]
fn threads_under_a_filter_can_be_made_and_ended_and_no_process_can() {
    // What other tests gave back must not make libc take large blocks from a heap of the thread's own, which hull-vmm's threads do not have.
    // SAFETY: it sets a number that is looked at when something is allocated.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10) };
    // The assembly's thread makes others, which put on what is theirs.
    let made = thread::spawn(|| {
        put_on(Kind::Assembly, Level::Arguments).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let vcpu = thread::spawn(move || {
            put_on(Kind::Vcpu, Level::Arguments).unwrap();
            drop(theirs);
            vec![1; 1 << 20].len()
        });
        drop(ours);
        vcpu.join().unwrap()
    });
    assert_eq!(made.join().unwrap(), 1 << 20);
    // The filters are of those threads, not of this one.
    assert!(File::open("/dev/null").is_ok());
}
