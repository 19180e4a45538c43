//! What is in the file is what the guest had, and which file belongs to what.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hull_devices::GuestMemory;
use hull_vm_api::config::MachineConfig;
use proptest::prelude::*;
use rustix::fs::{SeekFrom, seek};
use vm_memory::{Bytes, GuestAddress};

use super::label::{LONGEST, TAIL};
use super::{Backing, MemoryFileError, Saved, Which, base, dirty, map, write};
use crate::memory;
use crate::snapshot::format::v1::MemoryLabel;

/// MiB of the guest.
const SIZE: u64 = 32;
const PAGE: u64 = 4096;

fn machine() -> MachineConfig {
    MachineConfig {
        mem_size_mib: SIZE,
        ..MachineConfig::default()
    }
}

fn pagemap() -> File {
    File::open("/proc/self/pagemap").unwrap()
}

fn save(memory: &GuestMemory, on: Option<&MemoryLabel>) -> (MemoryLabel, File) {
    let label = MemoryLabel::new(SIZE << 20, on).unwrap();
    let file = tempfile::tempfile().unwrap();
    let pagemap = pagemap();
    let noted = dirty::Noted::take(memory);
    let saved = Saved {
        memory,
        pagemap: &pagemap,
        which: match on {
            None => Which::Full,
            Some(_) => Which::Diff(&noted),
        },
    };
    write(saved, &label, &file).unwrap();
    noted.forget();
    (label, file)
}

/// Bytes of a file that are no holes.
fn data(file: &File) -> u64 {
    let (mut at, mut sum) = (0, 0);
    while let Ok(from) = seek(file, SeekFrom::Data(at)) {
        at = seek(file, SeekFrom::Hole(from)).unwrap();
        sum += at - from;
    }
    sum
}

fn contents(memory: &GuestMemory) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SIZE << 20).unwrap()];
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    bytes
}

fn restored(file: &File, label: &MemoryLabel) -> GuestMemory {
    let backing = Backing::new(file.try_clone().unwrap(), label).unwrap();
    let (memory, end) = map(&machine(), &backing, None).unwrap();
    assert_eq!(end, SIZE << 20);
    memory
}

#[test]
fn memory_is_written_with_holes_mapped_and_written_again() {
    let memory = memory::map(&machine()).unwrap();
    let last = (SIZE << 20) - 1;
    for (at, value) in [
        (0, 1_u8),
        (5 * PAGE, 2),
        (6 * PAGE, 3),
        (7 * PAGE, 0),
        (20 << 20, 4),
        (last, 5),
    ] {
        memory.write_obj(value, GuestAddress(at)).unwrap();
    }
    let (label, file) = save(&memory, None);
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), (SIZE << 20) + TAIL);
    // Five pages, and two blocks of the label.
    assert_eq!(data(&file), 7 * PAGE);

    let second = restored(&file, &label);
    assert_eq!(contents(&second), contents(&memory));
    // What is written there is nobody else's, and becomes part of the next snapshot; a page that is zero now is a hole there.
    second.write_obj(9_u8, GuestAddress(20 << 20)).unwrap();
    second.write_obj(9_u8, GuestAddress(21 << 20)).unwrap();
    second.write_obj(0_u8, GuestAddress(6 * PAGE)).unwrap();
    assert_eq!(contents(&restored(&file, &label)), contents(&memory));
    let (next, again) = save(&second, None);
    assert_ne!(next.chain, label.chain);
    assert_eq!(data(&again), 7 * PAGE);
    assert_eq!(contents(&restored(&again, &next)), contents(&second));
}

#[test]
fn a_file_goes_with_its_own_state_alone() {
    let memory = memory::map(&machine()).unwrap();
    let (label, file) = save(&memory, None);
    let (other, _) = save(&memory, None);
    let refusal = |file: &File, label: &MemoryLabel| {
        Backing::new(file.try_clone().unwrap(), label).unwrap_err()
    };
    assert!(matches!(refusal(&file, &other), MemoryFileError::Other));
    let short = tempfile::tempfile().unwrap();
    assert!(matches!(refusal(&short, &label), MemoryFileError::Foreign));
    short.set_len((SIZE << 20) + TAIL).unwrap();
    assert!(matches!(refusal(&short, &label), MemoryFileError::Foreign));
    file.write_all_at(&[1], (SIZE << 20) + 100).unwrap();
    assert!(matches!(refusal(&file, &label), MemoryFileError::Label));
    let (label, file) = save(&memory, None);
    file.write_all_at(&[1], (SIZE << 20) + PAGE + 100).unwrap();
    assert!(matches!(refusal(&file, &label), MemoryFileError::Label));
    let (label, file) = save(&memory, None);
    file.set_len((SIZE << 20) + TAIL - 1).unwrap();
    assert!(matches!(refusal(&file, &label), MemoryFileError::Foreign));
    let none = MemoryLabel {
        size: SIZE << 20,
        chain: Vec::new(),
    };
    assert!(matches!(refusal(&file, &none), MemoryFileError::Label));
}

/// Memory that notes what is written to it.
fn tracked() -> GuestMemory {
    memory::map(&MachineConfig {
        track_dirty_pages: true,
        ..machine()
    })
    .unwrap()
}

#[test]
fn diffs_are_put_on_the_snapshot_before_them_and_not_used_without() {
    let memory = tracked();
    let put = |page: u64, value: u8| memory.write_obj(value, GuestAddress(page * PAGE)).unwrap();
    for page in 0..50 {
        put(page, 1);
    }
    let (full, whole) = save(&memory, None);
    put(3, 2);
    put(4, 0);
    put(1000, 2);
    let (first, diff) = save(&memory, Some(&full));
    // Three pages, one of which is zero now, the label and a link.
    assert_eq!(data(&diff), 5 * PAGE);
    put(4, 3);
    // What a snapshot began with is the next one's if it comes to nothing.
    let noted = dirty::Noted::take(&memory);
    put(1001, 3);
    drop(noted);
    let (second, last) = save(&memory, Some(&first));
    assert_eq!(data(&last), 4 * PAGE);

    let refusal = |file: &File, label: &MemoryLabel| {
        let refused = Backing::new(file.try_clone().unwrap(), label).unwrap_err();
        matches!(refused, MemoryFileError::Incomplete { .. })
    };
    assert!(refusal(&diff, &first) && refusal(&last, &second));
    assert!(base::has(&whole, &full) && base::has(&diff, &first) && !base::has(&last, &full));
    // The one in between cannot be left out.
    let copy = tempfile::tempfile().unwrap();
    copy.set_len(whole.metadata().unwrap().len()).unwrap();
    base::copy(&whole, &copy).unwrap();
    base::copy(&last, &copy).unwrap();
    assert!(refusal(&copy, &second));
    base::copy(&diff, &copy).unwrap();
    base::copy(&last, &copy).unwrap();
    assert_eq!(contents(&restored(&copy, &second)), contents(&memory));
}

#[test]
fn no_chain_is_endless() {
    let mut label = MemoryLabel::new(SIZE << 20, None).unwrap();
    for _ in 1..LONGEST {
        label = MemoryLabel::new(SIZE << 20, Some(&label)).unwrap();
    }
    let refused = MemoryLabel::new(SIZE << 20, Some(&label)).unwrap_err();
    assert!(matches!(refused, MemoryFileError::TooManyDiffs));
}

#[test]
fn no_room_is_told() {
    // A file that may be read only stands for one whose disk is full.
    let path = tempfile::NamedTempFile::new().unwrap();
    let file = File::open(path.path()).unwrap();
    let memory = memory::map(&machine()).unwrap();
    let label = MemoryLabel::new(SIZE << 20, None).unwrap();
    let pagemap = pagemap();
    let saved = Saved {
        memory: &memory,
        pagemap: &pagemap,
        which: Which::Full,
    };
    assert!(matches!(
        write(saved, &label, &file),
        Err(MemoryFileError::Write(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_is_in_the_label_is_accepted_or_refused(
        changes in proptest::collection::vec((0..8192_u64, any::<u8>()), 1..10),
    ) {
        let label = MemoryLabel::new(PAGE, None).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE + TAIL).unwrap();
        label.write(&file).unwrap();
        prop_assert!(label.check(&file).is_ok());
        for (at, value) in changes {
            file.write_all_at(&[value], PAGE + at).unwrap();
        }
        let _ = label.check(&file);
        let _ = Backing::new(file.try_clone().unwrap(), &label).map(Arc::new);
    }
}
