//! Layers and archives as they come: gzip, bzip2, xz, zstd or plain, told apart by their first bytes.
//!
//! Media types are not trusted for this, because some tools write the wrong one.

use std::io::{self, BufReader, Chain, Cursor, Read};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

#[cfg(test)]
mod tests;

/// So many first bytes tell.
const START: usize = 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
/// A digit follows, and then what a block or the end begins with.
const BZIP2: &[u8] = b"BZh";
const BZIP2_BLOCK: [&[u8]; 2] = [b"1AY&SY", b"\x17rE8P\x90"];
const XZ: &[u8] = b"\xfd7zXZ\0";
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Largest zstd window that is accepted, as a power of two: 128 MiB, the most that the format
/// recommends decoders to support, so that a hostile layer cannot demand more memory.
const ZSTD_WINDOW: u32 = 27;
/// Most memory for reading xz, in KiB: as much for its dictionary, which is twice that of the highest level, and what is beside it.
const XZ_MEMORY: u32 = (128 << 10) + 256;

/// A reader whose first bytes have been looked at.
pub(crate) type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// How the zstd library says that a frame wants a larger window.
const ZSTD_TOO_LARGE: &str = "Frame requires too much memory for decoding";

/// Says of which kind an error of the zstd library is that comes of [`ZSTD_WINDOW`].
struct Windowed<R>(R);

impl<R: Read> Read for Windowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            if error.to_string() == ZSTD_TOO_LARGE {
                return io::Error::new(io::ErrorKind::OutOfMemory, error);
            }
            error
        })
    }
}

/// How something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    None,
}

/// Tells how the content of `reader` is compressed, and gives it back unread.
pub(crate) fn detect<R: Read>(mut reader: R) -> io::Result<(Compression, Peeked<R>)> {
    let mut start = Vec::with_capacity(START);
    let limit = u64::try_from(START).unwrap_or(u64::MAX);
    reader.by_ref().take(limit).read_to_end(&mut start)?;
    let block = start.strip_prefix(BZIP2).and_then(|rest| rest.get(1..));
    let compression = if start.starts_with(GZIP) {
        Compression::Gzip
    } else if block.is_some_and(|block| BZIP2_BLOCK.contains(&block)) {
        Compression::Bzip2
    } else if start.starts_with(XZ) {
        Compression::Xz
    } else if start.starts_with(ZSTD) {
        Compression::Zstd
    } else {
        Compression::None
    };
    Ok((compression, Cursor::new(start).chain(reader)))
}

/// The plain content of `reader`, which may be compressed with gzip, bzip2, xz or zstd.
///
/// # Errors
/// It cannot be read.
pub fn decompress<'a, R: Read + Send + 'a>(reader: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    let (compression, reader) = detect(reader)?;
    Ok(match compression {
        // Not GzDecoder, which stops after the first of several members.
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(reader)),
        // It takes bytes one by one.
        Compression::Xz => Box::new(XzReader::new_mem_limit(
            BufReader::new(reader),
            true,
            XZ_MEMORY,
        )),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(reader)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(Windowed(decoder))
        }
        Compression::None => Box::new(reader),
    })
}
