//! Bytes that somebody means harm with: nothing panics, loops, or takes more memory than it was given.

use std::path::Path;

use proptest::prelude::*;

use super::super::index::{IndexWriter, crc32c};
use super::super::{Content, Entry, Index, Kind, Meta, Run};
use super::archive::Archive;
use super::with_import;
use crate::tree::Tree;

/// An archive that has one of everything.
fn seed() -> Vec<u8> {
    Archive::new()
        .dir("d")
        .file("d/large", &[3; 70_000])
        .file("d/small", b"small")
        .symlink("l", "d/small")
        .hard_link("h", "d/small")
        .file("d/.wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
        .finish()
}

/// Puts a checksum that is right into each record that looks like a header.
fn mend(archive: &mut [u8]) {
    for record in archive.chunks_exact_mut(512) {
        if &record[257..262] == b"ustar" {
            record[148..156].fill(b' ');
            let sum: u32 = record.iter().copied().map(u32::from).sum();
            record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// Whatever an import lets through can be merged and planned.
fn import_and_merge(archive: &[u8]) {
    with_import(archive, |imported, scratch| {
        if let Ok(imported) = imported {
            super::super::verify(&imported.blob, &imported.index)
                .expect("what was imported is sound");
            // Links to nothing are refused only here.
            let _ = crate::erofs::build(&[imported.index], &scratch.join("out"));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        import_and_merge(&bytes);
    }

    #[test]
    fn changed_headers(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = seed();
        for (place, byte) in changes {
            // Contents are long and dull: aim at the headers.
            let headers: Vec<usize> = (0..archive.len()).filter(|at| archive[*at] != 3).collect();
            archive[*place.get(&headers)] = byte;
        }
        mend(&mut archive);
        if cut.index(4) == 0 {
            archive.truncate(cut.index(archive.len()));
        }
        import_and_merge(&archive);
    }

    #[test]
    fn pax_records(
        key in prop_oneof![
            Just("size"), Just("path"), Just("linkpath"), Just("mtime"), Just("uid"),
            Just("GNU.sparse.map"), Just("GNU.sparse.major"), Just("GNU.sparse.realsize"),
            Just("GNU.sparse.size"), Just("GNU.sparse.offset"), Just("SCHILY.xattr.user.x"),
        ],
        value in "[0-9,./-]{0,24}|[0-9]{1,20}|\\PC{0,40}",
        content in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let header = super::header(tar::EntryType::Regular);
        let records = [(key, value.as_bytes())];
        let archive = Archive::new().add(&header, b"file", &records, &content).finish();
        import_and_merge(&archive);
    }

    #[test]
    fn index_records(records in prop::collection::vec(any::<u8>(), 0..400), entries in 0..6_u64, blocks in any::<u32>()) {
        read_and_merge(&forged(&records, entries, u64::from(blocks) * 4096));
    }

    #[test]
    fn index_runs(
        size in any::<u64>(),
        bits in 0..34_u8,
        runs in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 0..4),
        small in any::<bool>(),
    ) {
        let squeeze = |number: u32| if small { number % 8 } else { number };
        let runs = runs.into_iter().map(|(granule, granules, block)| Run {
            granule: squeeze(granule),
            granules: squeeze(granules),
            block: squeeze(block),
        });
        let size = if small { size % 200_000 } else { size };
        let entry = Entry {
            path: b"file",
            meta: Meta::default(),
            xattrs: Vec::new(),
            kind: Kind::File { size, content: Content::Stored { bits, runs: runs.collect() } },
        };
        let bytes = postcard::to_stdvec(&entry).expect("a record");
        read_and_merge(&forged(&bytes, 1, 64 * 4096));
    }
}

/// An index with these records whose checksums are right.
fn forged(records: &[u8], entries: u64, blob_len: u64) -> Vec<u8> {
    let scratch = super::scratch();
    let path = scratch.path().join("index");
    let writer = IndexWriter::create(&path).expect("a file");
    let digest = crate::digest::Digest::of(b"");
    let _ = writer.finish(&digest, blob_len).expect("a file");
    let mut bytes = std::fs::read(&path).expect("the file");
    bytes[48..56].copy_from_slice(&(records.len() as u64).to_le_bytes());
    bytes[56..64].copy_from_slice(&entries.to_le_bytes());
    bytes[64..68].copy_from_slice(&crc32c(records).to_le_bytes());
    let crc = crc32c(&bytes[..68]);
    bytes[68..72].copy_from_slice(&crc.to_le_bytes());
    bytes.extend(records);
    bytes
}

fn read_and_merge(bytes: &[u8]) {
    let scratch = super::scratch();
    let path = scratch.path().join("index");
    std::fs::write(&path, bytes).expect("a file");
    if let Ok(index) = Index::parse(Path::new("forged"), bytes.to_vec()) {
        let sound = index.entries().all(|entry| entry.is_ok());
        let layers = [index];
        let merged = Tree::merge(&layers);
        assert!(sound || merged.is_err(), "a bad record is not merged");
        let _ = crate::erofs::build(&[path], &scratch.path().join("out"));
    }
}
