//! What goes back, and what does not.

use std::fs::File;

use proptest::prelude::*;
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap,
};

use super::{Ranges, Reclaimed, give_back};
use crate::GuestMemory;
use crate::testing::resident_pages;

const PAGE: u64 = 4096;
const PAGES: u64 = 64;

fn region(flags: i32, file: Option<File>, base: u64) -> GuestMemory {
    let size = usize::try_from(PAGES * PAGE).unwrap();
    let mut builder = MmapRegionBuilder::new_with_bitmap(size, None)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(flags);
    if let Some(file) = file {
        builder = builder.with_file_offset(FileOffset::new(file, 0));
    }
    let region = GuestRegionMmap::new(builder.build().unwrap(), GuestAddress(base)).unwrap();
    GuestMemory::from_regions(vec![region]).unwrap()
}

fn filled(memory: &GuestMemory, base: u64) {
    for page in 0..PAGES {
        memory
            .write_slice(&[7; 4096], GuestAddress(base + page * PAGE))
            .unwrap();
    }
}

fn give(memory: &GuestMemory, list: &[(u64, u64)]) -> Reclaimed {
    let mut ranges = Ranges::default();
    list.iter()
        .for_each(|(start, len)| ranges.add(*start, *len));
    give_back(memory, &mut ranges)
}

/// A snapshot of what was written since another must have what is zero now.
#[test]
fn what_goes_back_counts_as_written() {
    let size = usize::try_from(PAGES * PAGE).unwrap();
    let page = std::num::NonZeroUsize::new(4096).unwrap();
    let bitmap = Some(AtomicBitmap::new(size, page));
    let builder = MmapRegionBuilder::new_with_bitmap(size, bitmap)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let region = GuestRegionMmap::new(builder.build().unwrap(), GuestAddress(0)).unwrap();
    let memory = GuestMemory::from_regions(vec![region]).unwrap();
    give(&memory, &[(4 * PAGE, 2 * PAGE)]);
    let region = memory.find_region(GuestAddress(0)).unwrap();
    let dirty = |page: u64| {
        let at = usize::try_from(page * PAGE).unwrap();
        GuestMemoryRegion::bitmap(region).dirty_at(at)
    };
    assert_eq!([3, 4, 5, 6].map(dirty), [false, true, true, false]);
}

#[test]
fn anonymous_pages_go_and_read_as_zeros() {
    let memory = region(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None, 0);
    filled(&memory, 0);
    assert_eq!(resident_pages(&memory, 0, PAGES), PAGES);
    let result = give(&memory, &[(4 * PAGE, PAGE), (5 * PAGE, 3 * PAGE)]);
    assert_eq!(
        result,
        Reclaimed {
            bytes: 4 * PAGE,
            left: 0,
            failures: 0
        }
    );
    assert_eq!(resident_pages(&memory, 4, 4), 0);
    assert_eq!(resident_pages(&memory, 0, PAGES), PAGES - 4);
    let mut bytes = [1; 4096];
    memory
        .read_slice(&mut bytes, GuestAddress(5 * PAGE))
        .unwrap();
    assert_eq!(bytes, [0; 4096]);
}

#[test]
fn a_shared_files_pages_become_a_hole_in_it() {
    use std::os::unix::fs::MetadataExt;
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGES * PAGE).unwrap();
    let memory = region(libc::MAP_SHARED, Some(file.try_clone().unwrap()), 0);
    filled(&memory, 0);
    rustix::fs::fsync(&file).unwrap();
    let before = file.metadata().unwrap().blocks();
    assert_eq!(give(&memory, &[(0, 32 * PAGE)]).failures, 0);
    let after = file.metadata().unwrap().blocks();
    assert!(after < before, "{before} blocks, then {after}");
}

#[test]
fn a_privately_mapped_file_shines_through_again() {
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[9; 4096 * 64], 0).unwrap();
    let memory = region(libc::MAP_PRIVATE, Some(file.try_clone().unwrap()), 0);
    filled(&memory, 0);
    assert_eq!(give(&memory, &[(0, PAGE)]).bytes, PAGE);
    let mut byte = [0; 2];
    memory.read_slice(&mut byte[..1], GuestAddress(0)).unwrap();
    memory
        .read_slice(&mut byte[1..], GuestAddress(PAGE))
        .unwrap();
    assert_eq!(byte, [9, 7]);
}

#[test]
fn parts_of_pages_and_what_is_outside_stay() {
    let base = 16 * PAGE;
    let memory = region(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None, base);
    filled(&memory, base);
    let end = base + PAGES * PAGE;
    for (start, len) in [
        (0, base),
        (end, u64::MAX),
        (base + 1, PAGE),
        (u64::MAX, 8),
        (base, 0),
    ] {
        assert_eq!(give(&memory, &[(start, len)]).bytes, 0, "{start:#x}");
    }
    assert_eq!(resident_pages(&memory, 16, PAGES), PAGES);
    assert_eq!(give(&memory, &[(0, u64::MAX)]).bytes, PAGES * PAGE);
    assert_eq!(resident_pages(&memory, 16, PAGES), 0);
}

#[test]
fn of_huge_pages_only_whole_ones_go() {
    const MIB: u64 = 1 << 20;
    let mapping = MmapRegionBuilder::new_with_bitmap(8 << 20, None)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
        .with_hugetlbfs(true)
        .build()
        .unwrap();
    let region = GuestRegionMmap::new(mapping, GuestAddress(0)).unwrap();
    let memory = GuestMemory::from_regions(vec![region]).unwrap();
    assert_eq!(give(&memory, &[(MIB, 2 * MIB)]).bytes, 0);
    assert_eq!(give(&memory, &[(MIB, 5 * MIB)]).bytes, 4 * MIB);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However ranges are named, exactly the pages that they cover go.
    #[test]
    fn exactly_what_is_named_goes(list in prop::collection::vec((0..80_u64, 0..20_u64), 0..24)) {
        let memory = region(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None, 0);
        filled(&memory, 0);
        let bytes: Vec<_> = list.iter().map(|(page, count)| (page * PAGE, count * PAGE)).collect();
        let result = give(&memory, &bytes);
        prop_assert_eq!(result.failures, 0);
        for page in 0..PAGES {
            let named = list.iter().any(|(first, count)| (*first..first + count).contains(&page));
            prop_assert_eq!(resident_pages(&memory, page, 1), u64::from(!named), "page {}", page);
        }
    }
}
