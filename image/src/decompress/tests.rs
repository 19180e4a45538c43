use std::io::{Read, Write};

use bzip2::write::BzEncoder;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzWriter};
use proptest::prelude::*;

use super::{Compression, decompress, detect};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn plain(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decompress(bytes)?.read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn the_bytes_tell_the_compression() {
    assert_eq!(plain(&gzip(b"hello")).unwrap(), b"hello");
    let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
    assert_eq!(detect(&zstd[..]).unwrap().0, Compression::Zstd);
    assert_eq!(plain(&zstd).unwrap(), b"hello");
    for packed in [bzip2(b"hello"), xz(b"hello")] {
        assert_eq!(plain(&packed).unwrap(), b"hello");
    }
    assert_eq!(plain(&bzip2(b"")).unwrap(), b"");
    assert_eq!(detect(&xz(b"")[..]).unwrap().0, Compression::Xz);
    assert_eq!(plain(b"hello").unwrap(), b"hello");
    assert_eq!(plain(b"BZh9 is no archive").unwrap(), b"BZh9 is no archive");
    assert_eq!(plain(b"").unwrap(), b"");
    assert_eq!(plain(b"x").unwrap(), b"x");
}

#[test]
fn all_members_and_frames_are_read() {
    let two = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(plain(&two).unwrap(), b"one two");
    let frame = |bytes| zstd::encode_all(bytes, 1).unwrap();
    let two = [frame(&b"one "[..]), frame(&b"two"[..])].concat();
    assert_eq!(plain(&two).unwrap(), b"one two");
    for pack in [bzip2, xz] {
        let two = [pack(b"one "), pack(b"two")].concat();
        assert_eq!(plain(&two).unwrap(), b"one two");
    }
}

#[test]
fn a_truncated_stream_is_an_error() {
    let whole = gzip(&[7; 10_000]);
    assert!(plain(&whole[..whole.len() - 5]).is_err());
    let whole = zstd::encode_all(&[7; 10_000][..], 1).unwrap();
    assert!(plain(&whole[..whole.len() - 2]).is_err());
    for whole in [bzip2(&[7; 10_000]), xz(&[7; 10_000])] {
        assert!(plain(&whole[..whole.len() - 2]).is_err());
    }
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(b"small").unwrap();
    let hostile = encoder.finish().unwrap();
    let refused = plain(&hostile).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::OutOfMemory);
}

/// Its block says that it has a dictionary of 1.5 GiB.
#[test]
fn a_dictionary_beyond_the_limit_is_refused() {
    let mut hostile = xz(b"small");
    // Of the block: its length, flags, and of its only filter the number, the length of its properties, and those.
    let block = 12;
    assert_eq!(hostile[block + 2..block + 4], [0x21, 1]);
    let length = (usize::from(hostile[block]) + 1) * 4;
    hostile[block + 4] = 37;
    let checked = &hostile[block..block + length - 4];
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, checked);
    let crc = u32::try_from(crc).unwrap().to_le_bytes();
    hostile[block + length - 4..block + length].copy_from_slice(&crc);
    let refused = plain(&hostile).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::OutOfMemory);
}

proptest! {
    #[test]
    fn hostile_streams_end(kind in 0..5_usize, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let magic: &[u8] = [&[0x1f, 0x8b, 8][..], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh91AY&SY", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F", &[]][kind];
        let _ = plain(&[magic, &bytes].concat());
    }

    #[test]
    fn altered_streams_end(kind in 0..4_usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let zstd = zstd::encode_all(&[7; 3000][..], 1).unwrap();
        let mut packed = [gzip(&[7; 3000]), bzip2(&[7; 3000]), xz(&[7; 3000]), zstd][kind].clone();
        let at = at.index(packed.len());
        packed[at] = byte;
        let _ = plain(&packed);
    }
}
