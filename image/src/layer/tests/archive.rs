//! Archives for tests, member by member.

use tar::{Builder, EntryType, Header};

/// An archive that is being put together.
pub(crate) struct Archive(Builder<Vec<u8>>);

impl Archive {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Adds a member with PAX records before it.
    pub(crate) fn add(
        &mut self,
        header: &Header,
        path: &[u8],
        records: &[(&str, &[u8])],
        content: &[u8],
    ) -> &mut Self {
        let all = [("path", path)].into_iter().chain(records.iter().copied());
        self.0.append_pax_extensions(all).expect("records");
        let mut header = header.clone();
        let size = u64::try_from(content.len()).expect("a size");
        header.set_size(if header.entry_type().is_file() {
            size
        } else {
            0
        });
        header.set_cksum();
        self.0.append(&header, content).expect("a member");
        self
    }

    pub(crate) fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.add(&header(EntryType::Regular), path.as_bytes(), &[], content)
    }

    pub(crate) fn dir(&mut self, path: &str) -> &mut Self {
        self.add(&header(EntryType::Directory), path.as_bytes(), &[], &[])
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        let link = [("linkpath", target.as_bytes())];
        self.add(&header(EntryType::Symlink), path.as_bytes(), &link, &[])
    }

    pub(crate) fn hard_link(&mut self, path: &str, target: &str) -> &mut Self {
        let link = [("linkpath", target.as_bytes())];
        self.add(&header(EntryType::Link), path.as_bytes(), &link, &[])
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.0.finish().expect("the end");
        self.0.get_ref().clone()
    }
}

/// A header with ordinary values.
pub(crate) fn header(kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    header
}
