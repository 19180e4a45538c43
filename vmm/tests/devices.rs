//! Devices of a real process, changed by its API while a guest looks at their registers.

mod common;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use common::guest::{Code, WINDOW};
use common::{Configured, QUEUES, Running, Vm, no_kvm};
use hull_vm_api::config::{
    BalloonUpdate, ConsoleUpdate, DriveUpdate, HintingStart, HostPath, LinkState,
    MemoryHotplugUpdate, NetworkUpdate, RateLimiter, TokenBucket,
};
use hull_vm_api::{Client, ExitCause, Stage};
use rustix::process::Signal;
use serde_json::json;

/// Where the registers of the devices are, and of each its configuration space.
const REGISTERS: u64 = 0xd000_0000;
const CONFIG: u32 = 0x100;

/// A guest that waits until byte `offset` of the configuration space of its device number `slot` has a value, and powers off.
fn waits_for(slot: u32, offset: u32, value: u8) -> Vm {
    let address = WINDOW + slot * 0x1000 + CONFIG + offset;
    let code = Code::new().window(REGISTERS).await_byte(address, value);
    Vm::of(&code.power_off())
}

fn disk(vm: &Vm, name: &str, size: u64) -> HostPath {
    let path = vm.path(name);
    File::create(&path).unwrap().set_len(size).unwrap();
    HostPath::try_from(path.as_path()).unwrap()
}

fn drive(path: &HostPath) -> serde_json::Value {
    json!({ "drive_id": "d", "path_on_host": path, "is_root_device": false })
}

fn limit() -> Option<RateLimiter> {
    let bucket = TokenBucket {
        size: 1000,
        one_time_burst: None,
        refill_time: 100,
    };
    Some(RateLimiter {
        bandwidth: Some(bucket),
        ops: None,
    })
}

fn interrupt(running: Running) {
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
}

fn powers_off(running: Running) {
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}

fn balloon_of(vm: Vm) -> Vm {
    vm.set(
        "/balloon",
        json!({ "amount_mib": 0, "deflate_on_oom": true, "stats_polling_interval_s": 5, "free_page_hinting": true }),
    )
}

#[test]
fn another_file_takes_the_place_of_a_disk_while_the_guest_runs() {
    if no_kvm() {
        return;
    }
    for engine in ["Sync", "Async"] {
        let vm = waits_for(0, 0, 24);
        let mut first = drive(&disk(&vm, "first", 8 * 512));
        first["io_engine"] = json!(engine);
        first["queues"] = json!(2);
        let vm = vm.set("/drives", json!([first]));
        let (running, client) = vm.serve(Configured::ByFile);
        let patch = |path: HostPath| {
            client.patch_drive(&DriveUpdate {
                drive_id: "d".to_owned(),
                path_on_host: Some(path),
                rate_limiter: limit(),
            })
        };
        let missing = patch(HostPath::from("/no/such/disk")).unwrap_err();
        assert!(missing.to_string().contains("/no/such/disk"), "{missing}");
        patch(disk(&vm, "second", 16 * 512)).unwrap();
        let config = client.config().unwrap();
        assert_eq!(config.drives[0].rate_limiter, limit());
        // The same file again, which is larger now; paused machines can be changed as well.
        client.pause().unwrap();
        patch(disk(&vm, "second", 24 * 512)).unwrap();
        let counted = client.metrics().unwrap();
        let updates = "hull_block_update_count_total{vm=\"hull\",id=\"d\"} 2\n";
        assert!(counted.contains(updates), "{counted}");
        client.resume().unwrap();
        powers_off(running);
    }
}

/// The flags of whatever has `name` at its end and is open in a process (open(2), in octal).
fn flags(process: &str, name: &str) -> Vec<i32> {
    let fds = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let named = fds.filter_map(|fd| {
        let path = fd.unwrap().path();
        let is_it = fs::read_link(&path).is_ok_and(|to| to.ends_with(name));
        is_it.then(|| path.file_name().unwrap().to_owned())
    });
    let flags = named.map(|fd| {
        let info = format!("/proc/{process}/fdinfo/{}", fd.display());
        let info = fs::read_to_string(info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        i32::from_str_radix(flags.unwrap().trim(), 8).unwrap()
    });
    flags.collect()
}

#[test]
fn a_descriptor_that_was_handed_over_goes_past_the_page_cache_and_leaves_its_makers_flags() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
    let path = vm.path("disk");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let mut options = File::options();
    options.read(true).write(true);
    if options
        .clone()
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .is_err()
    {
        println!("SKIPPED: no direct access to files in {}", path.display());
        return;
    }
    // Without waiting, which a disk must not: it is not what its maker has either.
    let disk = options.custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    rustix::io::fcntl_setfd(&disk, rustix::io::FdFlags::empty()).unwrap();
    let other = vm.path("other");
    fs::write(&other, vec![0; 1 << 20]).unwrap();
    let plain = File::options().read(true).write(true).open(&other).unwrap();
    rustix::io::fcntl_setfd(&plain, rustix::io::FdFlags::empty()).unwrap();
    let drive = |id: &str, path: &str, direct: bool| json!({ "drive_id": id, "path_on_host": path, "is_root_device": false, "direct": direct });
    let vm = vm
        .arg(&format!("--fd=disk={}", disk.as_raw_fd()))
        .arg(&format!("--fd=other={}", plain.as_raw_fd()))
        .set("/drives", json!([drive("d", "fd:disk", true)]));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let machine = running.machine();
    let has = flags(&machine, "disk");
    let wanted = |flags: &i32| flags & (libc::O_DIRECT | libc::O_NONBLOCK) == libc::O_DIRECT;
    assert!(!has.is_empty() && has.iter().all(wanted), "{has:?}");
    // So does what takes its place while the machine runs.
    client
        .patch_drive(&DriveUpdate {
            drive_id: "d".to_owned(),
            path_on_host: Some(HostPath::fd("other")),
            rate_limiter: None,
        })
        .unwrap();
    let has = flags(&machine, "other");
    assert!(!has.is_empty() && has.iter().all(wanted), "{has:?}");
    for (file, expected) in [(&disk, libc::O_NONBLOCK), (&plain, 0)] {
        let own = rustix::fs::fcntl_getfl(file).unwrap().bits().cast_signed();
        assert_eq!(own & (libc::O_DIRECT | libc::O_NONBLOCK), expected);
    }
    interrupt(running);
}

#[test]
fn a_disk_that_is_written_belongs_to_one_machine() {
    if no_kvm() {
        return;
    }
    let spin = Code::new().spin();
    let vm = Vm::of(&spin);
    let path = disk(&vm, "disk", 4096);
    let vm = vm.set("/drives", json!([drive(&path)]));
    let (first, client) = vm.serve(Configured::ByFile);
    assert_eq!(client.instance().unwrap().state, Stage::Running);

    let mut second = Vm::of(&spin).set("/drives", json!([drive(&path)]));
    let ended = second.start().end();
    let sentence = ended.refusal(ExitCause::NoResource);
    assert!(sentence.contains("in use by another microVM"), "{sentence}");
    second.config["drives"][0]["is_read_only"] = json!(true);
    assert_eq!(second.start().end().cause(), ExitCause::NoResource);
    interrupt(first);

    let (reader, _) = second.serve(Configured::ByFile);
    let mut third = Vm::of(&Code::new().power_off());
    third.config["drives"] = second.config["drives"].clone();
    assert_eq!(third.start().end().cause(), ExitCause::PowerOff);
    interrupt(reader);
    // With its machine goes its lock.
    third.config["drives"][0]["is_read_only"] = json!(false);
    assert_eq!(third.start().end().cause(), ExitCause::PowerOff);
}

#[test]
fn a_balloon_is_inflated_and_asked() {
    if no_kvm() {
        return;
    }
    // The target's second byte; vsock is in the first slot.
    let vm = balloon_of(waits_for(1, 1, 5));
    let (running, client) = vm.serve(Configured::ByFile);
    assert_eq!(client.balloon().unwrap().amount_mib, 0);
    client.start_hinting(&HintingStart::default()).unwrap();
    assert!(client.hinting_status().unwrap().host_cmd > 1);
    client.stop_hinting().unwrap();
    let too_much = client.patch_balloon(&BalloonUpdate { amount_mib: 65 });
    assert!(too_much.unwrap_err().to_string().contains("65"));
    client.pause().unwrap();
    client
        .patch_balloon(&BalloonUpdate { amount_mib: 5 })
        .unwrap();
    let statistics = client.balloon_statistics().unwrap();
    assert_eq!((statistics.target_mib, statistics.actual_mib), (5, 0));
    assert_eq!(client.balloon().unwrap().amount_mib, 5);
    client.resume().unwrap();
    powers_off(running);
}

#[test]
fn memory_is_offered_and_a_console_changes_its_size() {
    if no_kvm() {
        return;
    }
    // 128 MiB requested: the fourth byte of requested_size.
    let vm = waits_for(1, 51, 8).set("/memory-hotplug", json!({ "total_size_mib": 256 }));
    let (running, client) = vm.serve(Configured::ByFile);
    let status = client.memory_hotplug().unwrap();
    assert_eq!((status.total_size_mib, status.requested_size_mib), (256, 0));
    let request = |requested_size_mib| {
        client.patch_memory_hotplug(&MemoryHotplugUpdate { requested_size_mib })
    };
    assert!(request(257).is_err() && request(3).is_err());
    request(128).unwrap();
    powers_off(running);

    let vm = waits_for(1, 0, 132);
    let output = vm.path("console");
    let console = json!({ "output_path": output, "rows": 24, "columns": 80 });
    let vm = vm.set("/console", console);
    let (running, client) = vm.serve(Configured::ByFile);
    let (rows, columns) = (50, 132);
    client
        .patch_console(&ConsoleUpdate { rows, columns })
        .unwrap();
    powers_off(running);
}

#[test]
fn a_file_is_memory() {
    if no_kvm() {
        return;
    }
    for read_only in [true, false] {
        let guest = Code::new()
            .window(4 << 30)
            .await_byte(WINDOW + 4095, b'!')
            .store(WINDOW, 0x6c6c_7548);
        let vm = Vm::of(&guest.power_off());
        let mut contents = vec![0; 4096];
        contents[4095] = b'!';
        fs::write(vm.path("pmem"), contents).unwrap();
        let path = vm.path("pmem");
        let pmem = json!([{ "id": "p", "path_on_host": path, "read_only": read_only }]);
        let vm = vm.set("/pmem", pmem);
        let ended = vm.start().end();
        assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
        let written = fs::read(&path).unwrap().starts_with(b"Hull");
        assert_eq!(written, !read_only);
    }
}

#[test]
fn several_files_in_a_row_are_memory() {
    if no_kvm() {
        return;
    }
    // The second begins at the next page, and what is between them is zero.
    let guest = Code::new()
        .window(4 << 30)
        .await_byte(WINDOW + 4999, b'a')
        .await_byte(WINDOW + 5000, 0)
        .await_byte(WINDOW + 8192, b'b');
    let vm = Vm::of(&guest.power_off());
    let part = |name: &str, contents: &[u8]| {
        fs::write(vm.path(name), contents).unwrap();
        vm.path(name)
    };
    let parts = [part("one", &[b'a'; 5000]), part("two", b"b")];
    let mut pmem = json!({ "id": "p", "parts": parts, "read_only": true });
    let vm = vm.set("/pmem", json!([pmem]));
    let ended = vm.start().end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    pmem["read_only"] = json!(false);
    let ended = vm.set("/pmem", json!([pmem])).start().end();
    let sentence = ended.refusal(ExitCause::BadConfig);
    assert!(sentence.contains("must say read_only: true"), "{sentence}");
}

#[test]
fn the_parts_of_a_disk_have_many_readers_and_no_writer() {
    if no_kvm() {
        return;
    }
    let spin = Code::new().spin();
    let vm = Vm::of(&spin);
    let path = disk(&vm, "part", 4096);
    let parts = json!([{ "drive_id": "d", "parts": [path], "is_root_device": false, "is_read_only": true }]);
    let vm = vm.set("/drives", parts.clone());
    let (reader, client) = vm.serve(Configured::ByFile);
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    let writer = Vm::of(&spin).set("/drives", json!([drive(&path)]));
    let ended = writer.start().end();
    let sentence = ended.refusal(ExitCause::NoResource);
    assert!(sentence.contains("in use by another microVM"), "{sentence}");
    let other = Vm::of(&Code::new().power_off()).set("/drives", parts);
    assert_eq!(other.start().end().cause(), ExitCause::PowerOff);
    interrupt(reader);
}

#[test]
fn a_cable_is_pulled_out_and_limits_change() {
    if no_kvm() {
        return;
    }
    // Bit 0 of the status: the link is up.
    let mut vm = waits_for(0, 6, 0).set(
        "/network-interfaces",
        json!([{ "iface_id": "n", "host_dev_name": QUEUES, "guest_mac": "06:00:ac:10:00:02", "queues": 2 }]),
    );
    vm.own_network = true;
    let vm = vm.set(
        "/mmds-config",
        json!({ "network_interfaces": ["n"], "version": "V2" }),
    );
    let (running, client) = vm.serve(Configured::ByFile);
    client.put_mmds(&json!({ "a": 1 })).unwrap();
    let mut update = NetworkUpdate {
        iface_id: "n".to_owned(),
        rx_rate_limiter: limit(),
        tx_rate_limiter: limit(),
        allowed_addresses: Some(vec!["10.0.0.2".parse().unwrap()]),
        link: None,
    };
    client.patch_network_interface(&update).unwrap();
    update.link = Some(LinkState::Down);
    update.iface_id = "m".to_owned();
    assert!(client.patch_network_interface(&update).is_err());
    update.iface_id = "n".to_owned();
    client.patch_network_interface(&update).unwrap();
    powers_off(running);
}

#[test]
fn what_is_not_there_cannot_be_changed_or_asked() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().spin());
    let (running, client): (_, Client) = vm.serve(Configured::ByFile);
    let refused = [
        client.balloon_statistics().map(drop),
        client.memory_hotplug().map(drop),
        client.hinting_status().map(drop),
        client.stop_hinting(),
        client.patch_balloon(&BalloonUpdate { amount_mib: 1 }),
        client.patch_console(&ConsoleUpdate {
            rows: 1,
            columns: 1,
        }),
        client.delete_drive("d"),
    ];
    for result in refused {
        result.unwrap_err();
    }
    let path = disk(&vm, "late", 4096);
    let late = serde_json::from_value(drive(&path)).unwrap();
    let sentence = client.put_drive(&late).unwrap_err().to_string();
    assert!(sentence.contains("after starting"), "{sentence}");
    assert!(client.config().unwrap().drives.is_empty());
    interrupt(running);
}

#[test]
fn a_directory_is_shared_and_its_device_is_paused_with_the_machine() {
    if no_kvm() {
        return;
    }
    // The first letter of the tag.
    let vm = waits_for(1, 0, b's');
    let path = vm.path("shared");
    fs::create_dir(&path).unwrap();
    let share = json!([{ "tag": "stuff", "path": path }]);
    let vm = vm.set("/shares", share);
    assert_eq!(vm.start().end().cause(), ExitCause::PowerOff);
    let vm = waits_for(1, 0, b'x').set("/shares", vm.config["shares"].clone());
    fs::create_dir_all(&path).unwrap();
    let (running, client) = vm.serve(Configured::ByFile);
    client.pause().unwrap();
    client.resume().unwrap();
    interrupt(running);
}
