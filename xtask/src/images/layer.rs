//! Small layers, written entry by entry: every owner is root and every time is the images' epoch, unless said otherwise.

use std::io::Write;

use anyhow::Result;
use tar::{EntryType, Header};

use super::EPOCH;

/// A layer that is being written.
pub(super) struct Layer<W: Write>(tar::Builder<W>);

impl<W: Write> Layer<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(tar::Builder::new(writer))
    }

    pub(super) fn dir(&mut self, path: &str, mode: u32, owner: u64) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, owner);
        Ok(self.0.append_data(&mut header, path, &[][..])?)
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, 0);
        header.set_size(content.len().try_into()?);
        Ok(self.0.append_data(&mut header, path, content)?)
    }

    /// A file with `security.capability` as Linux 2.6.25 and newer have it (revision 2, `linux/capability.h`): these
    /// may be gained, and are not effective at once.
    pub(super) fn capable_file(
        &mut self,
        path: &str,
        content: &[u8],
        permitted: u32,
    ) -> Result<()> {
        let words = [0x0200_0000, permitted, 0, 0, 0_u32];
        let value = words.map(u32::to_le_bytes).concat();
        let name = "SCHILY.xattr.security.capability";
        self.0.append_pax_extensions([(name, value.as_slice())])?;
        self.file(path, 0o755, content)
    }

    pub(super) fn character_device(&mut self, path: &str, numbers: (u32, u32)) -> Result<()> {
        let mut header = header(EntryType::Char, 0o666, 0);
        header.set_device_major(numbers.0)?;
        header.set_device_minor(numbers.1)?;
        Ok(self.0.append_data(&mut header, path, &[][..])?)
    }

    pub(super) fn hard_link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Link, 0o755, 0);
        Ok(self.0.append_link(&mut header, path, target)?)
    }

    pub(super) fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        Ok(self.0.append_link(&mut header, path, target)?)
    }

    /// Ends the layer; returns the writer.
    pub(super) fn finish(self) -> Result<W> {
        Ok(self.0.into_inner()?)
    }
}

fn header(kind: EntryType, mode: u32, owner: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(EPOCH);
    header.set_size(0);
    header
}
