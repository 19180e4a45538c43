//! Directories of the host in the guest: what one side does, the other sees, and nothing leads out of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::no_kvm;
use crate::shell::Machine;
use crate::tree;

#[test]
fn a_tree_of_1000_files_is_unpacked_and_is_the_same_on_the_host() {
    if no_kvm() {
        return;
    }
    let machine = Machine::new(1, 192).programs_of_the_host();
    let (given, work) = (machine.path("given"), machine.path("work"));
    for directory in [&given, &work] {
        fs::create_dir(directory).unwrap();
    }
    tree::make(&machine.path("tree"));
    let mut tar = Command::new("tar");
    tar.arg("--directory").arg(machine.path("tree"));
    tar.arg("-cf").arg(given.join("tree.tar")).arg(".");
    assert!(tar.status().unwrap().success(), "{tar:?}");
    let mut guest = machine
        .share("given", &given, true)
        .share("work", &work, false)
        .boot();
    guest.sh("
        mkdir /given /work
        mount -t virtiofs given /given
        mount -t virtiofs work /work
        mount -t virtiofs usr /usr
    ");
    // The dots show that it goes on.
    guest.sh("
        /usr/bin/tar --numeric-owner --checkpoint=10 --checkpoint-action=dot -xpf /given/tree.tar -C /work
    ");
    let (wanted, found) = (tree::read(&guest.path("tree")), tree::read(&work));
    assert_eq!(wanted.len(), tree::ENTRIES);
    for (name, entry) in &wanted {
        assert_eq!(found.get(name), Some(entry), "{}", name.display());
    }
    assert_eq!(found.len(), wanted.len());
    // The guest sees the same, not only what it remembers of it.
    let count = "
        umount /work
        mount -t virtiofs work /work
        find /work -mindepth 1 | wc -l
    ";
    assert_eq!(guest.sh(count), format!("{}\n", tree::ENTRIES));
    guest.sh("rm -r /work/*");
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    guest.power_off();
}

#[test]
fn both_sides_see_what_the_other_does_and_nothing_leads_out() {
    if no_kvm() {
        return;
    }
    let machine = Machine::new(1, 128);
    let (work, fixed) = (machine.path("work"), machine.path("fixed"));
    let outside = machine.path("outside");
    for directory in [&work, &fixed, &outside] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(outside.join("secret"), "the host's").unwrap();
    fs::write(fixed.join("file"), "as it is").unwrap();
    let mut guest = machine
        .share("work", &work, false)
        .share("fixed", &fixed, true)
        .boot();
    guest.sh("
        mkdir /work /fixed
        mount -t virtiofs work /work
        mount -t virtiofs fixed /fixed
        # Waits until a file has these contents: what was read of it is believed for a second.
        await() { until [ \"$(cat $1)\" = \"$2\" ]; do :; done; }
    ");
    edits(&mut guest, &work);
    escapes(&mut guest, &work, &outside);
    refuses_writes(&mut guest, &fixed);
    guest.power_off();
}

/// Edits of either side, in place and by another file of the same name.
fn edits(guest: &mut crate::shell::Guest, work: &Path) {
    let file = work.join("file");
    fs::write(&file, "first").unwrap();
    assert_eq!(guest.sh("cat /work/file"), "first");
    // Whoever has it open sees the edit as well as who opens it again.
    guest.sh("exec 5</work/file");
    fs::write(&file, "second, and longer").unwrap();
    guest.sh("await /work/file 'second, and longer'");
    assert_eq!(guest.sh("cat <&5; exec 5<&-"), "second, and longer");
    fs::write(&file, "short").unwrap();
    guest.sh("await /work/file short");
    // As editors do: the old file lives on for who has it open.
    guest.sh("exec 5</work/file");
    fs::write(work.join("new"), "in its place").unwrap();
    fs::rename(work.join("new"), &file).unwrap();
    guest.sh("await /work/file 'in its place'");
    assert_eq!(guest.sh("cat <&5; exec 5<&-"), "short");
    fs::remove_file(&file).unwrap();
    guest.sh("while [ -e /work/file ]; do :; done");
    fs::create_dir(&file).unwrap();
    guest.sh("until [ -d /work/file ]; do :; done");
    fs::remove_dir(&file).unwrap();

    guest.sh("until [ ! -e /work/file ]; do :; done; echo guest >/work/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "guest\n");
    guest.sh("echo more >>/work/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "guest\nmore\n");
    guest.sh("echo other >/work/new; mv /work/new /work/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "other\n");
    // Both append, and neither loses a line.
    let mut appended = String::from("other\n");
    for turn in 0..5 {
        guest.sh(&format!("echo guest {turn} >>/work/file"));
        let mut options = fs::File::options();
        let mut host = options.append(true).open(&file).unwrap();
        std::io::Write::write_all(&mut host, format!("host {turn}\n").as_bytes()).unwrap();
        appended += &format!("guest {turn}\nhost {turn}\n");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), appended);
    guest.sh(&format!("await /work/file '{}'", appended.trim_end()));
    guest.sh("rm /work/file");
    assert!(!file.exists());
}

/// Links and names that lead out of the directory.
fn escapes(guest: &mut crate::shell::Guest, work: &Path, outside: &Path) {
    let secret = outside.join("secret");
    symlink(&secret, work.join("absolute")).unwrap();
    symlink("../outside/secret", work.join("relative")).unwrap();
    symlink("../outside", work.join("directory")).unwrap();
    symlink("../../../../../../..", work.join("root")).unwrap();
    fs::create_dir(work.join("etc")).unwrap();
    fs::write(work.join("etc/name"), "inside").unwrap();
    symlink("/etc/name", work.join("name")).unwrap();
    let refused = format!(
        "
        for name in absolute relative directory/secret ../outside/secret root{secret} ..{secret}; do
            cat /work/$name && echo read $name
            echo x >/work/$name && echo wrote $name
        done 2>/dev/null
        ln -s {secret} /work/made; cat /work/made 2>/dev/null && echo read made
        ln -s {outside} /work/there; touch /work/there/new 2>/dev/null && echo made new
        mv /work/etc/name /work/there/ 2>/dev/null && echo moved
        mknod /work/disk b 8 0 2>/dev/null && echo made a disk
        ls -a /work/.. | grep -q outside && echo saw outside || true
        ",
        secret = secret.display(),
        outside = outside.display(),
    );
    assert_eq!(guest.sh(&refused), "");
    assert_eq!(fs::read_link(work.join("made")).unwrap(), secret);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the host's");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
    // Where the share is the root, links are resolved in it.
    let inside = "
        mkdir /work/bin; cp /bin/busybox /work/bin
        chroot /work /bin/busybox cat /name
        chroot /work /bin/busybox cat /root/etc/name /../../etc/name
    ";
    assert_eq!(guest.sh(inside), "inside".repeat(3));
    let refused = format!(
        "chroot /work /bin/busybox cat /absolute /directory/secret /root{} 2>/dev/null",
        secret.display()
    );
    let (status, output) = guest.try_sh(&refused);
    assert!(status != 0 && output.is_empty(), "{output}");
}

/// What is shared for reading only stays as it is, whatever the guest thinks of its mount.
fn refuses_writes(guest: &mut crate::shell::Guest, fixed: &Path) {
    let before = tree::read(fixed);
    let refused = "
        for options in ro rw; do
            mount -o remount,$options /fixed
            cat /fixed/file
            echo x >/fixed/file && echo wrote
            echo x >>/fixed/file && echo appended
            echo x >/fixed/new && echo made
            mkdir /fixed/directory && echo made a directory
            ln /fixed/file /fixed/link && echo linked
            ln -s file /fixed/symlink && echo linked
            mkfifo /fixed/pipe && echo made a pipe
            mv /fixed/file /fixed/moved && echo moved
            rm -f /fixed/file && echo removed
            chmod 777 /fixed/file && echo changed its mode
            chown 1 /fixed/file && echo changed its owner
            touch /fixed/file && echo changed its time
            truncate -s 1 /fixed/file && echo changed its size
        done 2>/tmp/refusals
        grep -v 'Read-only file system' /tmp/refusals || true
    ";
    assert_eq!(guest.sh(refused), "as it is".repeat(2));
    assert_eq!(tree::read(fixed), before);
}
