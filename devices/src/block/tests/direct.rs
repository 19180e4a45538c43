//! Files opened with O_DIRECT.

use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::*;
use crate::block::DiskError;

/// A file, and the same opened for direct I/O; none where the file system has no such thing.
fn direct(bytes: &[u8]) -> Option<(File, File)> {
    let plain = tempfile::NamedTempFile::new().unwrap();
    plain.as_file().write_all_at(bytes, 0).unwrap();
    let direct = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(plain.path());
    match direct {
        Ok(direct) => Some((plain.into_file(), direct)),
        Err(error) => {
            eprintln!("SKIPPED: no direct I/O here: {error}");
            None
        }
    }
}

#[test]
fn aligned_and_unaligned_buffers_of_the_guest_work() {
    for config in [config(), ring()] {
        let original = pattern(1 << 20, 4);
        let Some((plain, file)) = direct(&original) else {
            return;
        };
        let disk = Disk::file(file, false).unwrap();
        let block_size = usize::try_from(disk.block_size()).unwrap();
        let mut driver = Driver::ready(block(config, disk));
        let len = 160 << 10;
        // 0x1_0000 suits everybody, the others only some or nobody.
        for data in [DATA, DATA + 512, DATA + 4, DATA + 1] {
            let (status, _) = request(&mut driver, IN, 8, (data, len), true);
            assert_eq!(status, OK, "read at {data:#x}");
            assert!(driver.get(data, len) == original[4096..4096 + len]);
            let bytes = pattern(len, usize::try_from(data % 251).unwrap());
            driver.put(data, &bytes);
            assert_eq!(request(&mut driver, OUT, 512, (data, len), false).0, OK);
            let mut written = vec![0; len];
            plain.read_exact_at(&mut written, 512 * 512).unwrap();
            assert!(written == bytes, "write at {data:#x}");
        }
        if block_size > 512 {
            assert_eq!(request(&mut driver, IN, 1, (DATA, 512), true).0, IOERR);
        }
        assert_eq!(request(&mut driver, FLUSH, 0, (0, 0), false), (OK, 1));
        assert!(!driver.is_lost());
    }
}

#[test]
fn buffers_in_pieces_that_are_no_blocks_are_put_together() {
    for config in [config(), ring()] {
        let original = pattern(64 << 10, 4);
        let Some((_plain, file)) = direct(&original) else {
            return;
        };
        let mut driver = Driver::ready(block(config, Disk::file(file, false).unwrap()));
        driver.put(HEADER, &[0; 16]);
        let pieces = [100, 412, 4000, 96, 3584];
        let mut buffers = vec![desc(HEADER, 16, false)];
        let mut at = DATA;
        for piece in pieces {
            buffers.push(desc(at, piece, true));
            at += 0x2000;
        }
        buffers.push(desc(STATUS, 1, true));
        assert_eq!(driver.request_and_wait(0, &buffers), 8192 + 1);
        let mut got = Vec::new();
        for (index, piece) in (0..).zip(pieces) {
            got.extend(driver.get(DATA + index * 0x2000, piece));
        }
        assert!(got == original[..8192]);
    }
}

#[test]
fn the_guest_learns_of_large_blocks_and_of_no_half_ones() {
    let Some((plain, file)) = direct(&[1; 8192]) else {
        return;
    };
    let disk = Disk::file(file.try_clone().unwrap(), false).unwrap();
    let block_size = disk.block_size();
    let driver = Driver::ready(block(config(), disk));
    assert_eq!(driver.read(0x100 + 20), block_size);
    assert!(matches!(
        Disk::parts(vec![file.try_clone().unwrap()]),
        Err(DiskError::DirectParts)
    ));
    plain.set_len(8192 + 100).unwrap();
    assert!(matches!(
        Disk::file(file, true),
        Err(DiskError::DirectSize { len: 8292, .. })
    ));
}

/// The thread that began the requests is not the one that waits for their end, and the kernel needs the former to end them.
#[test]
fn another_thread_can_stop_the_disk_while_requests_are_in_flight() {
    let original = pattern(1 << 20, 4);
    let Some((_plain, file)) = direct(&original) else {
        return;
    };
    let disk = Disk::file(file, false).unwrap();
    let mut driver = Driver::ready(block(ring(), disk));
    driver.put(HEADER, &[0; 16]);
    let request = [
        desc(HEADER, 16, false),
        desc(DATA, 128 << 10, true),
        desc(STATUS, 1, true),
    ];
    let mut done = 0;
    driver.beside_its_loop(|driver, rings| {
        for _ in 0..30 {
            for _ in 0..20 {
                rings[0].add(&request);
            }
            driver.write(0x50, 0);
            // Sometimes before the loop has seen it, sometimes in the midst of it.
            std::thread::yield_now();
            let state = driver.transport.save();
            assert_eq!(state.queues[0].next_avail, state.queues[0].next_used);
            driver.transport.resume();
            while rings[0].outstanding() > 0 {
                done += rings[0].used().len();
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(done, 600);
    assert!(driver.get(DATA, 128 << 10) == original[..128 << 10]);
}
