//! Other contents, and other sizes, while the guest runs.

use std::sync::atomic::Ordering;

use super::*;
use crate::block::{DiskError, ReplaceError, UnlikeDisk};

fn capacity(driver: &Driver) -> u64 {
    u64::from(driver.read(0x100)) | u64::from(driver.read(0x104)) << 32
}

fn config_interrupts(driver: &Driver) -> usize {
    driver.interrupts.config.load(Ordering::SeqCst)
}

#[test]
fn another_file_takes_the_place() {
    for config in [config(), ring()] {
        let raw = Raw::with(config);
        let mut driver = Driver::ready(raw.device());
        assert_eq!(write(&mut driver, 0, &[1; 512]), OK);
        let other = file(&[9; 4096]);
        let disk = Disk::file(other.try_clone().unwrap(), false).unwrap();
        let before = config_interrupts(&driver);
        let old = replace(&driver, disk).unwrap().unwrap();
        assert_eq!(old.capacity(), 2048);
        assert_eq!(config_interrupts(&driver), before + 1);
        assert_eq!(capacity(&driver), 8);
        assert_eq!(read(&mut driver, 0, 4096), [9; 4096]);
        assert_eq!(write(&mut driver, 1, &[2; 512]), OK);
        assert_eq!(
            write(&mut driver, 8, &[2; 512]),
            IOERR,
            "beyond the new end"
        );
        assert_eq!(contents(&other)[512..1024], [2; 512]);
        assert_eq!(contents(&raw.file)[..512], [1; 512]);
        assert_eq!(counters(&driver).update_count.get(), 1);
    }
}

#[test]
fn several_files_take_the_place_of_others() {
    for config in [config(), ring()] {
        let composed = Composed::with(config);
        let mut driver = Driver::ready(composed.device());
        let files = (0..7).map(|salt| file(&pattern(4096, salt))).collect();
        replace(&driver, Disk::parts(files).unwrap()).unwrap();
        assert_eq!(read(&mut driver, 6 * 8, 4096), pattern(4096, 6));
    }
}

#[test]
fn what_the_driver_could_not_go_on_with_is_refused() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    let read_only = Disk::file(file(&[9; 4096]), true).unwrap();
    let refused = replace(&driver, read_only);
    assert!(matches!(
        refused,
        Err(ReplaceError::Unlike(UnlikeDisk::ReadOnly { .. }))
    ));
    use_raw(&mut driver);
}

#[test]
fn a_grown_file_is_a_grown_disk() {
    for config in [config(), ring()] {
        let raw = Raw::with(config);
        let mut driver = Driver::ready(raw.device());
        raw.file.set_len(2 << 20).unwrap();
        assert_eq!(write(&mut driver, 3000, &[1; 512]), IOERR);
        let before = config_interrupts(&driver);
        let measured = |driver: &Driver| with(driver, |block| block.disk()).measured_again();
        replace(&driver, measured(&driver).unwrap()).unwrap();
        assert_eq!(config_interrupts(&driver), before + 1);
        assert_eq!(capacity(&driver), 4096);
        assert_eq!(write(&mut driver, 3000, &[1; 512]), OK);
        raw.file.set_len(513).unwrap();
        let refused = measured(&driver);
        assert!(matches!(refused, Err(DiskError::Partial(513))));
        assert_eq!(capacity(&driver), 4096);
    }
}

#[test]
fn contents_change_while_the_guest_is_paused_too() {
    let raw = Raw::with(ring());
    let mut driver = Driver::ready(raw.device());
    driver.transport.pause();
    let before = config_interrupts(&driver);
    let disk = Disk::file(file(&[9; 8192]), false).unwrap();
    replace(&driver, disk).unwrap();
    assert_eq!(config_interrupts(&driver), before);
    driver.transport.resume();
    assert!(
        config_interrupts(&driver) > before,
        "the driver is told when it runs again"
    );
    assert_eq!(read(&mut driver, 0, 8192), [9; 8192]);
}
