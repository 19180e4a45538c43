//! The sandbox, from inside and from outside: code in each kind of thread tries what it must not do; `/proc` tells what a machine's process
//! is; and whoever dies leaves nothing.

#[path = "../common/mod.rs"]
mod common;
mod inject;
mod kills;
mod process;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::guest::Code;
use common::{Configured, Running, Vm, no_kvm};
use hull_vm_api::ExitCause;
use inject::{Outcome, Thread};
use process::Machine;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;

/// A guest that does nothing, in a machine with every kind of thread.
fn machine() -> Vm {
    let vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
    fs::write(vm.path("disk"), vec![0; 1 << 20]).unwrap();
    fs::create_dir(vm.path("shared")).unwrap();
    let (disk, shared) = (vm.path("disk"), vm.path("shared"));
    let drives = json!([{ "drive_id": "d", "path_on_host": disk, "is_root_device": false }]);
    vm.set("/drives", drives)
        .set("/shares", json!([{ "tag": "s", "path": shared }]))
}

fn start(vm: &Vm) -> (Running, Machine) {
    let (mut running, _) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let machine = Machine::of(running.pid());
    (running, machine)
}

const OPENAT: (i64, &str) = (libc::SYS_openat, "openat");
/// What no thread may do.
const FORBIDDEN: [(i64, &str); 8] = [
    (libc::SYS_open, "open"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_fork, "fork"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_kill, "kill"),
];
/// What no thread of the machine's process may do.
const INSIDE: [(i64, &str); 3] = [
    (libc::SYS_socket, "socket"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_bind, "bind"),
];

#[test]
fn code_in_any_thread_is_refused_what_it_must_not_do() {
    if no_kvm() {
        return;
    }
    let vm = machine();
    let (running, machine) = start(&vm);
    let all = [
        (machine.keeper, "hull-vmm"),
        (machine.keeper, "api"),
        (machine.pid, "hull-vmm"),
        (machine.pid, "drive d"),
        (machine.pid, "share s"),
        (machine.pid, "snapshot"),
        (machine.pid, "vcpu0"),
    ];
    for (pid, name) in all {
        let inside = pid == machine.pid;
        let thread = Thread::seize(process::thread(pid, name));
        let mut forbidden = FORBIDDEN.to_vec();
        if inside || name == "api" {
            forbidden.extend(INSIDE);
        }
        if (inside && name != "share s") || name == "api" {
            forbidden.push(OPENAT);
        }
        for (number, call) in forbidden {
            let outcome = thread.call(number, [0; 6]);
            assert_eq!(outcome, Outcome::Trapped, "{call} in {name} of {pid:?}");
        }
        // Memory that can be run, sockets of the network, other ioctls.
        let (exec, anonymous) = (libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let argument = |number: i32| number.cast_unsigned().into();
        let mmap = [0, 4096, argument(exec), argument(anonymous), u64::MAX, 0];
        assert_eq!(thread.call(libc::SYS_mmap, mmap), Outcome::Trapped);
        let socket = [
            argument(libc::AF_INET),
            argument(libc::SOCK_STREAM),
            0,
            0,
            0,
            0,
        ];
        assert_eq!(thread.call(libc::SYS_socket, socket), Outcome::Trapped);
        // TIOCSTI, which types into a terminal.
        let ioctl = [1, 0x5412, 0, 0, 0, 0];
        assert_eq!(thread.call(libc::SYS_ioctl, ioctl), Outcome::Trapped);
        // What it may do it still can.
        assert_eq!(
            thread.call(libc::SYS_close, [9999, 0, 0, 0, 0, 0]),
            Outcome::Returned(-i64::from(libc::EBADF))
        );
    }
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
    vm.assert_clean();
}

#[test]
fn the_thread_of_snapshots_can_make_a_copy_of_its_process_and_no_other() {
    if no_kvm() {
        return;
    }
    let vm = machine();
    let (running, machine) = start(&vm);
    let tid = process::thread(machine.pid, "snapshot");
    let thread = Thread::seize(tid);
    let clone = |flags: i32, stack| {
        let flags = flags.cast_unsigned().into();
        thread.call(libc::SYS_clone, [flags, stack, 0, 0, 0, 0])
    };
    let copy = libc::CLONE_FILES | libc::SIGCHLD;
    for flags in [
        libc::SIGCHLD,
        copy | libc::CLONE_VM,
        copy | libc::CLONE_NEWUSER,
        copy | libc::CLONE_NEWNS,
        copy | libc::CLONE_PARENT,
        copy | libc::CLONE_UNTRACED,
        libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD,
    ] {
        assert_eq!(clone(flags, 0), Outcome::Trapped, "{flags:#x}");
    }
    assert_eq!(clone(copy, 4096), Outcome::Trapped);
    assert!(matches!(clone(copy, 0), Outcome::Returned(1..)));
    // It goes on where the thread was, and waits for ever.
    let children = format!("/proc/{}/task/{tid}/children", machine.pid.as_raw_nonzero());
    let children = fs::read_to_string(children).unwrap();
    let child: i32 = children.trim().parse().unwrap();
    let child = Pid::from_raw(child).unwrap();
    let task = process::tasks(child).remove(0);
    let original = process::tasks(machine.pid);
    let original = original
        .iter()
        .find(|task| process::name(task) == "snapshot");
    let fields = [
        "Uid",
        "CapPrm",
        "CapEff",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
    ];
    for field in fields {
        let of_original = process::status(original.unwrap(), field);
        assert_eq!(process::status(&task, field), of_original, "{field}");
    }
    drop(thread);
    let handle = pidfd_open(child, PidfdFlags::empty()).unwrap();
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
    process::await_end(&handle);
    machine.assert_gone();
}

#[test]
fn a_shares_thread_finds_no_file_but_its_own() {
    if no_kvm() {
        return;
    }
    let vm = machine();
    let (running, machine) = start(&vm);
    let thread = Thread::seize(process::thread(machine.pid, "share s"));
    for path in ["/etc/passwd", "/proc/1/status", "/dev/kvm", "/"] {
        let opened = thread.open(path);
        let Outcome::Returned(error) = opened else {
            panic!("{path}: {opened:?}");
        };
        let refused = [libc::ENOENT, libc::EACCES];
        assert!(
            refused.iter().any(|e| error == -i64::from(*e)),
            "{path}: {error}"
        );
    }
    drop(thread);
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
}

#[test]
fn a_violation_ends_the_machine_and_is_told() {
    if no_kvm() {
        return;
    }
    for (name, whose) in [
        ("vcpu0", "a vCPU's thread"),
        ("drive d", "a device's thread"),
    ] {
        let vm = machine();
        let (running, machine) = start(&vm);
        Thread::seize(process::thread(machine.pid, name)).end_by(libc::SYS_execve);
        let ended = running.end();
        assert_eq!(ended.cause(), ExitCause::Violation, "{ended:?}");
        let sentence = format!("system call 59 (execve) in {whose}");
        assert!(ended.sentence().ends_with(&sentence), "{ended:?}");
        vm.assert_clean();
        machine.assert_gone();
    }
}

#[test]
fn from_outside_the_process_is_nobody_nowhere() {
    if no_kvm() {
        return;
    }
    let vm = machine();
    let (running, machine) = start(&vm);
    let user = 0x7000_0000 | machine.keeper.as_raw_nonzero().get();
    let user = format!("{user} {user} {user} {user}");
    for task in process::tasks(machine.pid) {
        let status = |field: &str| process::status(&task, field);
        assert_eq!(status("Uid"), user);
        assert_eq!(status("Gid"), user);
        assert_eq!(status("Groups"), "");
        assert_eq!(status("NoNewPrivs"), "1");
        assert_eq!(status("Seccomp"), "2", "{task:?}");
        let share = process::name(&task) == "share s";
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let caps = u64::from_str_radix(&status(set), 16).unwrap();
            // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP.
            let kept = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31;
            let expected = match set {
                "CapPrm" | "CapEff" if share => kept,
                _ => 0,
            };
            assert_eq!(caps, expected, "{set} of {task:?}");
        }
    }
    for kind in ["mnt", "pid", "ipc", "net", "uts", "cgroup"] {
        let of = |pid: Pid| fs::read_link(format!("/proc/{}/ns/{kind}", pid.as_raw_nonzero()));
        assert_ne!(
            of(machine.pid).unwrap(),
            of(machine.keeper).unwrap(),
            "{kind}"
        );
    }
    let proc = format!("/proc/{}", machine.pid.as_raw_nonzero());
    assert_eq!(fs::read_dir(format!("{proc}/root/")).unwrap().count(), 0);
    assert!(fs::File::create(format!("{proc}/root/x")).is_err());
    let mounts = fs::read_to_string(format!("{proc}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    assert!(core.contains(" 0 "), "{core}");
    let groups = fs::read_to_string(format!("{proc}/cgroup")).unwrap();
    assert!(groups.contains("hull-vmm-"), "no control group: {groups}");
    // Standard input, output and error; the ways to the keeper; nothing of the file system but what was named.
    let open: BTreeSet<_> = fs::read_dir(format!("{proc}/fd"))
        .unwrap()
        .map(|fd| fd.unwrap().path())
        .filter(|fd| !is_a_proc_of_processes(fd))
        .map(|fd| fs::read_link(fd).unwrap())
        .filter(|target| target.starts_with("/") && !target.starts_with(vm.dir.path()))
        .map(|target| target.display().to_string())
        .collect();
    let known = ["/dev/kvm", "/dev/null", "/proc/self/fd", "/self/fd"];
    let odd = open.iter().filter(|path| !known.contains(&path.as_str()));
    // Of its own `/proc`.
    let own = |path: &&String| path.ends_with("/fd") || path.ends_with("/pagemap");
    let odd: Vec<_> = odd.filter(|path| !own(path)).collect();
    assert!(odd.is_empty(), "{odd:?}");
    running.signal(Signal::INT);
    running.end();
    machine.assert_gone();
}

/// Whether this descriptor is the root of a `/proc` in which there are processes and nothing of the host.
fn is_a_proc_of_processes(fd: &Path) -> bool {
    fd.join("self").is_symlink() && !fd.join("sys").exists() && !fd.join("kallsyms").exists()
}

#[test]
fn whoever_is_killed_leaves_no_process_and_a_fresh_start_cleans_up() {
    if no_kvm() {
        return;
    }
    let vm = machine();
    let (running, machine) = start(&vm);
    let groups = machine.groups.clone();
    assert!(!groups.is_empty());
    running.signal(Signal::KILL);
    running.wait();
    machine.await_end();
    for group in &groups {
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert_eq!(members, "", "{}", group.display());
    }

    let (running, machine) = start(&vm);
    for group in &groups {
        assert!(!group.exists(), "{} was left", group.display());
    }
    kill_process(machine.pid, Signal::KILL).unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::Killed, "{ended:?}");
    let sentence = ended.sentence();
    assert!(
        sentence.contains("the machine's process was killed: by signal 9"),
        "{sentence}"
    );
    vm.assert_clean();
    machine.assert_gone();
}

#[test]
fn levels_and_no_sandbox_take_away_what_they_say() {
    if no_kvm() {
        return;
    }
    let cases = [
        ("--no-seccomp", "0", true),
        ("--seccomp-level=0", "0", true),
        ("--seccomp-level=1", "2", true),
        ("--no-sandbox", "0", false),
    ];
    for (argument, seccomp, sandboxed) in cases {
        let vm = machine().arg(argument);
        let (running, machine) = start(&vm);
        let task = process::tasks(machine.pid).remove(0);
        assert_eq!(process::status(&task, "Seccomp"), seccomp, "{argument}");
        let root = process::status(&task, "Uid").starts_with("0 ");
        assert_eq!(root, !sandboxed, "{argument}");
        running.signal(Signal::INT);
        assert_eq!(running.end().cause(), ExitCause::Terminated);
    }
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason() {
    for (argument, reason) in [
        ("--seccomp-filter=x", "the filters belong to the program"),
        ("--enable-pci", "has no PCI"),
        ("--describe-snapshot=x", "it cannot be read: No such file"),
    ] {
        let ended = Vm::empty().command_with(&[argument]);
        let sentence = ended.refusal(ExitCause::BadConfig);
        assert!(sentence.contains(reason), "{sentence}");
    }
}

/// A user without rights has the same sandbox, in a user namespace. KVM is made accessible in a mount namespace of the test's own.
#[test]
fn a_user_without_rights_has_a_sandbox_too() {
    if no_kvm() {
        return;
    }
    // Standard output is the test's, which this user may use and not open.
    let vm = Vm::of(&Code::new().print("ready\n").spin()).set("/serial", json!({}));
    let program = vm.path("hull-vmm");
    fs::copy(env!("CARGO_BIN_EXE_hull-vmm"), &program).unwrap();
    fs::write(vm.path("config.json"), vm.config.to_string()).unwrap();
    fs::set_permissions(vm.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let script = "mount -t tmpfs tmpfs /mnt && mknod -m 666 /mnt/kvm c 10 232 && mount --bind /mnt/kvm /dev/kvm && cd \"$1\" && \
                  exec setpriv --reuid 65534 --regid 65534 --clear-groups ./hull-vmm --no-api --config-file config.json";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(vm.dir.path()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::of(command.spawn().unwrap());
    running.await_output("ready\n");
    let machine = Machine::of(running.pid());
    for task in process::tasks(machine.pid) {
        assert_eq!(process::status(&task, "Uid"), "65534 65534 65534 65534");
        assert_eq!(process::status(&task, "Seccomp"), "2");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(process::status(&task, set), "0000000000000000", "{set}");
        }
    }
    let proc = format!("/proc/{}", machine.pid.as_raw_nonzero());
    assert_eq!(fs::read_dir(format!("{proc}/root/")).unwrap().count(), 0);
    let of = |pid: Pid| fs::read_link(format!("/proc/{}/ns/user", pid.as_raw_nonzero()));
    assert_ne!(of(machine.pid).unwrap(), of(machine.keeper).unwrap());
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::Terminated, "{ended:?}");
}
