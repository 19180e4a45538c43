//! `hull doctor` against `hull run`: what one promises the other keeps.

use std::fs;

use hull_tests::process::run;
use hull_tests::{Home, kvm, programs};

#[test]
fn a_host_that_is_ready_runs_a_container() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code(), 0, "{}{}", doctor.text(), doctor.stderr);
    let output = home
        .run(&["run", "--rm", "busybox", "echo", "hi"])
        .success();
    assert_eq!(output, "hi\n");
    home.assert_clean();
}

#[test]
fn what_a_run_stumbles_over_is_not_ready() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let guest = programs().join("../guest");
    let broken = |name: &str, file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let dir = home.scratch().join(format!("guest-{name}-{file}"));
        fs::create_dir(&dir).expect("a directory");
        for part in ["vmlinux", "initramfs.cpio"] {
            let mut bytes = fs::read(guest.join(part)).expect("the guest's files");
            if part == file {
                change(&mut bytes);
            }
            fs::write(dir.join(part), bytes).expect("a file");
        }
        dir
    };
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let text = |bytes: &mut Vec<u8>| *bytes = b"not a kernel".to_vec();
    let long = "r".repeat(100);
    let cases = [
        ("HULL_GUEST_DIR", broken("half", "vmlinux", &half)),
        ("HULL_GUEST_DIR", broken("text", "vmlinux", &text)),
        ("HULL_GUEST_DIR", broken("text", "initramfs.cpio", &text)),
        ("HULL_RUN", home.scratch().join(long)),
        ("HULL_RUN", "/proc/hull".into()),
        ("HULL_VMM", "/etc/passwd".into()),
    ];
    for (variable, value) in cases {
        for (args, code) in [
            (&["doctor"][..], 1),
            (&["run", "--rm", "busybox", "true"], 125),
        ] {
            let mut command = home.hull(args);
            command.env(variable, &value);
            let finished = run(&mut command);
            let said = format!("{}{}", finished.text(), finished.stderr);
            assert_eq!(
                finished.code(),
                code,
                "{variable}={}: {said}",
                value.display()
            );
        }
    }
    home.assert_clean();
}
