//! Extended attributes on disk: entries behind the inode, and numbers of entries that several files share.

use std::collections::HashMap;

/// Bytes of `struct erofs_xattr_ibody_header`.
const BODY_HEADER: usize = 12;
/// Most shared attributes that one inode can refer to.
const MAX_SHARED: usize = 255;
/// Name prefixes that have a number: `fs/erofs/erofs_fs.h`. The whole names of ACLs have one.
const PREFIXES: &[(u8, &[u8])] = &[
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

type Attribute<'a> = (&'a [u8], &'a [u8]);

/// The attributes that more than one file has.
#[derive(Debug, Default)]
pub(super) struct Shared<'a> {
    /// How many files have it.
    counts: HashMap<Attribute<'a>, u32>,
    /// Where it is in `bytes`, in units of four.
    places: HashMap<Attribute<'a>, u32>,
    /// The shared entries.
    bytes: Vec<u8>,
}

impl<'a> Shared<'a> {
    /// Takes note of a file's attributes. All files come before the first [`Shared::encode`].
    pub(super) fn count(&mut self, attributes: &[Attribute<'a>]) {
        for attribute in attributes {
            *self.counts.entry(*attribute).or_default() += 1;
        }
    }

    /// What stands behind an inode with these attributes; a multiple of four bytes.
    pub(super) fn encode(&mut self, attributes: &[Attribute<'a>]) -> Vec<u8> {
        let mut ids = Vec::new();
        let mut own = Vec::new();
        for attribute in attributes {
            let Some(entry) = entry(*attribute) else {
                continue;
            };
            let is_common = self.counts.get(attribute).is_some_and(|count| *count > 1);
            if is_common && ids.len() < MAX_SHARED {
                ids.push(self.place(*attribute, &entry));
            } else {
                own.extend(entry);
            }
        }
        if ids.is_empty() && own.is_empty() {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(BODY_HEADER + 4 * ids.len() + own.len());
        bytes.extend([0; 4]); // no filter of names
        bytes.push(u8::try_from(ids.len()).unwrap_or(u8::MAX));
        bytes.extend([0; 7]);
        for id in ids {
            bytes.extend(id.to_le_bytes());
        }
        bytes.extend(own);
        bytes
    }

    /// The entries that are referred to by number.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn place(&mut self, attribute: Attribute<'a>, entry: &[u8]) -> u32 {
        let next = u32::try_from(self.bytes.len() / 4).unwrap_or(u32::MAX);
        let place = *self.places.entry(attribute).or_insert(next);
        if place == next {
            self.bytes.extend(entry);
        }
        place
    }
}

/// `struct erofs_xattr_entry` with name and value; `None` if no number stands for its prefix, which imports do not let through.
fn entry((name, value): Attribute<'_>) -> Option<Vec<u8>> {
    let (number, name) = PREFIXES.iter().find_map(|(number, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        Some((*number, rest))
    })?;
    let mut bytes = vec![u8::try_from(name.len()).ok()?, number];
    bytes.extend(u16::try_from(value.len()).ok()?.to_le_bytes());
    bytes.extend(name);
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Some(bytes)
}
