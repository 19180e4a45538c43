//! Layers and archives as they come: gzip, zstd or plain, told apart by their first bytes.
//!
//! Media types are not trusted for this, because some tools write the wrong one.

use std::io::{self, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

#[cfg(test)]
mod tests;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Largest zstd window that is accepted, as a power of two: 128 MiB, the most that the format
/// recommends decoders to support, so that a hostile layer cannot demand more memory.
const ZSTD_WINDOW: u32 = 27;

/// A reader whose first bytes have been looked at.
pub(crate) type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// How something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
    None,
}

/// Tells how the content of `reader` is compressed, and gives it back unread.
pub(crate) fn detect<R: Read>(mut reader: R) -> io::Result<(Compression, Peeked<R>)> {
    let mut start = Vec::with_capacity(ZSTD.len());
    let limit = u64::try_from(ZSTD.len()).unwrap_or(u64::MAX);
    reader.by_ref().take(limit).read_to_end(&mut start)?;
    let compression = if start.starts_with(GZIP) {
        Compression::Gzip
    } else if start.starts_with(ZSTD) {
        Compression::Zstd
    } else {
        Compression::None
    };
    Ok((compression, Cursor::new(start).chain(reader)))
}

/// The plain content of `reader`.
pub(crate) fn decompress<'a, R: Read + Send + 'a>(
    reader: R,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let (compression, reader) = detect(reader)?;
    Ok(match compression {
        // Not GzDecoder, which stops after the first of several members.
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(reader)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Compression::None => Box::new(reader),
    })
}
