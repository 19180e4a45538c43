//! `COPY` and `ADD`: from files of one file system to a layer for another.
//!
//! - A source is a path or a pattern from the root of where it is copied from; nothing leads out of there, and a symbolic link that
//!   is named itself is followed. Of a directory, what is in it is copied. What `.dockerignore` leaves out is not there.
//! - A destination that ends with a slash, or is a directory, gets the sources under their names; otherwise it is the name of the
//!   one file. Symbolic links in it are followed in the file system below. Directories that are missing are made, 0755.
//! - Files belong to root, or to whom `--chown` says, and keep their permissions, unless `--chmod` says others.
//! - `ADD` unpacks a tar archive, compressed or not, with the owners that it has. Addresses are the caller's to fetch, and
//!   to be copied as what came.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use super::files::{Files, Place, resolve};
use super::{Copy, Ignore};
use crate::digest::{Digest, Hasher};
use crate::glob::Glob;
use crate::layer::{self, Content, Entry, Kind, MAX_PATH, Meta, components, header, printable};
use crate::tree::{self, Body, NodeId, Tree};

#[cfg(test)]
mod tests;

/// Largest file of users or groups that is read, in bytes.
const MAX_USERS: u64 = 4 << 20;

/// Files cannot be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot be read or written.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// Layers do not fit together.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// There is no such source.
    #[error(
        "COPY failed: file not found in build context or excluded by .dockerignore: stat {0}: file does not exist"
    )]
    NotFound(String),
    /// No source fits a pattern.
    #[error("COPY failed: no source files were specified: nothing fits {0}")]
    NothingFits(String),
    /// A pattern is none.
    #[error("COPY failed: syntax error in pattern {0}")]
    Pattern(String),
    /// An address was not fetched.
    #[error("ADD failed: {0} was not fetched")]
    Remote(String),
    /// A file stands where a directory is needed.
    #[error("COPY failed: cannot copy to non-directory: {0}")]
    NotADirectory(String),
    /// Several files for one name.
    #[error(
        "When using COPY with more than one source file, the destination must be a directory and end with a /"
    )]
    Several,
    /// Symbolic links lead in circles.
    #[error("symbolic links lead in circles at {0:?}")]
    Loop(String),
    /// There is no such user or group.
    #[error("unable to find user or group {0:?} in the image's /etc/passwd and /etc/group")]
    Owner(String),
    /// Permissions that are none.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
    /// A file is longer than it may be.
    #[error("{path:?} has more than {limit} bytes")]
    TooLong {
        /// The file.
        path: String,
        /// The most that it may have.
        limit: u64,
    },
    /// There is no place for what is copied.
    #[error(transparent)]
    Store(crate::store::Error),
    /// A pattern of `--exclude` is none.
    #[error(transparent)]
    Exclude(#[from] super::IgnoreError),
}

/// Where files are copied from and to.
#[derive(Clone, Copy, Debug)]
pub struct Copying<'a> {
    /// What they are copied from.
    pub from: &'a Files,
    /// What they are copied on top of.
    pub below: &'a Files,
    /// What is left out of `from`, if that is a context.
    pub ignore: Option<&'a Ignore>,
    /// An empty directory, for archives that are unpacked.
    pub scratch: &'a Path,
    /// The time of what is made anew, in seconds since 1970.
    pub now: i64,
}

/// A member of the layer.
struct Item<'a> {
    path: Vec<u8>,
    meta: Meta,
    xattrs: Vec<(&'a [u8], &'a [u8])>,
    body: ItemBody<'a>,
}

enum ItemBody<'a> {
    Directory,
    Node(NodeId),
    Inline(&'a [u8]),
}

impl Copying<'_> {
    /// Writes the layer that `copy` makes as a tar stream. Returns the digest of what is copied, which does not depend on the
    /// times of files: it is the one for [`super::Building::key`]. To know only that, let it write into nothing.
    ///
    /// # Errors
    /// When a source is missing, or the destination cannot be.
    pub fn write(&self, copy: &Copy, out: &mut dyn Write) -> Result<Digest, Error> {
        let from = self.from.tree()?;
        let nothing = Files::default();
        let below = if copy.link { &nothing } else { self.below };
        let below_tree = below.tree()?;
        let owner = copy
            .owner
            .as_deref()
            .map(|text| self.owner(text))
            .transpose()?;
        let (uid, gid) = owner.unwrap_or((0, 0));
        let mode = copy.mode.as_deref().map(mode).transpose()?;
        let exclude = Ignore::parse(&copy.exclude.join("\n"))?;
        let mut output = Output {
            out,
            hasher: Hasher::default(),
            made: BTreeSet::new(),
            links: BTreeMap::new(),
            owner: Owner::Of(uid, gid),
            mode,
            now: self.now,
            below: &below_tree,
        };
        let sources = self.sources(&from, copy)?;
        let many = sources.len() + copy.inline.len() > 1;
        let target = Target::find(&below_tree, &copy.destination)?;
        if many && !target.is_directory {
            return Err(Error::Several);
        }
        for (number, source) in sources.iter().enumerate() {
            let is_file = |node| matches!(from.node(node).body, Body::File { .. });
            let unpacked = match source.place.node {
                Some(node) if copy.is_add && is_file(node) => self.unpack(&from, node, number)?,
                _ => None,
            };
            if let Some(archive) = unpacked {
                let tree = archive.tree()?;
                output.directory(&target.names)?;
                // What is in an archive belongs to whom the archive says.
                let all = Walk {
                    tree: &tree,
                    ignore: None,
                    exclude: &Ignore::default(),
                };
                output.keep_owners(|output| {
                    output.contents(&archive, &all, Tree::ROOT, &[], &target.names)
                })?;
                continue;
            }
            let ignore = self.ignore.filter(|_| copy.from.is_none());
            let walk = Walk {
                tree: &from,
                ignore,
                exclude: &exclude,
            };
            output.source(self.from, &walk, source, &target, copy.parents)?;
        }
        for (name, content) in &copy.inline {
            let names = target.with_name(name.as_bytes());
            output.parents(&names)?;
            let mode = mode.unwrap_or(0o644);
            let meta = Meta {
                mode,
                uid,
                gid,
                mtime: self.now,
                nanos: 0,
            };
            let body = ItemBody::Inline(content.as_bytes());
            let item = Item {
                path: names.join(&b'/'),
                meta,
                xattrs: Vec::new(),
                body,
            };
            output.item(self.from, &from, &item)?;
        }
        output.end()
    }

    /// Writes the layer that has a directory, with those above it, as far as they are missing. Returns whether any is.
    ///
    /// # Errors
    /// When a file is in the way.
    pub fn write_directory(&self, path: &str, out: &mut dyn Write) -> Result<bool, Error> {
        let below = self.below.tree()?;
        let target = Target::find(&below, path)?;
        let mut output = Output {
            out,
            hasher: Hasher::default(),
            made: BTreeSet::new(),
            links: BTreeMap::new(),
            owner: Owner::Of(0, 0),
            mode: None,
            now: self.now,
            below: &below,
        };
        output.directory(&target.names)?;
        let is_missing = !output.made.is_empty();
        output.end()?;
        Ok(is_missing)
    }

    /// What the sources lead to.
    fn sources(&self, tree: &Tree<'_>, copy: &Copy) -> Result<Vec<Source>, Error> {
        let ignore = self.ignore.filter(|_| copy.from.is_none());
        let left_out = |place: &Place| {
            let path = String::from_utf8_lossy(&place.names.join(&b'/')).into_owned();
            let is_directory = place
                .node
                .is_some_and(|node| tree.node(node).children().is_some());
            ignore.is_some_and(|ignore| {
                !path.is_empty()
                    && ignore.leaves_out(&path)
                    && !(is_directory && ignore.keeps_something())
            })
        };
        let mut found = Vec::new();
        for source in &copy.sources {
            if source.contains("://") {
                return Err(Error::Remote(source.clone()));
            }
            if !source.contains(['*', '?', '[']) {
                let place = resolve(tree, source.as_bytes(), true)?;
                if place.node.is_none() || left_out(&place) {
                    return Err(Error::NotFound(source.clone()));
                }
                let given = clean(source);
                let given = components(given.as_bytes()).map(<[u8]>::to_vec).collect();
                found.push(Source { place, given });
                continue;
            }
            let pattern = clean(source);
            let glob =
                Glob::with_double_stars(&pattern).ok_or_else(|| Error::Pattern(source.clone()))?;
            let before = found.len();
            for path in all_paths(tree) {
                if glob.fits(&String::from_utf8_lossy(&path)) {
                    let place = resolve(tree, &path, true)?;
                    if place.node.is_some() && !left_out(&place) {
                        let given = components(&path).map(<[u8]>::to_vec).collect();
                        found.push(Source { place, given });
                    }
                }
            }
            if found.len() == before {
                return Err(Error::NothingFits(source.clone()));
            }
        }
        Ok(found)
    }

    /// The files in a file, if it is an archive.
    fn unpack(&self, tree: &Tree<'_>, node: NodeId, number: usize) -> Result<Option<Files>, Error> {
        let Body::File {
            size,
            content,
            layer,
        } = &tree.node(node).body
        else {
            return Ok(None);
        };
        let dir = self.scratch.join(format!("archive-{number}"));
        std::fs::create_dir(&dir).map_err(|e| layer::Error::io("make", &dir, e))?;
        let reader = self.from.content(content, *layer, *size)?;
        match Files::from_tar(reader, &dir) {
            Ok(files) if !files.is_empty() => Ok(Some(files)),
            // What does not even begin like an archive is a file like others, and so is what only looks compressed.
            Ok(_)
            | Err(Error::Layer(
                layer::Error::Malformed { offset: ..=512, .. } | layer::Error::Read(_),
            )) => {
                std::fs::remove_dir_all(&dir).map_err(|e| layer::Error::io("remove", &dir, e))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// `USER[:GROUP]`, by number or as the file system below knows them.
    fn owner(&self, text: &str) -> Result<(u32, u32), Error> {
        let (user, group) = text
            .split_once(':')
            .map_or((text, None), |(user, group)| (user, Some(group)));
        let none = |text: &str| Error::Owner(text.to_owned());
        let known = |file: &str, name: &str| -> Result<Option<(u32, u32)>, Error> {
            let bytes = self.below.read(file, MAX_USERS)?.unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let line = text
                .lines()
                .find(|line| line.split(':').next() == Some(name));
            let field =
                |line: &str, at| line.split(':').nth(at).and_then(|field| field.parse().ok());
            Ok(line.and_then(|line| Some((field(line, 2)?, field(line, 3).unwrap_or(0)))))
        };
        let (uid, own_group) = match user.parse::<u32>() {
            // A number of a user whom nobody knows is also that of the group.
            Ok(uid) => (uid, uid),
            Err(_) => known("/etc/passwd", user)?.ok_or_else(|| none(user))?,
        };
        let gid = match group.map(|group| (group, group.parse::<u32>())) {
            // As with Docker, the group of that name; where there is none, the user's own.
            None => known("/etc/group", user)?.map_or(own_group, |(gid, _)| gid),
            Some((_, Ok(gid))) => gid,
            Some((group, Err(_))) => known("/etc/group", group)?.ok_or_else(|| none(group))?.0,
        };
        Ok((uid, gid))
    }
}

/// A file or directory to copy.
struct Source {
    place: Place,
    /// Its path as it was named, which is where a symbolic link was before it was followed.
    given: Vec<Vec<u8>>,
}

/// Where files go.
struct Target {
    names: Vec<Vec<u8>>,
    is_directory: bool,
}

impl Target {
    fn find(below: &Tree<'_>, destination: &str) -> Result<Self, Error> {
        let place = resolve(below, destination.as_bytes(), true)?;
        let there = place.node.map(|node| below.node(node).children().is_some());
        if there == Some(false) && destination.ends_with('/') {
            return Err(Error::NotADirectory(destination.to_owned()));
        }
        Ok(Self {
            is_directory: destination.ends_with('/') || there == Some(true),
            names: place.names,
        })
    }

    fn with_name(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let mut names = self.names.clone();
        if self.is_directory {
            names.push(name.to_vec());
        }
        names
    }
}

/// What is looked through.
struct Walk<'a, 'b> {
    tree: &'a Tree<'b>,
    ignore: Option<&'a Ignore>,
    exclude: &'a Ignore,
}

impl Walk<'_, '_> {
    fn leaves_out(&self, path: &[u8], inside: &[u8]) -> bool {
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        self.ignore
            .is_some_and(|ignore| ignore.leaves_out(&text(path)))
            || (!inside.is_empty() && self.exclude.leaves_out(&text(inside)))
    }

    /// Whether there may be something in a directory that is left out itself.
    fn looks_inside(&self) -> bool {
        self.ignore.is_some_and(Ignore::keeps_something) || self.exclude.keeps_something()
    }
}

/// The layer that is being written.
struct Output<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    /// Directories that are in it.
    made: BTreeSet<Vec<u8>>,
    /// Files with several names that are in it.
    links: BTreeMap<NodeId, Vec<u8>>,
    owner: Owner,
    mode: Option<u16>,
    now: i64,
    below: &'a Tree<'a>,
}

/// Whose files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// User and group.
    Of(u32, u32),
    /// Those that they have.
    Kept,
}

impl Output<'_> {
    /// Copies one source.
    fn source(
        &mut self,
        files: &Files,
        walk: &Walk<'_, '_>,
        source: &Source,
        target: &Target,
        parents: bool,
    ) -> Result<(), Error> {
        let Some(node) = source.place.node else {
            return Ok(());
        };
        self.links.clear();
        if walk.tree.node(node).children().is_some() {
            let mut names = target.names.clone();
            if parents {
                names.extend(source.given.clone());
            }
            self.directory(&names)?;
            return self.contents(files, walk, node, &source.place.names, &names);
        }
        let last = source.given.last().cloned().unwrap_or_default();
        let names = if parents {
            let mut names = target.names.clone();
            names.extend(source.given.clone());
            names
        } else {
            target.with_name(&last)
        };
        self.parents(&names)?;
        self.node(files, walk.tree, node, names.join(&b'/'))
    }

    /// Copies what is in a directory.
    fn contents(
        &mut self,
        files: &Files,
        walk: &Walk<'_, '_>,
        root: NodeId,
        from: &[Vec<u8>],
        to: &[Vec<u8>],
    ) -> Result<(), Error> {
        // Paths below the root that are still to be looked at, the next one last.
        let mut rest: Vec<(NodeId, Vec<u8>)> = vec![(root, Vec::new())];
        let prefix = |names: &[Vec<u8>], inside: &[u8]| {
            let mut path = names.join(&b'/');
            if !path.is_empty() && !inside.is_empty() {
                path.push(b'/');
            }
            path.extend(inside);
            path
        };
        while let Some((node, inside)) = rest.pop() {
            let children = walk.tree.node(node).children();
            let is_root = inside.is_empty();
            let left_out = !is_root && walk.leaves_out(&prefix(from, &inside), &inside);
            if left_out && (children.is_none() || !walk.looks_inside()) {
                continue;
            }
            if !left_out && !is_root {
                let path = prefix(to, &inside);
                let names: Vec<Vec<u8>> = components(&path).map(<[u8]>::to_vec).collect();
                self.parents(&names)?;
                self.node(files, walk.tree, node, path)?;
            }
            let names: Vec<_> = children
                .into_iter()
                .flat_map(|children| children.iter())
                .collect();
            for (name, child) in names.into_iter().rev() {
                let path = prefix(std::slice::from_ref(&inside), name);
                if path.len() <= MAX_PATH {
                    rest.push((child, path));
                }
            }
        }
        Ok(())
    }

    /// Writes a file of any kind.
    fn node(
        &mut self,
        files: &Files,
        tree: &Tree<'_>,
        node: NodeId,
        path: Vec<u8>,
    ) -> Result<(), Error> {
        let found = tree.node(node);
        let mut meta = found.meta;
        let body = if found.children().is_some() {
            self.made.insert(path.clone());
            ItemBody::Directory
        } else {
            ItemBody::Node(node)
        };
        if let Owner::Of(uid, gid) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
            if !matches!(found.body, Body::Symlink(_)) {
                meta.mode = self.mode.unwrap_or(meta.mode);
            }
        }
        let item = Item {
            path,
            meta,
            xattrs: found.xattrs.clone(),
            body,
        };
        self.item(files, tree, &item)
    }

    /// Lets files keep the owners that they have.
    fn keep_owners(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.links.clear();
        let before = std::mem::replace(&mut self.owner, Owner::Kept);
        let done = work(self);
        self.owner = before;
        self.links.clear();
        done
    }

    /// Makes the directories above a file, as far as they are missing.
    fn parents(&mut self, names: &[Vec<u8>]) -> Result<(), Error> {
        match names.split_last() {
            Some((_, parents)) => self.directory(parents),
            None => Ok(()),
        }
    }

    /// Makes a directory with those above it, as far as they are missing.
    fn directory(&mut self, names: &[Vec<u8>]) -> Result<(), Error> {
        for length in 1..=names.len() {
            let path = names.get(..length).unwrap_or_default().join(&b'/');
            if self.made.contains(&path) {
                continue;
            }
            let below = resolve(self.below, &path, false)?.node;
            match below.map(|node| self.below.node(node).children().is_some()) {
                Some(true) => continue,
                Some(false) => return Err(Error::NotADirectory(printable(&path))),
                None => {}
            }
            self.made.insert(path.clone());
            let (uid, gid) = match self.owner {
                Owner::Of(uid, gid) => (uid, gid),
                Owner::Kept => (0, 0),
            };
            let meta = Meta {
                mode: 0o755,
                uid,
                gid,
                mtime: self.now,
                nanos: 0,
            };
            let entry = Entry {
                path: &path,
                meta,
                xattrs: Vec::new(),
                kind: Kind::Directory,
            };
            self.header(&entry)?;
        }
        Ok(())
    }

    fn item(&mut self, files: &Files, tree: &Tree<'_>, item: &Item<'_>) -> Result<(), Error> {
        let mut size = 0;
        let mut stored = None;
        let target;
        let kind = match &item.body {
            ItemBody::Directory => Kind::Directory,
            ItemBody::Inline(bytes) => {
                size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                Kind::File {
                    size,
                    content: Content::Inline(bytes),
                }
            }
            ItemBody::Node(node) => match &tree.node(*node).body {
                Body::File {
                    size: length,
                    content,
                    layer,
                } => {
                    if let Some(first) = self.links.get(node) {
                        target = first.clone();
                        Kind::HardLink(&target)
                    } else {
                        self.links.insert(*node, item.path.clone());
                        size = *length;
                        stored = Some((content, *layer));
                        Kind::File {
                            size,
                            content: content.clone(),
                        }
                    }
                }
                Body::Symlink(target) => Kind::Symlink(target),
                Body::Character(major, minor) => Kind::Character(*major, *minor),
                Body::Block(major, minor) => Kind::Block(*major, *minor),
                Body::Fifo => Kind::Fifo,
                Body::Directory(_) => Kind::Directory,
            },
        };
        let xattrs = item
            .xattrs
            .iter()
            .map(|(name, value)| (layer::Bytes(name), layer::Bytes(value)));
        let entry = Entry {
            path: &item.path,
            meta: item.meta,
            xattrs: xattrs.collect(),
            kind,
        };
        self.header(&entry)?;
        match (&item.body, stored) {
            (ItemBody::Inline(bytes), _) => self.bytes(bytes)?,
            (_, Some((content, layer))) => {
                let mut both = Both {
                    out: &mut *self.out,
                    hasher: &mut self.hasher,
                };
                files.copy_content(content, layer, size, &mut both)?;
            }
            _ => {}
        }
        let padding = usize::try_from(size.wrapping_neg() % 512).unwrap_or(0);
        self.bytes([0; 512].get(..padding).unwrap_or_default())
    }

    fn header(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        let timeless = Entry {
            meta: Meta {
                mtime: 0,
                nanos: 0,
                ..entry.meta
            },
            ..entry.clone()
        };
        self.hasher.update(&header(&timeless)?);
        let bytes = header(entry)?;
        self.out.write_all(&bytes).map_err(layer::Error::Output)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut both = Both {
            out: &mut *self.out,
            hasher: &mut self.hasher,
        };
        both.write_all(bytes).map_err(layer::Error::Output)?;
        Ok(())
    }

    fn end(mut self) -> Result<Digest, Error> {
        self.bytes(&[0; 1024])?;
        self.out.flush().map_err(layer::Error::Output)?;
        Ok(self.hasher.finish())
    }
}

/// Writes and hashes.
struct Both<'a> {
    out: &'a mut dyn Write,
    hasher: &'a mut Hasher,
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// All paths of a tree but the root, in the order of their bytes within each directory.
fn all_paths(tree: &Tree<'_>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = vec![(Tree::ROOT, Vec::new())];
    while let Some((node, path)) = rest.pop() {
        let children: Vec<_> = tree
            .node(node)
            .children()
            .into_iter()
            .flat_map(|children| children.iter())
            .collect();
        for (name, child) in children.into_iter().rev() {
            let mut below: Vec<u8> = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend(name);
            if below.len() <= MAX_PATH {
                rest.push((child, below));
            }
        }
        if !path.is_empty() {
            found.push(path);
        }
    }
    found
}

fn mode(text: &str) -> Result<u16, Error> {
    let mode = u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| Error::Mode(text.to_owned()))
}

/// The pattern without what means nothing in it.
fn clean(pattern: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in pattern.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.join("/")
}
