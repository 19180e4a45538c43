//! What a process finds around it: user, rights, file systems, devices.

use std::fs;
use std::os::unix::fs::symlink;

use hull_agent_protocol::{
    Capabilities, CapabilitySet, Configure, ExitStatus, Mount, MountSource, Place, Resource,
    Rlimit, Start, Sysctl,
};

use crate::common::{Outcome, start};
use crate::sandbox::{Machine, finish, run};

pub(crate) fn shell(script: &str) -> Start {
    start(&["sh", "-c", script])
}

fn tmpfs(target: &str, options: &str) -> Mount {
    let options = options.into();
    Mount {
        target: target.into(),
        source: MountSource::Tmpfs { options },
    }
}

fn volume(name: &str, target: &str) -> Mount {
    let name = name.into();
    Mount {
        target: target.into(),
        source: MountSource::Volume { name },
    }
}

/// What a command prints that succeeds.
pub(crate) fn output(start: Start) -> String {
    let (stdout, stderr, outcome) = run(start);
    assert_eq!(
        outcome,
        Outcome::Exited(ExitStatus::Code(0)),
        "{stdout}{stderr}"
    );
    stdout
}

/// The same in a machine that is configured otherwise.
pub(crate) fn output_with(start: Start, change: impl FnOnce(&Machine, &mut Configure)) -> String {
    let mut machine = Machine::new();
    let mut configure = machine.configure();
    change(&machine, &mut configure);
    machine.session.end.configure(configure).unwrap();
    machine.session.end.start(start).unwrap();
    let (stdout, stderr, outcome) = finish(&mut machine.session);
    assert_eq!(
        outcome,
        Outcome::Exited(ExitStatus::Code(0)),
        "{stdout}{stderr}"
    );
    stdout
}

pub(crate) fn users_and_groups() {
    let id = |user: &str, groups: &[&str]| {
        let mut start = shell("id; echo $HOME");
        start.user = user.into();
        start.groups = groups.iter().map(|&group| group.to_owned()).collect();
        output(start)
    };
    assert_eq!(
        id("", &[]),
        "uid=0(root) gid=0(root) groups=0(root)\n/root\n"
    );
    let app = "uid=1000(app) gid=1000(app) groups=100(users),1000(app)\n/home/app\n";
    assert_eq!(id("app", &[]), app);
    let expected = "uid=77 gid=100(users) groups=5,100(users)\n/\n";
    assert_eq!(id("77:users", &["5"]), expected);
}

pub(crate) fn rights_are_dockers() {
    let status = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr -s '\\t\\n' '  '";
    let docker = "a80425fb";
    let none = "CapInh: 0000000000000000";
    let root = output(shell(status));
    let expected = format!(
        "{none} CapPrm: 00000000{docker} CapEff: 00000000{docker} CapBnd: 00000000{docker} CapAmb: 0000000000000000 NoNewPrivs: 0"
    );
    assert_eq!(root.trim(), expected);

    let user = output(Start {
        user: "app".into(),
        no_new_privileges: true,
        ..shell(status)
    });
    let zero = "0000000000000000";
    let expected = format!(
        "{none} CapPrm: {zero} CapEff: {zero} CapBnd: 00000000{docker} CapAmb: {zero} NoNewPrivs: 1"
    );
    assert_eq!(user.trim(), expected);

    let bind = CapabilitySet(1 << 10);
    let ambient = Capabilities {
        bounding: bind,
        effective: bind,
        permitted: bind,
        inheritable: bind,
        ambient: bind,
    };
    let user = output(Start {
        user: "app".into(),
        capabilities: ambient,
        ..shell(status)
    });
    assert!(user.contains("CapEff: 0000000000000400"), "{user}");
}

pub(crate) fn limits_and_variables() {
    let mut start = shell("ulimit -n; ulimit -Hn; echo $A; cat /proc/self/oom_score_adj; umask");
    start.rlimits = vec![Rlimit {
        resource: Resource::OpenFiles,
        soft: 100,
        hard: 200,
    }];
    start.env.push("A=b c".into());
    start.oom_score_adj = 321;
    assert_eq!(output(start), "100\n200\nb c\n321\n0022\n");
}

pub(crate) fn the_container_sees_only_itself() {
    let script = "echo $$; hostname; ls /; ls /proc | grep -c '^[0-9]'; mount | grep -c ' on / '; \
                  grep SigBlk /proc/self/status; ls /proc/self/fd | wc -l; \
                  cat /proc/self/cgroup; cat /sys/class/net/lo/flags";
    let seen = output(shell(script));
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..2], ["1", "box"], "{seen}");
    let end = lines
        .iter()
        .position(|line| *line == "tmp")
        .expect("the list of /")
        + 1;
    let root = [
        "bin", "data", "dev", "etc", "home", "proc", "run", "sys", "tmp",
    ];
    assert_eq!(lines[2..end], root, "{seen}");
    let rest = &lines[end..];
    // The shell, `ls` and `grep`.
    assert!(rest[0].parse::<u32>().unwrap() <= 3, "{seen}");
    assert_eq!(rest[1], "1", "{seen}");
    assert_eq!(rest[2], "SigBlk:\t0000000000000000", "{seen}");
    assert_eq!(
        rest[3], "4",
        "only the standard streams and the directory are open: {seen}"
    );
    assert!(rest[4..].contains(&"0::/"), "{seen}");
    assert_eq!(rest.last(), Some(&"0x9"), "loopback is up: {seen}");
}

pub(crate) fn devices_are_dockers() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; \
                  for l in fd stdin stdout stderr ptmx core; do readlink /dev/$l; done; \
                  stat -c '%a' /dev/shm /dev/pts/ptmx; test -e /dev/console || echo no console; \
                  mount | grep -E ' on /dev' | tr -s ' ' | sed 's/ (.*//' ; echo x > /dev/null; head -c 3 /dev/zero | wc -c; \
                  echo to stdout > /dev/stdout";
    let seen = output(Start {
        user: "app".into(),
        ..shell(&script.replace("| sed 's/ (.*//'", ""))
    });
    for line in [
        "/dev/null character special file 1:3 666",
        "/dev/tty character special file 5:0 666",
        "/dev/full character special file 1:7 666",
        "/proc/self/fd/2",
        "pts/ptmx",
        "1777\n666",
        "no console",
        "on /dev/pts type devpts",
        "on /dev/shm type tmpfs",
        "on /dev/mqueue type mqueue",
        "3\nto stdout",
    ] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
}

pub(crate) fn files_of_etc_are_mounted() {
    let script = "cat /etc/hostname /etc/hosts /etc/resolv.conf; stat -c '%a %u' /etc/hosts; \
                  echo 1.2.3.4 x >> /etc/hosts && cat /etc/hosts";
    let expected = "box\n127.0.0.1 localhost\nnameserver 10.0.0.1\n644 0\n\
                    127.0.0.1 localhost\n1.2.3.4 x\n";
    assert_eq!(output(shell(script)), expected);
}

pub(crate) fn run_is_in_memory_and_begins_as_the_image_s() {
    let script = "mount | grep ' on /run ' | cut -d' ' -f5; stat -c '%n %a %u %F' /run /run/*; cat /run/app/said; \
                  readlink /run/link; echo 1 > /run/app.pid && echo written";
    let seen = output_with(shell(script), |machine, configure| {
        let run = machine.image().join("run");
        fs::create_dir(run.join("app")).unwrap();
        fs::write(run.join("app/said"), "by the image\n").unwrap();
        symlink("app/said", run.join("link")).unwrap();
        std::os::unix::fs::chown(run.join("app"), Some(1000), None).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o2775);
        fs::set_permissions(run.join("app"), mode).unwrap();
        // As on a host that was started: it is writable where the root is not.
        configure.root.read_only = true;
    });
    let expected = "tmpfs\n/run 755 0 directory\n/run/app 2775 1000 directory\n\
                    /run/link 777 0 symbolic link\nby the image\napp/said\nwritten\n";
    assert_eq!(seen, expected);
}

pub(crate) fn the_kernel_is_protected() {
    let script = "echo 1 2>&1 > /proc/sys/kernel/hostname; cat /proc/keys /proc/timer_list; \
                  ls /sys/firmware; mkdir /sys/fs/cgroup/x 2>&1; mount -t tmpfs t /tmp 2>&1; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start; true";
    let seen = output(shell(script));
    assert!(
        seen.contains("can't create /proc/sys") || seen.contains("Read-only"),
        "{seen}"
    );
    assert!(seen.contains("/sys/fs/cgroup/x': Read-only"), "{seen}");
    assert!(seen.contains("permission denied"), "{seen}");
    assert!(seen.ends_with("\n0\n"), "{seen}");

    let seen = output_with(
        shell(
            "mkdir /sys/fs/cgroup/y && rmdir /sys/fs/cgroup/y && echo made; mount | grep ' /sys '",
        ),
        |_, configure| {
            configure.privileged = true;
        },
    );
    assert!(
        seen.starts_with("made\n") && seen.contains("(rw,"),
        "{seen}"
    );
}

pub(crate) fn a_read_only_root_keeps_volumes_writable() {
    let script = "touch /x 2>&1; cat /data/sub/file; echo; touch /data/y && echo volume; \
                  touch /tmp/z && echo tmpfs; stat -c %a /tmp /made /data; mount | grep ' /made '";
    let seen = output_with(shell(script), |machine, configure| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1770);
        fs::set_permissions(machine.image().join("tmp"), mode).unwrap();
        configure.root.read_only = true;
        configure.mounts = vec![
            tmpfs("/tmp", "size=1m"),
            tmpfs("/made", "mode=711,exec"),
            volume("v1", "/data"),
        ];
    });
    let expected =
        "touch: /x: Read-only file system\nfrom the image\nvolume\ntmpfs\n1770\n711\n755\n";
    assert!(seen.starts_with(expected), "{seen}");
    assert!(
        seen.contains("nosuid,nodev") && !seen.contains("noexec"),
        "{seen}"
    );
}

pub(crate) fn a_disk_keeps_what_is_written() {
    let disk = tempfile::tempdir().unwrap();
    // An overlay needs a file system for its upper layer that is not one itself.
    let image = disk.path().join("disk.img");
    let file = fs::File::create(&image).unwrap();
    file.set_len(32 << 20).unwrap();
    drop(file);
    let made = std::process::Command::new("mkfs.ext4")
        .args(["-q", "-F"])
        .arg(&image)
        .status();
    let mounted = disk.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let mount = |arguments: &[&std::ffi::OsStr]| {
        std::process::Command::new("mount")
            .args(arguments)
            .status()
            .is_ok_and(|s| s.success())
    };
    if !made.is_ok_and(|status| status.success())
        || !mount(&[
            "-o".as_ref(),
            "loop".as_ref(),
            image.as_os_str(),
            mounted.as_os_str(),
        ])
    {
        println!("SKIPPED: no loop devices here");
        return;
    }
    let run = |script: &str| {
        output_with(shell(script), |_, configure| {
            configure.root.writable = Some(mounted.to_str().unwrap().into());
            configure.mounts = vec![volume("v1", "/data")];
        })
    };
    let first = run(
        "echo kept > /kept; echo too > /data/too; mkdir /bin/d; echo gone > /etc/plain; echo 7 > /run/stale.pid; echo ok",
    );
    let second = run("cat /kept /data/too /data/sub/file; ls -d /bin/d; ls /run");
    let unmounted = std::process::Command::new("umount")
        .arg(&mounted)
        .status()
        .unwrap();
    assert_eq!(first, "ok\n");
    assert_eq!(second, "kept\ntoo\nfrom the image/bin/d\n");
    assert!(unmounted.success(), "something still uses the disk");
}

pub(crate) fn an_image_of_evil_links_stays_inside() {
    let seen = output_with(
        shell("cat /etc/hosts; ls -d /proc/1 /sys/class /dev/null; ls /outside"),
        |machine, configure| {
            let image = machine.image();
            let outside = machine.base.path().join("places/outside");
            let outside = outside.to_str().unwrap();
            for name in ["proc", "sys", "dev"] {
                let target = format!("{outside}/{name}");
                symlink(target, image.join(name)).unwrap();
            }
            fs::create_dir(image.join("outside")).unwrap();
            symlink("../../../../outside/hosts", image.join("etc/hosts")).unwrap();
            symlink("/proc/self/mem", image.join("etc/hostname")).unwrap();
            fs::remove_file(image.join("etc/group")).unwrap();
            symlink("/dev/zero", image.join("etc/group")).unwrap();
            configure.identity.hostname.clear();
        },
    );
    assert_eq!(
        seen,
        "127.0.0.1 localhost\n/dev/null\n/proc/1\n/sys/class\nhosts\n"
    );
}

pub(crate) fn a_working_directory_is_made() {
    let script = shell("pwd; stat -c '%u %a' .");
    let made = Start {
        cwd: "/made/a/b".into(),
        user: "app".into(),
        ..script.clone()
    };
    assert_eq!(output(made), "/made/a/b\n0 755\n");

    let mut machine = Machine::started(start(&["cat"]));
    machine.session.started();
    let mut session = machine.another();
    let cwd = "/not/there".to_owned();
    session
        .end
        .start(Start {
            cwd,
            place: Place::Beside,
            ..script
        })
        .unwrap();
    let Outcome::Failed(failure) = session.outcome() else {
        panic!("it started")
    };
    let message =
        "chdir to cwd (\"/not/there\") set in config.json failed: no such file or directory";
    assert_eq!(failure.message, message);
}

pub(crate) fn settings_of_the_kernel_are_written_or_refused_with_the_reason() {
    let sysctl = |name: &str, value: &str| Sysctl {
        name: name.into(),
        value: value.into(),
    };
    let script = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shm_rmid_forced \
                  /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let seen = output_with(shell(script), |_, configure| {
        configure.sysctls = vec![
            sysctl("net.ipv4.ip_default_ttl", "77"),
            sysctl("kernel/shm_rmid_forced", "1"),
            sysctl("net.ipv4.ip_unprivileged_port_start", "99"),
        ];
    });
    assert_eq!(seen, "77\n1\n99\n");

    for (name, why) in [
        ("net.no.such", "no such file or directory"),
        ("../etc", "invalid sysctl name"),
    ] {
        let mut machine = Machine::new();
        let mut configure = machine.configure();
        configure.sysctls = vec![sysctl(name, "1")];
        machine.session.end.configure(configure).unwrap();
        machine.session.end.start(shell("true")).unwrap();
        let Outcome::Failed(failure) = machine.session.outcome() else {
            panic!("{name} was written")
        };
        assert!(
            failure.message.contains(name) && failure.message.contains(why),
            "{failure}"
        );
    }
}

pub(crate) fn names_and_shared_memory_are_as_asked() {
    let script = "cat /proc/sys/kernel/domainname; mount | grep ' /dev/shm '";
    let seen = output_with(shell(script), |_, configure| {
        configure.identity.domainname = "example.net".into();
        configure.shm_size = Some(1 << 20);
    });
    assert!(seen.starts_with("example.net\n"), "{seen}");
    assert!(
        seen.contains("size=1024k") && seen.contains("nosuid,nodev,noexec"),
        "{seen}"
    );
}
