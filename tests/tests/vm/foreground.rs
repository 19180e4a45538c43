//! Those whose console is somebody's terminal.

use std::fs;

use hull_tests::{Home, Terminal, kvm};

use super::assert_none_left;
use super::guest::{ext4, initramfs, read_ext4};

#[test]
fn everything_that_it_is_given_is_in_the_guest() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let initrd = initramfs(&home);
    let (writable, protected) = (
        ext4(&home, "writable", None, false),
        ext4(&home, "protected", None, false),
    );
    let shared = home.scratch().join("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::write(shared.join("note"), "from the host").expect("a file");
    let share = format!("{}:things", shared.display());
    let protected_ro = format!("{protected}:ro");
    let run = [
        "vm",
        "run",
        "--initrd",
        &initrd,
        "--disk",
        &writable,
        "--disk",
        &protected_ro,
        "--net",
        "none",
        "--share",
        &share,
        "--cpus",
        "2",
        "--memory",
        "200m",
        "--cmdline",
        "quiet",
        "--console",
    ];
    let mut terminal = Terminal::start(&mut home.hull(&run), 33, 99);
    terminal.wait_for("Ctrl-] ends it");
    terminal.wait_for("guest is up");
    for (command, answer) in [
        ("busybox stty size", "33 99"),
        ("busybox nproc", "2"),
        ("busybox mount -t virtiofs things /mnt", "status 0"),
        ("busybox cat /mnt/note", "from the host"),
        ("echo from the guest >/mnt/answer", "status 0"),
        ("busybox umount /mnt", "status 0"),
        ("busybox mount -t ext4 /dev/vda /mnt", "status 0"),
        ("echo kept on disk >/mnt/note", "status 0"),
        ("busybox umount /mnt", "status 0"),
        ("busybox mount -t ext4 /dev/vdb /mnt", "status 0"),
        ("echo x >/mnt/x", "Read-only"),
        ("echo x >/dev/vdb", "status 1"),
        ("busybox grep -c vd /proc/partitions", "2"),
    ] {
        terminal.type_text(&format!("{command}\r"));
        terminal.wait_for("\r\n");
        terminal.wait_for(answer);
    }
    terminal.resize(20, 70);
    terminal.type_text(
        "until [ \"$(busybox stty size)\" = '20 70' ]; do :; done; echo now $((20 * 70))\r",
    );
    terminal.wait_for("now 1400");
    terminal.type_text("busybox poweroff -f\r");
    assert_eq!(terminal.finish(), 0);
    assert!(terminal.is_cooked(), "the terminal was put right again");
    assert_none_left(&home);

    let answer = fs::read_to_string(shared.join("answer")).expect("the guest's file");
    assert_eq!(answer, "from the guest\n");
    assert_eq!(read_ext4(&writable, "/note"), "kept on disk\n");
}
