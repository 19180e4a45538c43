//! A reader of EROFS, written from the kernel's documentation alone and with no regard to speed.

use std::collections::BTreeMap;

const BLOCK: usize = 4096;

/// A file as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) nid: u64,
    pub(crate) mode: u16,
    pub(crate) owner: (u32, u32),
    pub(crate) time: (i64, u32),
    pub(crate) links: u32,
    /// Content, link target, or nothing.
    pub(crate) content: Vec<u8>,
    pub(crate) device: u32,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// All files of a disk by path, the root under the empty one.
pub(crate) fn read(disk: &[u8]) -> BTreeMap<Vec<u8>, Found> {
    let reader = Reader(disk);
    let sb = 1024;
    assert_eq!(reader.u32(sb), 0xE0F5_E1E2, "the magic number");
    let mut block = disk[sb..BLOCK].to_vec();
    block[4..8].fill(0);
    let crc = u32::try_from(crc_fast::checksum(
        crc_fast::CrcAlgorithm::Crc32Iscsi,
        &block,
    ));
    assert_eq!(reader.u32(sb + 4), !crc.expect("32 bits"), "the checksum");
    assert_eq!(
        reader.u32(sb + 36) as usize * BLOCK,
        disk.len(),
        "the length"
    );
    let root = u64::from(reader.u16(sb + 14));

    let mut found = BTreeMap::new();
    let mut todo = vec![(Vec::new(), root, root)];
    while let Some((path, nid, parent)) = todo.pop() {
        let file = reader.file(nid);
        if file.mode >> 12 == 4 {
            let mut names = Vec::new();
            for (name, child, kind) in reader.names(nid) {
                names.push(name.clone());
                let mode = reader.file(child).mode >> 12;
                let kinds = [(1, 8), (2, 4), (3, 2), (4, 6), (5, 1), (7, 10)];
                assert!(kinds.contains(&(kind, mode)), "{kind} is not {mode:o}");
                match name.as_slice() {
                    b"." => assert_eq!(child, nid),
                    b".." => assert_eq!(child, parent),
                    _ if path.is_empty() => todo.push((name, child, nid)),
                    _ => todo.push(([path.as_slice(), &name].join(&b'/'), child, nid)),
                }
            }
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        }
        assert!(
            found.insert(path, file).is_none(),
            "each path is there once"
        );
    }
    found
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn file(&self, nid: u64) -> Found {
        let at = usize::try_from(nid).unwrap() * 32;
        let mode = self.u16(at + 4);
        let is_device = matches!(mode >> 12, 2 | 6);
        Found {
            nid,
            mode,
            owner: (self.u32(at + 24), self.u32(at + 28)),
            time: (self.u64(at + 32).cast_signed(), self.u32(at + 40)),
            links: self.u32(at + 44),
            content: if mode >> 12 == 4 {
                Vec::new()
            } else {
                self.data(at)
            },
            device: if is_device { self.u32(at + 16) } else { 0 },
            xattrs: self.xattrs(at),
        }
    }

    fn data(&self, at: usize) -> Vec<u8> {
        let size = usize::try_from(self.u64(at + 8)).unwrap();
        let behind = at + 64 + self.xattr_len(at);
        let union = self.u32(at + 16);
        let start = union as usize * BLOCK;
        let format = self.u16(at);
        assert_eq!(format & 1, 1, "an extended inode");
        match format >> 1 {
            0 if size == 0 => Vec::new(),
            0 => self.0[start..][..size].to_vec(),
            2 => {
                let (whole, tail) = (size / BLOCK * BLOCK, size % BLOCK);
                assert!(behind % BLOCK + tail <= BLOCK, "the tail is in one block");
                [&self.0[start..][..whole], &self.0[behind..][..tail]].concat()
            }
            4 => {
                let chunk = BLOCK << (union & 31);
                let mut data = Vec::new();
                for number in 0..size.div_ceil(chunk) {
                    let length = chunk.min(size - number * chunk);
                    match self.u32(behind + 4 * number) {
                        u32::MAX => data.resize(data.len() + length, 0),
                        block => data.extend(&self.0[block as usize * BLOCK..][..length]),
                    }
                }
                data
            }
            other => panic!("data layout {other}"),
        }
    }

    fn names(&self, nid: u64) -> Vec<(Vec<u8>, u64, u8)> {
        let data = self.data(usize::try_from(nid).unwrap() * 32);
        let mut names = Vec::new();
        for block in data.chunks(BLOCK) {
            let reader = Reader(block);
            let count = usize::from(reader.u16(8)) / 12;
            for number in 0..count {
                let start = usize::from(reader.u16(12 * number + 8));
                let end = if number + 1 < count {
                    usize::from(reader.u16(12 * number + 20))
                } else {
                    block.len()
                };
                let name = block[start..end].split(|b| *b == 0).next().unwrap();
                names.push((
                    name.to_vec(),
                    reader.u64(12 * number),
                    block[12 * number + 10],
                ));
            }
        }
        names
    }

    fn xattr_len(&self, at: usize) -> usize {
        match usize::from(self.u16(at + 2)) {
            0 => 0,
            count => 12 + 4 * (count - 1),
        }
    }

    fn xattrs(&self, at: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let length = self.xattr_len(at);
        if length == 0 {
            return Vec::new();
        }
        let start = at + 64;
        let shared = usize::from(self.0[start + 4]);
        let area = self.u32(1024 + 44) as usize * BLOCK;
        let mut found = Vec::new();
        for number in 0..shared {
            let id = self.u32(start + 12 + 4 * number) as usize;
            found.push(self.xattr(area + 4 * id).0);
        }
        let mut position = start + 12 + 4 * shared;
        while position < start + length {
            let (attribute, next) = self.xattr(position);
            found.push(attribute);
            position = next;
        }
        found.sort();
        found
    }

    fn xattr(&self, at: usize) -> ((Vec<u8>, Vec<u8>), usize) {
        let prefix: &[u8] = match self.0[at + 1] {
            1 => b"user.",
            2 => b"system.posix_acl_access",
            3 => b"system.posix_acl_default",
            4 => b"trusted.",
            6 => b"security.",
            other => panic!("prefix {other}"),
        };
        let name = &self.0[at + 4..][..usize::from(self.0[at])];
        let value = &self.0[at + 4 + name.len()..][..usize::from(self.u16(at + 2))];
        let end = at + 4 + name.len() + value.len();
        (
            ([prefix, name].concat(), value.to_vec()),
            end.next_multiple_of(4),
        )
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.0[at..][..2].try_into().unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..][..4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..][..8].try_into().unwrap())
    }
}
