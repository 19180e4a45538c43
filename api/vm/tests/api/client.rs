//! The client of this crate, against the server of this crate and against others.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use hull_vm_api::client::ClientError;
use hull_vm_api::config::{
    Balloon, BalloonStatsUpdate, BalloonUpdate, BootSource, Console, ConsoleUpdate, CpuConfig,
    Drive, DriveUpdate, Entropy, HintingStart, HostPath, Logger, MachineConfig, MachineUpdate,
    MemoryHotplug, MemoryHotplugUpdate, Metrics, MmdsConfig, MmdsVersion, NetworkInterface,
    NetworkUpdate, Pmem, PmemUpdate, Serial, Share, ShareCache, Vsock,
};
use hull_vm_api::request::{Action, SnapshotCreate, SnapshotLoad, SnapshotType};
use hull_vm_api::server::Limits;
use hull_vm_api::{Client, Stage};
use serde_json::json;

use crate::vmm::{Vmm, serve, socket_in};

fn path(text: &str) -> HostPath {
    HostPath::from(text)
}

/// Configures one device of each kind.
fn configure(client: &Client) -> Result<(), ClientError> {
    client.put_boot_source(&BootSource {
        kernel_image_path: path("/k"),
        initrd_path: None,
        boot_args: None,
    })?;
    client.put_machine_config(&MachineConfig::default())?;
    client.patch_machine_config(&MachineUpdate {
        mem_size_mib: Some(256),
        ..MachineUpdate::default()
    })?;
    client.put_cpu_config(&CpuConfig::default())?;
    client.put_drive(&Drive {
        path_on_host: Some(path("fd:disk")),
        ..Drive::new("d")
    })?;
    client.put_pmem(&Pmem {
        id: "p".to_owned(),
        path_on_host: Some(path("/p")),
        parts: Vec::new(),
        root_device: false,
        read_only: true,
        rate_limiter: None,
    })?;
    client.put_network_interface(&NetworkInterface::new("n", path("tap0")))?;
    client.put_share(&Share {
        tag: "s".to_owned(),
        path: path("/s"),
        read_only: true,
        cache: ShareCache::Always,
        queues: 1,
    })?;
    client.put_vsock(&Vsock::new(3, path("/v")))?;
    client.put_entropy(&Entropy::default())?;
    client.put_serial(&Serial::default())?;
    client.put_console(&Console::new(path("/o")))?;
    client.put_balloon(&Balloon {
        amount_mib: 1,
        deflate_on_oom: true,
        stats_polling_interval_s: 1,
        free_page_hinting: true,
        free_page_reporting: true,
    })?;
    client.put_memory_hotplug(&MemoryHotplug {
        total_size_mib: 1024,
        slot_size_mib: 128,
        block_size_mib: 2,
    })?;
    client.put_mmds_config(&MmdsConfig {
        version: MmdsVersion::V2,
        network_interfaces: vec!["n".to_owned()],
        ipv4_address: None,
        imds_compat: false,
    })?;
    client.put_logger(&Logger::default())?;
    client.put_metrics(&Metrics::new(path("/m")))
}

#[test]
fn a_machine_is_driven_from_its_configuration_to_its_snapshot() -> Result<(), ClientError> {
    let vmm = Vmm::start();
    let client = vmm.client();
    configure(&client)?;
    assert_eq!(client.instance()?.state, Stage::NotStarted);
    assert_eq!(client.version()?.hull_version, "0.0.0");
    assert_eq!(client.machine_config()?.mem_size_mib, 256);
    client.put_mmds(&json!({ "a": { "b": 1 } }))?;
    client.put_share(&Share {
        tag: "gone".to_owned(),
        path: path("/s"),
        read_only: true,
        cache: ShareCache::Always,
        queues: 1,
    })?;
    client.put_drive(&Drive {
        path_on_host: Some(path("/gone")),
        ..Drive::new("gone")
    })?;
    client.delete_drive("gone")?;
    client.delete_share("gone")?;
    let config = client.config()?;
    assert_eq!((config.shares.len(), config.drives.len()), (1, 1));
    client.start()?;

    assert_eq!(client.instance()?.state, Stage::Running);
    assert!(client.delete_drive("d").is_err() && client.delete_pmem("p").is_err());
    client.patch_mmds(&json!({ "a": { "c": 2 } }))?;
    assert_eq!(client.mmds()?, json!({ "a": { "b": 1, "c": 2 } }));
    client.patch_drive(&DriveUpdate {
        drive_id: "d".to_owned(),
        path_on_host: Some(path("/new")),
        rate_limiter: None,
    })?;
    client.patch_pmem(&PmemUpdate {
        id: "p".to_owned(),
        rate_limiter: None,
    })?;
    client.patch_network_interface(&NetworkUpdate {
        iface_id: "n".to_owned(),
        rx_rate_limiter: None,
        tx_rate_limiter: None,
        allowed_addresses: Some(vec!["10.0.0.2".parse().unwrap()]),
        link: None,
    })?;
    client.patch_console(&ConsoleUpdate {
        rows: 24,
        columns: 80,
    })?;
    client.patch_balloon(&BalloonUpdate { amount_mib: 2 })?;
    client.patch_balloon_statistics(&BalloonStatsUpdate {
        stats_polling_interval_s: 3,
    })?;
    assert_eq!(client.balloon()?.stats_polling_interval_s, 3);
    assert_eq!(client.balloon_statistics()?.free_memory, Some(1 << 20));
    client.start_hinting(&HintingStart::default())?;
    assert_eq!(client.hinting_status()?.host_cmd, 0);
    client.stop_hinting()?;
    client.patch_memory_hotplug(&MemoryHotplugUpdate {
        requested_size_mib: 128,
    })?;
    assert_eq!(client.memory_hotplug()?.requested_size_mib, 128);
    for action in [
        Action::FlushMetrics,
        Action::SendNmi,
        Action::SendPowerButton,
    ] {
        client.action(action)?;
    }
    assert!(client.metrics()?.starts_with("hull_vm_info"));
    let config = client.config()?;
    assert_eq!(config.drives[0].path_on_host, Some(path("/new")));
    assert_eq!(config.console.unwrap().rows, Some(24));
    let create = SnapshotCreate {
        snapshot_type: SnapshotType::Full,
        snapshot_path: path("fd:state"),
        mem_file_path: path("fd:memory"),
        resume_vm: false,
    };
    client.create_snapshot(&create)?;
    client.pause()?;
    client.create_snapshot(&create)?;
    client.resume()?;

    // These come too late, but they come: the client has a method for every route.
    for late in [
        client.delete_network_interface("n"),
        client.load_snapshot(&SnapshotLoad::new(path("/s"), path("/m"))),
    ] {
        late.unwrap_err();
    }
    let requests = vmm.requests();
    let unused = requests.rows().filter(|(_, count, _)| *count == 0);
    let unused: Vec<_> = unused.map(|(route, ..)| route).collect();
    assert!(unused.is_empty(), "{unused:?}");
    Ok(())
}

#[test]
fn a_snapshot_is_loaded() -> Result<(), ClientError> {
    let vmm = Vmm::start();
    let client = vmm.client();
    client.load_snapshot(&SnapshotLoad::new(path("/s"), path("/m")))?;
    assert_eq!(client.instance()?.state, Stage::Paused);
    assert_eq!(client.config()?.boot_source, None);
    Ok(())
}

#[test]
fn a_refusal_is_in_the_words_of_the_vmm() {
    let vmm = Vmm::start();
    let client = vmm.client();
    let error = client.pause().unwrap_err();
    assert!(matches!(error, ClientError::Fault { status: 400, .. }));
    assert_eq!(
        error.to_string(),
        "The requested operation is not supported before starting the microVM."
    );
    let error = client.delete_network_interface("a/../b").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Invalid request method and/or path"),
        "{error}"
    );
    // More than the server takes: it answers without reading all of it.
    let error = client
        .put_mmds(&json!({ "a": "x".repeat(1 << 20) }))
        .unwrap_err();
    assert!(
        error.to_string().contains("larger than the limit of 51200"),
        "{error}"
    );
}

#[test]
fn a_socket_without_a_vmm_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = Client::new(directory.path().join("no"))
        .instance()
        .unwrap_err();
    assert!(error.to_string().contains("/no"), "{error}");
}

#[test]
fn patience_ends() {
    let directory = tempfile::tempdir().unwrap();
    let socket = socket_in(directory.path());
    let (server, calls) = serve(&socket, Limits::default());
    let time = Duration::from_millis(30);
    let error = Client::new(&socket).with_time(time).instance().unwrap_err();
    assert!(
        matches!(error, ClientError::Time(t) if t == time),
        "{error}"
    );
    drop(calls);
    server.stop().unwrap();
}

#[test]
fn answers_of_others_are_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = socket_in(directory.path());
    let listener = UnixListener::bind(&socket).unwrap();
    let answers: &[(&str, &str)] = &[
        ("SSH-2.0-OpenSSH\r\n", "cannot be understood"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "Content-Length",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "broke"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n[]", "its answer to GET /"),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\nno",
            "400 without a fault_message",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n{\"fault_message\":\"no!\"}",
            "no!",
        ),
        ("", "broke"),
    ];
    let server = thread::spawn(move || {
        for (answer, _) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert_ne!(stream.read(&mut request).unwrap(), 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for (answer, expected) in answers {
        let error = Client::new(&socket).instance().unwrap_err().to_string();
        assert!(error.contains(expected), "{answer:?}: {error}");
    }
    server.join().unwrap();
}
