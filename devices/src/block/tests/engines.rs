//! Many requests at once.

use proptest::prelude::*;

use super::*;
use crate::block::BlockError;

/// Where request `index` of a batch lies: header, status, and a page of data.
fn place(index: u64) -> (u64, u64, u64) {
    (
        0x1000 + index * 32,
        0x1_0000 + index,
        0x2_0000 + index * 4096,
    )
}

/// Puts a request of one page into a queue, and does not wait.
fn begin(driver: &mut Driver, queue: usize, index: u64, kind: u32, sector: u64) -> u16 {
    let (header, status, data) = place(index);
    let mut bytes = u64::from(kind).to_le_bytes().to_vec();
    bytes.extend(sector.to_le_bytes());
    driver.put(header, &bytes);
    driver.put(status, &[0xee]);
    let buffers = [
        desc(header, 16, false),
        desc(data, 4096, kind == IN),
        desc(status, 1, true),
    ];
    driver.rings[queue].add(&buffers)
}

fn kick_all(driver: &mut Driver) {
    for queue in 0..driver.rings.len() {
        driver.write(0x50, u32::try_from(queue).unwrap());
    }
}

#[test]
fn more_requests_than_can_be_in_flight_are_all_done() {
    let raw = Raw::with(ring());
    let mut driver = Driver::ready(raw.device());
    assert_eq!(driver.rings.len(), 3);
    let per_queue = 80_u64;
    for queue in 0..3 {
        for i in 0..per_queue {
            let index = u64::try_from(queue).unwrap() * per_queue + i;
            begin(&mut driver, queue, index, IN, (index % 256) * 8);
        }
    }
    kick_all(&mut driver);
    let count = usize::try_from(per_queue).unwrap();
    for queue in 0..3 {
        let used = driver.wait_for(queue, count);
        assert_eq!(used.len(), count);
        assert!(used.iter().all(|(_, written)| *written == 4097));
    }
    let all = contents(&raw.file);
    for index in 0..3 * per_queue {
        let (_, status, data) = place(index);
        assert_eq!(driver.get(status, 1), [OK]);
        let at = usize::try_from(index % 256).unwrap() * 4096;
        assert_eq!(
            driver.get(data, 4096),
            &all[at..at + 4096],
            "request {index}"
        );
    }
    assert_eq!(counters(&driver).read_count.get(), 3 * per_queue);
}

#[test]
fn stopping_waits_for_what_is_in_flight() {
    let raw = Raw::with(ring());
    let mut driver = Driver::ready(raw.device());
    for index in 0..60 {
        let (_, _, data) = place(index);
        driver.put(data, &[u8::try_from(index).unwrap(); 4096]);
        begin(&mut driver, 0, index, OUT, index * 8);
    }
    // Begun, and not waited for.
    driver.kick(0);
    let state = driver.transport.save();
    let queue = state.queues[0];
    assert_eq!(
        queue.next_avail, queue.next_used,
        "something is neither here nor there"
    );
    let done = driver.rings[0].used().len();
    let written = contents(&raw.file);
    for index in 0..done {
        assert_eq!(written[index * 4096], u8::try_from(index).unwrap());
    }
    driver.transport.resume();
    driver.wait_for(0, 60 - done);
    assert_eq!(counters(&driver).write_count.get(), 60);
}

#[test]
fn a_reset_while_requests_are_in_flight_loses_no_memory() {
    let raw = Raw::with(ring());
    let mut driver = Driver::ready(raw.device());
    for round in 0..20 {
        for index in 0..40 {
            begin(&mut driver, 0, index, IN, ((index + round) % 256) * 8);
        }
        driver.write(0x50, 0);
        driver.start(u64::MAX);
    }
    use_raw(&mut driver);
}

#[test]
fn a_device_that_goes_with_requests_in_flight_waits_for_them() {
    let raw = Raw::with(ring());
    let mut driver = Driver::ready(raw.device());
    for index in 0..60 {
        begin(&mut driver, 0, index, OUT, index * 8);
    }
    driver.kick(0);
    drop(driver);
    assert_eq!(contents(&raw.file)[..4096], [0; 4096]);
}

#[test]
fn several_queues_work_side_by_side() {
    for engine in [Engine::Sync, Engine::IoUring] {
        let raw = Raw::with(BlockConfig {
            queues: 4,
            engine,
            ..config()
        });
        let mut driver = Driver::ready(raw.device());
        assert_ne!(driver.offered() & 1 << 12, 0, "VIRTIO_BLK_F_MQ");
        let mut count = [0; 2];
        driver.transport.read(0x100 + 34, &mut count);
        assert_eq!(count, [4, 0]);
        for queue in 0..4 {
            begin(&mut driver, queue, u64::try_from(queue).unwrap(), IN, 0);
        }
        kick_all(&mut driver);
        for queue in 0..4 {
            assert_eq!(driver.wait_for(queue, 1)[0].1, 4097);
        }
    }
}

#[test]
fn impossible_numbers_of_queues_are_refused() {
    for queues in [0, 17] {
        let made = Block::new(
            BlockConfig { queues, ..config() },
            Raw::with(config()).disk(),
        );
        assert!(matches!(made, Err(BlockError::Queues(refused)) if refused == queues));
    }
}

#[test]
fn one_bad_request_is_no_harm_to_others() {
    let raw = Raw::with(ring());
    let mut driver = Driver::ready(raw.device());
    raw.file.set_len(8192).unwrap();
    begin(&mut driver, 0, 0, IN, 8);
    begin(&mut driver, 0, 1, IN, 16);
    begin(&mut driver, 0, 2, IN, 0);
    driver.kick(0);
    driver.wait_for(0, 3);
    let status: Vec<_> = (0..3)
        .map(|index| driver.get(place(index).1, 1)[0])
        .collect();
    assert_eq!(status, [OK, IOERR, OK]);
    assert_eq!(request(&mut driver, IN, 0, (1 << 40, 512), true).0, IOERR);
    assert!(!driver.is_lost());
    assert_eq!(counters(&driver).execute_fails.get(), 2);
}

#[test]
fn reads_by_the_ring_are_marked_as_dirty() {
    use vm_memory::bitmap::Bitmap;
    use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
    let raw = Raw::with(ring());
    let mut driver = Driver::ready(raw.device());
    let is_dirty = |driver: &Driver, at: u64| {
        let region = driver.memory.iter().next().unwrap();
        region.bitmap().dirty_at(usize::try_from(at).unwrap())
    };
    request(&mut driver, IN, 0, (DATA, 0x2000), true);
    assert!(is_dirty(&driver, DATA) && is_dirty(&driver, DATA + 0x1000));
    assert!(!is_dirty(&driver, DATA + 0x2000));
}

#[test]
fn write_through_works_with_both_engines() {
    for config in [config(), ring()] {
        let raw = Raw::with(config);
        let mut driver = Driver::ready(raw.device());
        let _ = driver.transport.write(0x100 + 32, &[0]);
        assert_eq!(write(&mut driver, 8, &[5; 8192]), OK);
        assert_eq!(contents(&raw.file)[4096..4096 + 8192], [5; 8192]);
        assert_eq!(request(&mut driver, FLUSH, 0, (0, 0), false), (OK, 1));
    }
}

/// What a driver does to a disk.
#[derive(Clone, Debug)]
enum Step {
    Write {
        sector: u64,
        sectors: usize,
        salt: usize,
    },
    Zero {
        sector: u64,
        sectors: u32,
        unmap: bool,
    },
    Discard {
        sector: u64,
        sectors: u32,
    },
    Flush,
}

fn any_step() -> impl Strategy<Value = Step> {
    let sector = 0_u64..2100;
    prop_oneof![
        4 => (sector.clone(), 1_usize..40, 0_usize..100)
            .prop_map(|(sector, sectors, salt)| Step::Write { sector, sectors, salt }),
        1 => (sector.clone(), 1_u32..40, any::<bool>())
            .prop_map(|(sector, sectors, unmap)| Step::Zero { sector, sectors, unmap }),
        1 => (sector, 1_u32..40).prop_map(|(sector, sectors)| Step::Discard { sector, sectors }),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Both engines do to a file what a model does to an array.
    #[test]
    fn disks_follow_the_model(steps in prop::collection::vec(any_step(), 1..40), by_ring in any::<bool>()) {
        let raw = Raw::with(if by_ring { ring() } else { config() });
        let mut driver = Driver::ready(raw.device());
        let mut model = contents(&raw.file);
        for step in steps {
            let (status, range, bytes) = match step {
                Step::Flush => {
                    prop_assert_eq!(request(&mut driver, FLUSH, 0, (0, 0), false).0, OK);
                    continue;
                }
                Step::Write { sector, sectors, salt } => {
                    let bytes = pattern(sectors * 512, salt);
                    (write(&mut driver, sector, &bytes), (sector, sectors), bytes)
                }
                Step::Zero { sector, sectors, unmap } => {
                    let status = ranges(&mut driver, WRITE_ZEROES, &[(sector, sectors, unmap.into())]);
                    let sectors = usize::try_from(sectors).unwrap();
                    (status, (sector, sectors), vec![0; sectors * 512])
                }
                Step::Discard { sector, sectors } => {
                    let status = ranges(&mut driver, DISCARD, &[(sector, sectors, 0)]);
                    let sectors = usize::try_from(sectors).unwrap();
                    (status, (sector, sectors), vec![0; sectors * 512])
                }
            };
            let at = usize::try_from(range.0).unwrap() * 512;
            match model.get_mut(at..at + range.1 * 512) {
                Some(place) => {
                    prop_assert_eq!(status, OK);
                    place.copy_from_slice(&bytes);
                }
                None => prop_assert_eq!(status, IOERR),
            }
        }
        prop_assert!(contents(&raw.file) == model);
    }
}
