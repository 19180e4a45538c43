//! A real distribution: made by mmdebstrap, pushed by skopeo, served by docker-registry, pulled and run.

use hull_tests::{Home, Registry, image, kvm};

#[test]
fn a_debian_image_is_pulled_and_runs_python_and_a_second_one_shares_its_base() {
    if !kvm() {
        return;
    }
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::new();
    let debian = registry.push(&image("debian"), "debian:latest");
    let app = registry.push(&image("debian-app"), "app:latest");

    let _ = home.run(&["image", "pull", &debian]).success();
    let base = registry.blobs_served("debian");
    assert!(
        base >= 2,
        "a configuration and a layer came from the registry, not {base} blobs"
    );
    let before = stored(&home);
    let _ = home.run(&["image", "pull", &app]).success();
    assert_eq!(
        registry.blobs_served("app"),
        2,
        "its configuration and its own layer"
    );
    let own = stored(&home) - before;
    assert!(
        own * 4 < before,
        "the second image took {own} bytes beside {before} of the first"
    );

    let script = "import hashlib, os\n\
        data = os.urandom(1 << 16)\n\
        open('/srv/file', 'wb').write(data)\n\
        assert open('/srv/file', 'rb').read() == data\n\
        print(sum(range(1000)), hashlib.sha256(b'hull').hexdigest()[:8], os.cpu_count())\n\
        print(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20)\n";
    let python = [
        "run", "--rm", "--cpus", "2", "--memory", "1g", &debian, "python3", "-c", script,
    ];
    let text = home.run(&python).success();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("499500 fb4dac7b 2"));
    let memory: u64 = lines
        .next()
        .and_then(|line| line.parse().ok())
        .expect("the memory in MiB");
    // The machine is as large as some others, and the limit is the container's.
    assert!((1024..=1280).contains(&memory), "{memory} MiB");
    home.assert_clean();
}

#[test]
fn sixteen_megabytes_go_through_the_writable_disk_unchanged() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("debian");
    // The second dd bypasses the guest's cache on both sides, and what it wrote is read from the disk again.
    let script = "set -e; perl -e 'srand 7; $b = join \"\", map { pack \"L\", rand 2**32 } 1..1<<18; \
                  open $f, \">\", \"/root/data\"; syswrite $f, pack(\"L\", $_) . substr($b, 4) for 1..16'; \
                  sync; dd if=/root/data of=/root/copy bs=1M iflag=direct oflag=direct conv=fsync status=none; \
                  sha256sum /root/data /root/copy | cut -d' ' -f1 | uniq -c | cut -c-7; stat -c %s /root/copy";
    let args = [
        "run", "--rm", "--cpus", "2", "--memory", "1g", "debian", "sh", "-c", script,
    ];
    let text = home.run(&args).success();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(
        words,
        ["2", "16777216"],
        "two equal files of 16 MiB: {text}"
    );
    home.assert_clean();
}

/// What a program gains by its file, it gains in the container: by its owner, and by capabilities.
#[test]
fn set_user_id_programs_and_file_capabilities_work() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("debian-app");
    let script = "stat -c '%A %U %n' /usr/bin/sudo /bin/su; getcap /usr/bin/ping /srv/capable
        stat -c '%F %t,%T %a %n' /srv/null; echo gone > /srv/null; wc -c < /srv/null
        echo 'nobody ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/nobody
        as='setpriv --reuid nobody --regid nogroup --clear-groups'
        $as sudo -n id -u
        # Nobody may ping without a capability then; a copy of the program has none.
        echo 1 0 > /proc/sys/net/ipv4/ping_group_range
        cp /usr/bin/ping /tmp/ping
        $as ping -q -c 1 127.0.0.1 > /dev/null; echo $?
        $as /tmp/ping -q -c 1 127.0.0.1 2>&1 | grep -c 'not permitted'";
    let output = home.run(&[
        "run",
        "--rm",
        "--privileged",
        "debian-app",
        "sh",
        "-c",
        script,
    ]);
    let expected = "-rwsr-xr-x root /usr/bin/sudo\n-rwsr-xr-x root /bin/su\n\
        /usr/bin/ping cap_net_raw=ep\n/srv/capable cap_net_bind_service=p\n\
        character special file 1,3 666 /srv/null\n0\n\
        0\n\
        0\n\
        1\n";
    assert_eq!(output.text(), expected, "{}", output.stderr);
    home.assert_clean();
}

/// The bytes that the image store takes on disk.
fn stored(home: &Home) -> u64 {
    fn size(path: &std::path::Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let Ok(entries) = std::fs::read_dir(path) else {
            return 0;
        };
        entries
            .filter_map(Result::ok)
            .map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => size(&entry.path()),
                Ok(metadata) => metadata.blocks() * 512,
                Err(_) => 0,
            })
            .sum()
    }
    size(&home.root())
}
