//! What a person gets wrong: one clear sentence, Docker's exit status, and nothing left behind.

use std::fs;

use hull_tests::{Home, kvm};

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
    let guest = home.scratch().join("guest");
    fs::create_dir(&guest).expect("a directory");
    fs::write(guest.join("vmlinux"), "not a kernel").expect("a file");
    fs::write(guest.join("initramfs.cpio"), "not an initramfs").expect("a file");
    let mut command = home.hull(&["run", "--rm", "busybox", "true"]);
    command.env("HULL_GUEST_DIR", &guest);
    hull_tests::process::run(&mut command).fails_with(125, &["kernel"]);

    let mut command = home.hull(&["run", "--rm", "busybox", "true"]);
    command.env("HULL_GUEST_DIR", home.scratch().join("nowhere"));
    hull_tests::process::run(&mut command).fails_with(125, &["vmlinux", "nowhere"]);
    home.assert_clean();
}

#[test]
fn a_damaged_image_is_refused_and_nothing_of_it_is_kept() {
    let home = Home::new();
    let copy = home.scratch().join("image");
    let status = std::process::Command::new("cp")
        .args([
            "-rL",
            &hull_tests::image("busybox").to_string_lossy(),
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
