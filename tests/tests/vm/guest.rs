//! What the guests of these tests boot: the host's static busybox, in an initramfs or in a directory that becomes a disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_tests::Home;

/// Does what it reads, line by line, and says how that went.
const SHELL: &str = r#"#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
echo "guest is up"
while read -r line; do
    eval "$line"
    echo "status $?"
done
"#;

/// What Hull's kernel starts when somebody presses the power button.
const POWEROFF: &str = r#"#!/bin/busybox sh
echo "asked to power off" >/dev/console
busybox poweroff -f
"#;

fn busybox() -> Vec<u8> {
    fs::read("/bin/busybox").expect("busybox-static of Debian")
}

/// An initramfs whose init does what it reads.
pub(crate) fn initramfs(home: &Home) -> String {
    initramfs_with(home, &[])
}

/// The same with more programs in `/bin`.
pub(crate) fn initramfs_with(home: &Home, programs: &[(&str, &Path)]) -> String {
    let mut cpio = Vec::new();
    for directory in ["dev", "proc", "mnt", "bin", "sbin"] {
        entry(&mut cpio, directory, 0o040_755, (0, 0), b"");
    }
    entry(&mut cpio, "dev/console", 0o020_600, (5, 1), b"");
    entry(&mut cpio, "bin/busybox", 0o100_755, (0, 0), &busybox());
    for (name, program) in programs {
        let program = fs::read(program).expect("a program");
        let name = format!("bin/{name}");
        entry(&mut cpio, &name, 0o100_755, (0, 0), &program);
    }
    entry(&mut cpio, "init", 0o100_755, (0, 0), SHELL.as_bytes());
    let poweroff = POWEROFF.as_bytes();
    entry(&mut cpio, "sbin/poweroff", 0o100_755, (0, 0), poweroff);
    entry(&mut cpio, "TRAILER!!!", 0, (0, 0), b"");
    let path = home.scratch().join("initrd.cpio");
    fs::write(&path, cpio).expect("an initramfs");
    path.to_string_lossy().into_owned()
}

/// One entry of a newc archive.
fn entry(cpio: &mut Vec<u8>, name: &str, mode: usize, device: (usize, usize), data: &[u8]) {
    let inode = cpio.len() + 1;
    cpio.extend(b"070701");
    let (size, name_size) = (data.len(), name.len() + 1);
    for field in [
        inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0,
    ] {
        cpio.extend(format!("{field:08x}").bytes());
    }
    for part in [format!("{name}\0").as_bytes(), data] {
        cpio.extend(part);
        cpio.resize(cpio.len().next_multiple_of(4), 0);
    }
}

/// A root directory whose init runs `script` and powers off.
pub(crate) fn tree(home: &Home, script: &str) -> PathBuf {
    let tree = home.scratch().join("tree");
    for directory in ["dev", "proc", "bin", "sbin"] {
        fs::create_dir_all(tree.join(directory)).expect("a directory");
    }
    let init = format!(
        "#!/bin/busybox sh\n\
        busybox mount -t proc proc /proc\n\
        busybox mount -t devtmpfs dev /dev\n\
        if (: </dev/console) 2>/dev/null; then exec </dev/console >/dev/console 2>&1; fi\n\
        {script}\n\
        busybox poweroff -f\n"
    );
    for (name, content) in [("bin/busybox", busybox()), ("sbin/init", init.into())] {
        let path = tree.join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    tree
}

/// Where the partition of a partitioned disk begins, in bytes.
const FIRST: u64 = 1 << 20;

/// A file with an ext4 of 16 MiB: empty, or what is in a directory; for a partitioned disk in its first partition.
pub(crate) fn ext4(home: &Home, name: &str, content: Option<&Path>, partitioned: bool) -> String {
    let path = home.scratch().join(name);
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    mkfs.args(["-q", "-F", "-O", "^has_journal"]);
    if let Some(directory) = content {
        mkfs.arg("-d").arg(directory);
    }
    if partitioned {
        mkfs.arg("-E").arg(format!("offset={FIRST}"));
    }
    let file = fs::File::create(&path).expect("a file");
    file.set_len(FIRST + (16 << 20)).expect("room");
    let made = mkfs.arg(&path).arg("16M").status().expect("mkfs.ext4");
    assert!(made.success(), "{mkfs:?} failed");
    if partitioned {
        use std::os::unix::fs::FileExt;
        let mut record = [0; 72];
        record[..4].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        record[10] = 0x83;
        record[14..18].copy_from_slice(&2048_u32.to_le_bytes());
        record[18..22].copy_from_slice(&(16_u32 << 11).to_le_bytes());
        record[70..].copy_from_slice(&[0x55, 0xaa]);
        file.write_all_at(&record, 440).expect("a partition table");
    }
    path.to_string_lossy().into_owned()
}

/// What is in a file of an ext4 without partitions.
pub(crate) fn read_ext4(disk: &str, file: &str) -> String {
    let output = Command::new("/usr/sbin/debugfs")
        .args(["-R", &format!("cat {file}"), disk])
        .output()
        .expect("debugfs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
