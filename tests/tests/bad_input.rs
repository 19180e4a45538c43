//! What a person gets wrong: one clear sentence, Docker's exit status, and nothing left behind.

use std::fs;

use hull_tests::process::run;
use hull_tests::{Home, image, kvm};

#[test]
fn commands_that_cannot_run_say_so_in_dockers_words() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    for (args, code, words) in [
        (
            &["no-such-command"][..],
            127,
            &["no-such-command", "executable file not found"][..],
        ),
        (&["/etc"], 126, &["/etc", "is a directory"]),
        (&["/etc/passwd"], 126, &["/etc/passwd", "permission denied"]),
    ] {
        home.run(&[&["run", "--rm", "busybox"], args].concat())
            .fails_with(code, words);
    }
    home.run(&["run", "--rm", "-u", "stranger", "busybox", "true"])
        .fails_with(125, &["unable to find user stranger"]);
    home.assert_clean();
}

#[test]
fn options_out_of_range_are_refused_before_anything_starts() {
    let home = Home::with_image("busybox");
    for (args, words) in [
        (&["--memory", "1m"][..], &["memory", "6"][..]),
        (&["--memory", "900t"], &["memory"]),
        (&["--memory", "much"], &["memory", "much"]),
        (&["--cpus", "0.0001"], &["cpus"]),
        (&["--cpus", "1000"], &["cpus", "1000"]),
        (&["--cap-add", "FLY"], &["FLY"]),
        (&["--name", "a/b"], &["a/b"]),
        (&["--env-file", "/nowhere"], &["/nowhere"]),
        (&["-w", "relative"], &["relative", "absolute"]),
        (&["--tmpfs", "relative"], &["relative", "absolute"]),
        (&["--no-such-option"], &["--no-such-option"]),
    ] {
        let output = home.run(&[&["run", "--rm"], args, &["busybox", "true"]].concat());
        output.fails_with(125, words);
        assert_eq!(output.stdout, b"");
    }
    home.run(&["run", "--rm", "--pull", "never", "absent", "true"])
        .fails_with(125, &["absent"]);
    home.run(&["run", "--rm", "Bad:::Name", "true"])
        .fails_with(125, &["Bad:::Name"]);
    home.assert_clean();
}

#[test]
fn a_kernel_that_is_none_is_refused() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    home.end_daemon();
    let guest = home.scratch().join("guest");
    fs::create_dir(&guest).expect("a directory");
    fs::write(guest.join("vmlinux"), "not a kernel").expect("a file");
    fs::write(guest.join("initramfs.cpio"), "not an initramfs").expect("a file");
    let mut command = home.hull(&["run", "--rm", "busybox", "true"]);
    command.env("HULL_GUEST_DIR", &guest);
    run(&mut command).fails_with(125, &["kernel"]);
    // What is in its environment is the daemon's that it starts.
    home.end_daemon();

    let mut command = home.hull(&["run", "--rm", "busybox", "true"]);
    command.env("HULL_GUEST_DIR", home.scratch().join("nowhere"));
    run(&mut command).fails_with(125, &["vmlinux", "nowhere"]);
    home.assert_clean();
}

#[test]
fn a_damaged_image_is_refused_and_nothing_of_it_is_kept() {
    let home = Home::new();
    let copy = home.scratch().join("image");
    let status = std::process::Command::new("cp")
        .args([
            "-rL",
            &image("busybox").to_string_lossy(),
            &copy.to_string_lossy(),
        ])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    let blobs = copy.join("blobs/sha256");
    let largest = fs::read_dir(&blobs)
        .expect("blobs")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()))
        .expect("a layer");
    let layer = fs::read(&largest).expect("the layer");
    let path = copy.to_string_lossy().into_owned();

    fs::write(&largest, &layer[..layer.len() / 2]).expect("a truncated layer");
    assert_ne!(home.run(&["image", "load", "-i", &path]).code(), 0);
    let mut altered = layer;
    let middle = altered.len() / 2;
    altered[middle] ^= 0xff;
    fs::write(&largest, altered).expect("an altered layer");
    home.run(&["image", "load", "-i", &path])
        .fails_with(1, &["digest"]);

    assert_eq!(home.run(&["image", "ls", "-q"]).success(), "");
    home.run(&["run", "--rm", "--pull", "never", "busybox", "true"])
        .fails_with(125, &["busybox"]);
    home.assert_clean();
}

/// What is said of a failure is one sentence, in one line.
#[track_caller]
fn one_sentence(stderr: &str) {
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(
        lines.len() == 1 && lines[0].starts_with("hull: "),
        "{stderr}"
    );
}

#[test]
fn without_kvm_or_without_permission_a_run_says_what_to_do() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // A /dev with everything else in it; and a device that may not be opened.
    let missing = "d=$(mktemp -d) && mount -t tmpfs none $d || exit 77\n\
        for n in null zero full random urandom tty; do touch $d/$n && mount --bind /dev/$n $d/$n; done\n\
        ln -s /proc/self/fd $d/fd; mount --move $d /dev; rmdir $d\n\
        exec \"$@\"\n";
    let forbidden = "mount --bind /dev/kvm /dev/kvm || exit 77\n\
        mount -o remount,bind,nodev,nosuid,noexec /dev/kvm || exit 77\n\
        exec \"$@\"\n";
    for known in [false, true] {
        if known {
            // Then it is the VMM that finds out and not the probe.
            let _ = home.run(&["doctor"]).success();
        }
        for (script, words) in [
            (missing, &["/dev/kvm"][..]),
            (forbidden, &["/dev/kvm", "kvm"]),
        ] {
            let run_it = &["run", "--rm", "busybox", "true"];
            // Its daemon is among these mounts, too.
            home.end_daemon();
            let finished = run(&mut home.hull_among_mounts(script, run_it));
            finished.fails_with(125, words);
            one_sentence(&finished.stderr);
            assert_eq!(finished.text(), "");
            let doctor = run(&mut home.hull_among_mounts(script, &["doctor"]));
            assert_eq!(doctor.code(), 1, "{}", doctor.text());
        }
    }
    home.assert_clean();
}

#[test]
fn a_failed_run_without_rm_leaves_a_container_that_was_never_started() {
    if !kvm() {
        return;
    }
    // As with Docker: it can be looked at, and has to be removed.
    let home = Home::with_image("busybox");
    home.run(&["run", "--name", "typo", "busybox", "no-such-command"])
        .fails_with(127, &["no-such-command"]);
    let listed = home.run(&["ps", "--all"]).success();
    assert!(
        listed.contains("typo") && listed.contains("Created"),
        "{listed}"
    );
    assert_eq!(home.run(&["ps", "--quiet"]).success(), "");
    home.wait_until_quiet();
    let _ = home.run(&["rm", "typo"]).success();
    home.assert_clean();
}

/// Runs a container again and again on a file system with ever more room, until there is enough.
#[test]
fn a_full_disk_of_the_host_is_reported_whatever_it_was_needed_for() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    fs::create_dir_all(home.root()).expect("a directory");
    // First there is no room at all, then some for the container's files, for the disk's template, for the disk, and at
    // last for the machine, but not for what its guest writes.
    let script = "mount -t tmpfs -o size=64m none \"$HULL_ROOT\" || exit 77\n\
        hull=$1; shift\n\
        $hull image load -q -i \"$LAYOUT\" >&2 || exit 1\n\
        free=0\n\
        while [ $free -le 8192 ]; do\n\
        head -c $((free * 1024 + 1)) /dev/zero > \"$HULL_ROOT/room\"\n\
        cat /dev/zero > \"$HULL_ROOT/filler\" 2>/dev/null\n\
        rm \"$HULL_ROOT/room\"\n\
        words=$($hull \"$@\" 2>&1); code=$?\n\
        echo \"$free $code $(echo \"$words\" | wc -l) $words\"\n\
        left=$(ls -A \"$HULL_ROOT/containers\" \"$HULL_ROOT/names\" | grep -v -c -e ':$' -e '^$')\n\
        [ $left = 0 ] || echo \"$free left $left\"\n\
        rm -f \"$HULL_ROOT/filler\" \"$HULL_ROOT\"/templates/*\n\
        [ $code = 125 ] || break\n\
        free=$((free * 2 + 8))\n\
        done\n";
    let write =
        "dd if=/dev/urandom of=/data bs=64k count=160 conv=fsync 2>/dev/null || echo dd failed";
    let args = ["run", "--rm", "busybox", "sh", "-c", write];
    let mut command = home.hull_among_mounts(script, &args);
    command.env("LAYOUT", image("busybox"));
    let text = run(&mut command).success();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.splitn(4, ' ').collect())
        .collect();
    let (last, failed) = lines.split_last().expect("some attempts");
    assert!(failed.len() >= 3, "{text}");
    for line in failed {
        assert_eq!(line[1..3], ["125", "1"], "one sentence: {text}");
        assert!(line[3].contains("space"), "{text}");
    }
    // The guest met the end of the host's disk as an error of its own, and the machine went on.
    assert_eq!(last[1..], ["0", "1", "dd failed"], "{text}");
    home.assert_clean();
}

#[test]
fn a_full_disk_of_the_container_is_an_error_of_the_program() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // What a refused one has taken by then stays taken.
    let script = "fallocate -l 1g /large || echo refused; rm /large; \
        fallocate -l 20m /most && echo taken; \
        dd if=/dev/zero of=/rest bs=64k count=320 2>&1 | grep -c 'No space left'; \
        rm /most /rest; echo again > /small && cat /small";
    for (size, words) in [
        ("size=31m", "from 32m"),
        ("size=2t", "from 32m"),
        ("dm.basesize=1g", "basesize"),
    ] {
        let args = ["run", "--rm", "--storage-opt", size, "busybox", "true"];
        home.run(&args).fails_with(125, &[words]);
    }
    let output = home.run(&[
        "run",
        "--rm",
        "--storage-opt",
        "size=32m",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(
        output.text(),
        "refused\ntaken\n1\nagain\n",
        "{}",
        output.stderr
    );
    assert_eq!(output.code(), 0);
    home.assert_clean();
}
