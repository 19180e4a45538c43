//! What layers mean, in the plainest terms: a table of paths.

use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;
use tar::EntryType;

use crate::layer::tests::archive::{Archive, header};

/// One member of a layer.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) path: Vec<u8>,
    pub(super) action: Action,
    pub(super) meta: Meta,
}

impl fmt::Debug for Step {
    /// Short, since a failure prints all steps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.escape_ascii();
        match &self.action {
            Action::File(content) => write!(f, "{path}: file of {}", content.len()),
            Action::HardLink(target) => write!(f, "{path}: link to {}", target.escape_ascii()),
            Action::Symlink(target) => write!(f, "{path}: symlink of {}", target.len()),
            other => write!(f, "{path}: {other:?}"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Device(u32, u32),
    Fifo,
    Whiteout,
    Opaque,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u16,
    pub(super) owner: (u32, u32),
    pub(super) time: (i64, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A file of the model.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) action: Action,
    pub(super) meta: Meta,
}

/// Paths, what they lead to, and which layer says so.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) inodes: Vec<Inode>,
    pub(super) paths: BTreeMap<Vec<u8>, (usize, usize)>,
}

impl Model {
    pub(super) fn new() -> Self {
        let mut model = Self {
            inodes: Vec::new(),
            paths: BTreeMap::new(),
        };
        model.insert(Vec::new(), missing_directory(), 0);
        model
    }

    /// Applies a step if it makes sense; tells whether.
    pub(super) fn apply(&mut self, step: &Step, layer: usize) -> bool {
        let path = &step.path;
        match &step.action {
            Action::Whiteout | Action::Opaque => {
                if parents(path).any(|parent| !self.is_directory(parent)) {
                    return false;
                }
                let keep_top = matches!(step.action, Action::Opaque);
                if keep_top && !self.is_directory(path) {
                    return false;
                }
                self.hide(path, layer, keep_top);
                return true;
            }
            Action::HardLink(target) => {
                let Some((inode, _)) = self.paths.get(target).copied() else {
                    return false;
                };
                if self.is_directory(target) || !self.make_parents(path, layer) {
                    return false;
                }
                self.remove(path);
                self.paths.insert(path.clone(), (inode, layer));
                return true;
            }
            _ => {}
        }
        if !self.make_parents(path, layer) {
            return false;
        }
        let inode = Inode {
            action: step.action.clone(),
            meta: step.meta.clone(),
        };
        let old = self.paths.get(path).copied();
        if matches!(step.action, Action::Directory) && self.is_directory(path) {
            let (old, _) = old.expect("it is a directory");
            self.inodes[old] = inode;
            self.paths.insert(path.clone(), (old, layer));
        } else {
            self.remove(path);
            self.insert(path.clone(), inode, layer);
        }
        true
    }

    pub(super) fn is_directory(&self, path: &[u8]) -> bool {
        let found = self.paths.get(path);
        found.is_some_and(|(inode, _)| matches!(self.inodes[*inode].action, Action::Directory))
    }

    /// Links on the way have tests of their own, so such steps are left out here.
    fn make_parents(&mut self, path: &[u8], layer: usize) -> bool {
        for parent in parents(path).map(<[u8]>::to_vec) {
            let Some((inode, owner)) = self.paths.get(&parent).copied() else {
                self.insert(parent, missing_directory(), layer);
                continue;
            };
            match self.inodes[inode].action {
                Action::Directory => {}
                Action::Symlink(_) => return false,
                _ if owner == layer => return false,
                _ => self.insert(parent, missing_directory(), layer),
            }
        }
        true
    }

    fn hide(&mut self, top: &[u8], layer: usize, keep_top: bool) {
        // The longest paths first, so that directories are seen after what is in them.
        let below: Vec<Vec<u8>> = self.paths.keys().rev().cloned().collect();
        let mut below: Vec<_> = below
            .into_iter()
            .filter(|path| is_below(path, top))
            .collect();
        below.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for path in below {
            let has_children = self
                .paths
                .keys()
                .any(|other| is_below(other, &path) && *other != path);
            let is_lower = self.paths[&path].1 < layer;
            if is_lower && !has_children && !(keep_top && path == top) {
                self.paths.remove(&path);
            }
        }
    }

    fn remove(&mut self, top: &[u8]) {
        self.paths.retain(|path, _| !is_below(path, top));
    }

    fn insert(&mut self, path: Vec<u8>, inode: Inode, layer: usize) {
        self.inodes.push(inode);
        self.paths.insert(path, (self.inodes.len() - 1, layer));
    }
}

fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

fn missing_directory() -> Inode {
    Inode {
        action: Action::Directory,
        meta: Meta {
            mode: 0o755,
            ..Meta::default()
        },
    }
}

/// `path` itself counts.
fn is_below(path: &[u8], top: &[u8]) -> bool {
    path == top || top.is_empty() || (path.starts_with(top) && path[top.len()] == b'/')
}

/// A layer as an archive.
pub(super) fn archive(steps: &[Step]) -> Vec<u8> {
    let mut archive = Archive::new();
    for step in steps {
        let (kind, path, link, content): (_, Vec<u8>, &[u8], &[u8]) = match &step.action {
            Action::File(content) => (EntryType::Regular, step.path.clone(), b"", content),
            Action::Directory => (
                EntryType::Directory,
                [&step.path, &b"/"[..]].concat(),
                b"",
                b"",
            ),
            Action::Symlink(target) => (EntryType::Symlink, step.path.clone(), target, b""),
            Action::HardLink(target) => (EntryType::Link, step.path.clone(), target, b""),
            Action::Device(..) => (EntryType::Char, step.path.clone(), b"", b""),
            Action::Fifo => (EntryType::Fifo, step.path.clone(), b"", b""),
            Action::Whiteout => (EntryType::Regular, whiteout(&step.path), b"", b""),
            Action::Opaque => (
                EntryType::Regular,
                [&step.path, &b"/.wh..wh..opq"[..]].concat(),
                b"",
                b"",
            ),
        };
        let mut header = header(kind);
        header.set_mode(u32::from(step.meta.mode));
        if let Action::Device(major, minor) = step.action {
            header.set_device_major(major).expect("ustar");
            header.set_device_minor(minor).expect("ustar");
        }
        let text = |number: u32| number.to_string().into_bytes();
        let (uid, gid) = (text(step.meta.owner.0), text(step.meta.owner.1));
        let time = time(step.meta.time).into_bytes();
        let mut records: Vec<(String, &[u8])> = vec![
            ("uid".to_owned(), &uid),
            ("gid".to_owned(), &gid),
            ("mtime".to_owned(), &time),
        ];
        if !link.is_empty() {
            records.push(("linkpath".to_owned(), link));
        }
        for (name, value) in &step.meta.xattrs {
            let name = String::from_utf8_lossy(name);
            records.push((format!("SCHILY.xattr.{name}"), value));
        }
        let records: Vec<(&str, &[u8])> = records.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        archive.add(&header, &path, &records, content);
    }
    archive.finish()
}

fn whiteout(path: &[u8]) -> Vec<u8> {
    let at = path
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    [&path[..at], b".wh.", &path[at..]].concat()
}

fn time((seconds, nanos): (i64, u32)) -> String {
    match (seconds, nanos) {
        (0.., _) => format!("{seconds}.{nanos:09}"),
        (_, 0) => format!("{seconds}"),
        _ => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    }
}

/// Some layers of steps over few names, so that they meet.
pub(super) fn layers() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step =
        (path(), action(), meta()).prop_map(|(path, action, meta)| Step { path, action, meta });
    prop::collection::vec(prop::collection::vec(step, 0..12), 1..4)
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        4 => Just(b"a".to_vec()),
        4 => Just(b"b".to_vec()),
        1 => Just(b"-".to_vec()),
        1 => Just(vec![b'n'; 255]),
        1 => Just(b"\xff\xfe odd\n".to_vec()),
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'))
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => content().prop_map(Action::File),
        6 => Just(Action::Directory),
        1 => prop_oneof![Just(1), Just(100), Just(4064), Just(4065), Just(4095)]
            .prop_map(|length| Action::Symlink(vec![b't'; length])),
        4 => path().prop_map(Action::HardLink),
        1 => (0..0xfff_u32, 0..0xf_ffff_u32).prop_map(|(major, minor)| Action::Device(major, minor & 0x3_ffff)),
        1 => Just(Action::Fifo),
        3 => Just(Action::Whiteout),
        2 => Just(Action::Opaque),
    ]
}

/// Pieces of something and of nothing.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        0..10_usize,
        1020..1030_usize,
        4090..4100_usize,
        60_000..140_000_usize
    ];
    let piece = (prop::bool::weighted(0.6), any::<u8>(), length)
        .prop_map(|(full, byte, length)| vec![if full { byte } else { 0 }; length]);
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn meta() -> impl Strategy<Value = Meta> {
    let time = (
        prop_oneof![any::<i32>().prop_map(i64::from), 0..1_i64 << 40],
        0..1_000_000_000_u32,
    );
    let name = prop_oneof![
        Just(b"user.a".to_vec()),
        Just(b"trusted.b".to_vec()),
        Just(b"security.capability".to_vec()),
        Just(b"system.posix_acl_access".to_vec()),
    ];
    let value = prop_oneof![
        Just(b"common".to_vec()),
        prop::collection::vec(any::<u8>(), 1..40),
        Just(vec![7; 5000]),
    ];
    let xattrs = prop_oneof![
        3 => Just(BTreeMap::new()),
        1 => prop::collection::btree_map(name, value, 1..4),
    ];
    (0..0o10000_u16, 0..u32::MAX, 0..u32::MAX, time, xattrs).prop_map(
        |(mode, uid, gid, time, xattrs)| Meta {
            mode,
            owner: (uid, gid),
            time,
            xattrs: xattrs.into_iter().collect(),
        },
    )
}
