//! Spans against a model: the bytes that they name, one after the other.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{Scatter, Span};
use crate::testing::{MEMORY, memory};
use crate::{GuestMemory, Segment};

fn segments(parts: &[(u64, u32)]) -> Vec<Segment> {
    let segment = |(addr, len): &(u64, u32)| Segment {
        addr: GuestAddress(*addr),
        len: *len,
    };
    parts.iter().map(segment).collect()
}

fn bytes(memory: &GuestMemory, parts: &[(u64, u32)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (addr, len) in parts {
        let mut part = vec![0; usize::try_from(*len).unwrap()];
        memory.read_slice(&mut part, GuestAddress(*addr)).unwrap();
        all.extend(part);
    }
    all
}

#[test]
fn what_lies_outside_of_memory_is_an_error_and_nothing_is_called() {
    let memory = memory();
    let end = u64::try_from(MEMORY).unwrap();
    let file = tempfile::tempfile().unwrap();
    for bad in [(end, 1), (end - 1, 2), (u64::MAX, 2), (u64::MAX - 4, 100)] {
        let segments = segments(&[(0x1000, 16), bad]);
        let span = Span::all(&memory, &segments);
        assert!(span.copy_out(&mut [0; 64]).is_err(), "{bad:?}");
        assert!(span.copy_in(&[0; 64]).is_err(), "{bad:?}");
        assert!(span.zero().is_err(), "{bad:?}");
        let mut scatter = Scatter::default();
        assert!(scatter.write_at(span, file.as_fd(), 0).is_err(), "{bad:?}");
        assert!(scatter.randomize(span).is_err(), "{bad:?}");
    }
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn only_what_was_written_is_dirty() {
    let memory = memory();
    let region = memory.iter().next().unwrap();
    let segments = segments(&[(0x1000, 0x3000)]);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&[7; 0x1001], 0).unwrap();
    let span = Span::all(&memory, &segments);
    let count = Scatter::default().read_at(span, file.as_fd(), 0).unwrap();
    assert_eq!(count, 0x1001);
    let dirty = [0x1000, 0x2000, 0x3000].map(|at| region.bitmap().dirty_at(at));
    assert_eq!(dirty, [true, true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_read_and_write_what_they_name(
        lens in prop::collection::vec(0_u32..3000, 1..12),
        from in 0_u64..20_000,
        len in 0_u64..20_000,
        seed in any::<u8>(),
    ) {
        let memory = memory();
        // Apart from each other, so that a write into one is none into another.
        let parts: Vec<_> = (0_u64..).map(|i| i * 4096 + 100).zip(lens).collect();
        let segments = segments(&parts);
        let pattern: Vec<u8> = (0..40_000_u32).map(|i| (i % 251).to_le_bytes()[0] ^ seed).collect();
        Span::all(&memory, &segments).copy_in(&pattern).unwrap();
        let mut model = bytes(&memory, &parts);
        prop_assert_eq!(&model, &pattern[..model.len()]);

        let span = Span::all(&memory, &segments).part(from, len);
        let start = usize::try_from(from).unwrap().min(model.len());
        let end = (start + usize::try_from(len).unwrap()).min(model.len());
        let mut out = vec![0; 40_000];
        let count = span.copy_out(&mut out).unwrap();
        prop_assert_eq!(&out[..count], &model[start..end]);

        let file = tempfile::tempfile().unwrap();
        let mut scatter = Scatter::default();
        prop_assert_eq!(scatter.write_at(span, file.as_fd(), 0).unwrap(), end - start);
        let mut written = vec![0; end - start];
        file.read_exact_at(&mut written, 0).unwrap();
        prop_assert_eq!(&written, &model[start..end]);

        span.zero().unwrap();
        model[start..end].fill(0);
        prop_assert_eq!(&bytes(&memory, &parts), &model);
        prop_assert_eq!(scatter.read_at(span, file.as_fd(), 0).unwrap(), end - start);
        model[start..end].copy_from_slice(&written);
        prop_assert_eq!(bytes(&memory, &parts), model);
    }
}
