//! What the filters let through, tried in threads of their own.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

#[test]
fn every_list_becomes_a_program() {
    for level in [Level::Numbers, Level::Arguments] {
        let filters = Filters::new(level, &Kind::ALL).unwrap();
        assert_eq!(filters.programs.len(), Kind::ALL.len());
        for (kind, program) in &filters.programs {
            // BPF_MAXINSNS of Linux.
            assert!(program.len() < 4096, "{kind:?}");
        }
    }
    let none = Filters::new(Level::None, &Kind::ALL).unwrap();
    assert!(none.programs.is_empty());
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
        assert_eq!(has(kind, libc::SYS_clone), kind == Kind::Assembly);
    }
}

#[test]
fn the_lists_can_be_read() {
    let lists = lists();
    let vcpu = lists["vcpu"].as_array().unwrap();
    let mmap = vcpu.iter().find(|call| call["call"] == "mmap").unwrap();
    assert_eq!(mmap["only"][0][0], "argument 2 & 0x4 is 0x0");
    assert_eq!(lists.as_object().unwrap().len(), Kind::ALL.len());
}

#[test]
fn threads_under_a_filter_can_be_made_and_ended_and_no_process_can() {
    // The assembly's thread makes others, which put on what is theirs.
    let made = thread::spawn(|| {
        let filters = Filters::new(Level::Arguments, &[Kind::Assembly, Kind::Vcpu]).unwrap();
        filters.put_on(Kind::Assembly).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let vcpu = thread::spawn(move || {
            filters.put_on(Kind::Vcpu).unwrap();
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
