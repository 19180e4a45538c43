use std::io::{Read, Write};

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::{Compression, decompress, detect};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
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
    assert_eq!(plain(b"hello").unwrap(), b"hello");
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
}

#[test]
fn a_truncated_stream_is_an_error() {
    let whole = gzip(&[7; 10_000]);
    assert!(plain(&whole[..whole.len() - 5]).is_err());
    let whole = zstd::encode_all(&[7; 10_000][..], 1).unwrap();
    assert!(plain(&whole[..whole.len() - 2]).is_err());
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(b"small").unwrap();
    let hostile = encoder.finish().unwrap();
    assert!(plain(&hostile).is_err());
}

proptest! {
    #[test]
    fn hostile_streams_end(kind in 0..3_usize, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let magic: &[u8] = [&[0x1f, 0x8b, 8][..], &[0x28, 0xb5, 0x2f, 0xfd], &[]][kind];
        let _ = plain(&[magic, &bytes].concat());
    }
}
