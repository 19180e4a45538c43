//! From trees of files to members of a layer.

use super::Error;
use super::output::{Item, ItemBody, Output, Owner};
use super::sources::Source;
use super::target::Target;
use crate::build::Ignore;
use crate::build::files::Files;
use crate::layer::{MAX_PATH, components};
use crate::tree::{Body, NodeId, Tree};

/// What is looked through.
pub(super) struct Walk<'a, 'b> {
    pub(super) tree: &'a Tree<'b>,
    pub(super) ignore: Option<&'a Ignore>,
    pub(super) exclude: &'a Ignore,
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

impl Output<'_> {
    /// Copies one source.
    pub(super) fn source(
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

    /// Copies what is in an archive. It belongs to whom the archive says.
    pub(super) fn archive(&mut self, archive: &Files, target: &Target) -> Result<(), Error> {
        let tree = archive.tree()?;
        self.directory(&target.names)?;
        let all = Walk {
            tree: &tree,
            ignore: None,
            exclude: &Ignore::default(),
        };
        self.keep_owners(|output| output.contents(archive, &all, Tree::ROOT, &[], &target.names))
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
}
