//! What is read is what was written, and nothing else is read.

use std::path::PathBuf;

use hull_devices::balloon::{Balloon, BalloonConfig};
use hull_devices::block::{BlockConfig, BlockState, CacheMode, Engine, Serial};
use hull_devices::console::{ConsoleSize, ConsoleState};
use hull_devices::fs::{
    FsCache, FsConfig, FsState, HandleState, NodeState, RangeLockState, Session, WaitingState,
};
use hull_devices::mem::{MemConfig, MemState};
use hull_devices::net::{MacAddress, NetState};
use hull_devices::pmem::{PmemConfig, PmemState};
use hull_devices::rate::{BucketConfig, BucketState, RateConfig, RateState};
use hull_devices::rng::RngState;
use hull_devices::serial::SerialState;
use hull_devices::vsock::VsockState;
use hull_devices::{DeviceState, QueueState, TransportState, VirtioDevice};
use kvm_bindings::{kvm_clock_data, kvm_cpuid_entry2, kvm_irqchip, kvm_pit_state2, kvm_regs};
use proptest::prelude::*;

use super::v1::{
    BoardState, CpuidLeaf, Device, Host, KeyboardState, MemoryLabel, Snapshot, VcpuState,
};
use super::{BODY_SUM, FormatError, HEADER, LONGEST, VERSION, crc64, read, write};

fn rate() -> RateState {
    let config = BucketConfig {
        size: 1000,
        one_time_burst: 50,
        refill_time: 100,
    };
    RateState {
        bandwidth: Some(BucketState {
            config,
            tokens: 900,
            debt: 0,
            burst: 7,
        }),
        ops: None,
    }
}

/// Every kind of device, with something in every field.
fn devices() -> Vec<DeviceState> {
    let limits = RateConfig {
        bandwidth: None,
        ops: Some(BucketConfig {
            size: 9,
            one_time_burst: 8,
            refill_time: 7,
        }),
    };
    let balloon = Balloon::new(BalloonConfig {
        target_pages: 256,
        deflate_on_oom: true,
        statistics_interval_s: 1,
        free_page_hinting: true,
        free_page_reporting: false,
    });
    vec![
        balloon.unwrap().save(),
        DeviceState::Block(BlockState {
            config: BlockConfig {
                serial: Serial::from_start_of("HULL 0001"),
                cache: CacheMode::Writeback,
                engine: Engine::IoUring,
                queues: 2,
                rate: limits,
            },
            capacity: 2048,
            block_size: 512,
            read_only: true,
            writeback: true,
            rate: rate(),
        }),
        DeviceState::Console(ConsoleState {
            sent: 3,
            size: ConsoleSize {
                columns: 80,
                rows: 25,
            },
        }),
        DeviceState::Fs(FsState {
            config: FsConfig {
                tag: "share".to_owned(),
                read_only: false,
                cache: FsCache::Auto,
                queues: 1,
            },
            session: Some(Session { flags: 0x1234 }),
            next_node: 17,
            nodes: vec![NodeState {
                id: 16,
                lookups: 2,
                kind: 0o100_000,
                place: Some((1, b"name".to_vec())),
            }],
            next_handle: 6,
            handles: vec![HandleState {
                id: 5,
                node: 16,
                directory: false,
                flags: 2,
                flock: Some(1),
            }],
            locks: vec![RangeLockState {
                node: 16,
                owner: 9,
                pid: 100,
                kind: 1,
                first: 0,
                last: 99,
            }],
            waiting: vec![WaitingState {
                queue: 1,
                head: 2,
                reply: vec![(0x1000, 16)],
                unique: 77,
                node: 16,
                handle: 5,
                owner: 9,
                pid: 100,
                kind: 1,
                first: 0,
                last: 99,
                flock: false,
            }],
        }),
        DeviceState::Mem(MemState {
            config: MemConfig {
                address: 4 << 30,
                region_size: 128 << 20,
                block_size: 2 << 20,
                slot_size: 128 << 20,
                requested_size: 2 << 20,
            },
            plugged: vec![1],
        }),
        DeviceState::Net(NetState {
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: Some(1500),
            link_up: true,
            announce: false,
            pairs: 2,
            active_pairs: 1,
            offloads: Some(3),
            rx_rate: rate(),
            tx_rate: RateState::default(),
        }),
        DeviceState::Pmem(PmemState {
            config: PmemConfig {
                address: 4 << 30,
                rate: limits,
            },
            size: 2 << 20,
            read_only: true,
            rate: rate(),
        }),
        DeviceState::Rng(RngState { rate: rate() }),
        DeviceState::Vsock(VsockState { guest_cid: 3 }),
    ]
}

fn sample() -> Snapshot {
    let transport = |device| TransportState {
        status: 15,
        needs_reset: false,
        driver_features: 1 << 32,
        device_features_select: 1,
        driver_features_select: 1,
        queue_select: 0,
        isr: 1,
        generation: 2,
        queues: vec![QueueState {
            next_avail: 3,
            ..QueueState::new(128)
        }],
        device,
    };
    let named = devices().into_iter().zip('a'..);
    Snapshot {
        host: Host {
            kernel: "6.12.0".to_owned(),
            cpu: vec![CpuidLeaf {
                leaf: 1,
                subleaf: 0,
                registers: [1, 2, 3, 4],
            }],
        },
        config: r#"{"machine-config":{"vcpu_count":1,"mem_size_mib":128}}"#.to_owned(),
        memory: MemoryLabel {
            size: 128 << 20,
            chain: vec![[7; 16], [8; 16]],
        },
        vcpus: vec![VcpuState {
            cpuid: vec![kvm_cpuid_entry2::default(); 2],
            tsc_khz: 2_500_000,
            mp_state: Default::default(),
            regs: kvm_regs {
                rip: 0x10_0000,
                ..Default::default()
            },
            sregs: Default::default(),
            xsave: Default::default(),
            xcrs: Default::default(),
            debug_regs: Default::default(),
            lapic: Default::default(),
            msrs: vec![(0x10, 99), (0x6e0, 0)],
            events: Default::default(),
        }],
        board: BoardState {
            irqchips: (0..3)
                .map(|chip_id| kvm_irqchip {
                    chip_id,
                    ..Default::default()
                })
                .collect(),
            pit: Some(kvm_pit_state2::default()),
            clock: kvm_clock_data {
                clock: 123,
                ..Default::default()
            },
        },
        keyboard: KeyboardState {
            output: vec![0xfa],
            control: 5,
            pending: Some(0x60),
            was_command: true,
        },
        serial: Some(SerialState {
            divisor_low: 12,
            divisor_high: 0,
            interrupt_enable: 1,
            interrupt_identification: 1,
            line_control: 3,
            line_status: 0x60,
            modem_control: 8,
            modem_status: 0xb0,
            scratch: 0x5a,
            input: b"typed".to_vec(),
        }),
        devices: named
            .map(|(device, name)| Device {
                name: name.to_string(),
                transport: transport(device),
            })
            .collect(),
    }
}

fn written(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(snapshot, &mut bytes).unwrap();
    bytes
}

fn refusal(bytes: &[u8]) -> FormatError {
    read(&mut &bytes[..]).unwrap_err()
}

/// Puts right checksums on what was changed.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = crc64(&bytes[HEADER..]).to_le_bytes();
    bytes[BODY_SUM].copy_from_slice(&body);
    let header = crc64(&bytes[..HEADER - 8]).to_le_bytes();
    bytes[HEADER - 8..HEADER].copy_from_slice(&header);
    bytes
}

#[test]
fn the_checksum_is_the_one_that_others_know() {
    // The check value of CRC-64/XZ.
    assert_eq!(crc64(b"123456789"), 0x995d_c9bb_df19_39fa);
}

/// The file of version 1 that is kept: what was written once is read for ever. `HULL_GOLDEN=write` writes it anew.
#[test]
fn version_1_stays_what_it_is() {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/snapshot/format/golden-v1.bin"
    ));
    let ours = written(&sample());
    if std::env::var_os("HULL_GOLDEN").is_some() {
        std::fs::write(&path, &ours).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    let parsed = read(&mut &golden[..]).unwrap();
    assert_eq!(format!("{parsed:?}"), format!("{:?}", sample()));
    // The header has the version of the program.
    assert_eq!(golden[HEADER..], ours[HEADER..]);
}

#[test]
fn another_version_and_another_file_are_told_apart() {
    let good = written(&sample());
    assert!(read(&mut &good[..]).is_ok());
    let mut newer = good.clone();
    newer[8] = 9;
    let sentence = refusal(&sealed(newer)).to_string();
    assert!(
        sentence.contains("format 9") && sentence.contains(env!("CARGO_PKG_VERSION")),
        "{sentence}"
    );
    // A later header may be longer.
    let mut longer = good.clone();
    longer[8] = 2;
    longer[12] = 72;
    longer.splice(HEADER - 8..HEADER, [0; 8]);
    let sum = crc64(&longer[..64]).to_le_bytes();
    longer.splice(64..64, sum);
    let sentence = refusal(&longer).to_string();
    assert!(sentence.contains("format 2"), "{sentence}");

    for foreign in [
        &b""[..],
        b"x",
        b"\x7fELF and more than a header has, which is 64 bytes long, so here are they",
    ] {
        assert!(
            matches!(refusal(foreign), FormatError::Foreign),
            "{foreign:?}"
        );
    }
    let mut more = good.clone();
    more.push(0);
    assert!(matches!(refusal(&more), FormatError::Longer));
    let mut endless = good;
    endless[16..24].copy_from_slice(&(LONGEST + 1).to_le_bytes());
    assert!(matches!(refusal(&sealed(endless)), FormatError::TooLong(_)));
    assert_eq!(VERSION, 1);
}

#[test]
fn what_is_left_over_in_the_body_is_refused() {
    let mut bytes = written(&sample());
    bytes.push(0);
    let length = (bytes.len() - HEADER) as u64;
    bytes[16..24].copy_from_slice(&length.to_le_bytes());
    assert!(matches!(refusal(&sealed(bytes)), FormatError::Content(_)));
}

proptest! {
    #[test]
    fn a_file_that_is_cut_off_is_refused(share in 0.0..1.0_f64) {
        let good = written(&sample());
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
        let length = (good.len() as f64 * share) as usize;
        let refused = refusal(&good[..length]);
        let expected = matches!(refused, FormatError::CutOff { .. } | FormatError::Foreign);
        prop_assert!(expected, "{refused}");
    }

    #[test]
    fn a_file_that_was_altered_is_refused(place in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        let mut bytes = written(&sample());
        let place = place.index(bytes.len());
        bytes[place] ^= bits;
        prop_assert!(read(&mut &bytes[..]).is_err());
    }

    /// Whoever can make the checksums right gets no further than to values that are checked elsewhere.
    #[test]
    fn whatever_is_in_the_body_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut bytes = written(&sample());
        for (place, value) in changes {
            let place = HEADER + place.index(bytes.len() - HEADER);
            bytes[place] = value;
        }
        if let Ok(snapshot) = read(&mut &sealed(bytes)[..]) {
            let again = written(&snapshot);
            prop_assert!(read(&mut &again[..]).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&mut &bytes[..]).is_err());
    }
}
