//! Applies the records of one layer after the other.

use super::node::{Body, Node, NodeId, Tree};
use super::resolve::{Failure, Resolver};
use super::{Error, MAX_NODES};
use crate::layer::{Entry, Index, Kind, printable};

impl<'a> Tree<'a> {
    /// Merges layers, lowest first.
    ///
    /// # Errors
    /// When an index is damaged, a record contradicts what is there, or there are too many files.
    pub fn merge(layers: &'a [Index]) -> Result<Self, Error> {
        let mut merge = Merge {
            tree: Self::new(),
            resolver: Resolver::new(),
            layer: 0,
        };
        for (layer, index) in layers.iter().enumerate() {
            merge.layer = layer;
            for entry in index.entries() {
                merge.apply(entry?)?;
            }
        }
        Ok(merge.tree)
    }
}

struct Merge<'a> {
    tree: Tree<'a>,
    resolver: Resolver,
    /// The layer that is being applied.
    layer: usize,
}

impl<'a> Merge<'a> {
    fn apply(&mut self, entry: Entry<'a>) -> Result<(), Error> {
        let path = entry.path;
        let done = match entry.kind {
            Kind::Whiteout => self.whiteout(path),
            Kind::Opaque => self.opaque(path),
            Kind::HardLink(target) => self.hard_link(path, target),
            Kind::Directory => self.directory(entry),
            _ => self.file(entry),
        };
        done.map_err(|failure| {
            let what = match failure {
                Failure::Missing => "what it refers to is not there",
                Failure::Impossible(what) => what,
                Failure::Full => {
                    return Error::TooLarge {
                        limit: MAX_NODES,
                        what: "files",
                    };
                }
            };
            Error::Member {
                layer: self.layer + 1,
                path: printable(path),
                what,
            }
        })
    }

    /// A file of any kind but a directory takes the place of whatever is there.
    fn file(&mut self, entry: Entry<'a>) -> Result<(), Failure> {
        let (directory, name) = self.place(entry.path)?;
        let node = self.node(entry)?;
        self.tree.put(directory, name, node, self.layer);
        Ok(())
    }

    /// A directory keeps what is in it if it is one already.
    fn directory(&mut self, entry: Entry<'a>) -> Result<(), Failure> {
        if entry.path.is_empty() {
            describe(self.tree.node_mut(Tree::ROOT), &entry);
            return Ok(());
        }
        let (directory, name) = self.place(entry.path)?;
        let old = self.tree.child(directory, name).map(|found| found.node);
        let old = old.filter(|node| self.tree.node(*node).children().is_some());
        let node = if let Some(node) = old {
            describe(self.tree.node_mut(node), &entry);
            node
        } else {
            self.node(entry)?
        };
        self.tree.put(directory, name, node, self.layer);
        Ok(())
    }

    fn hard_link(&mut self, path: &'a [u8], target: &'a [u8]) -> Result<(), Failure> {
        let (parent, name) = split(target);
        let parent = self.resolver.directory(&mut self.tree, parent, None)?;
        let target = self.tree.child(parent, name).ok_or(Failure::Missing)?.node;
        if self.tree.node(target).children().is_some() {
            return Err(Failure::Impossible("it is a hard link to a directory"));
        }
        let (directory, name) = self.place(path)?;
        self.tree.put(directory, name, target, self.layer);
        Ok(())
    }

    /// Hides `path` of the lower layers. What this layer has there stays, wherever in the archive it stands.
    fn whiteout(&mut self, path: &'a [u8]) -> Result<(), Failure> {
        let (parent, name) = split(path);
        let directory = match self.resolver.directory(&mut self.tree, parent, None) {
            // There is nothing to hide.
            Err(Failure::Missing) => return Ok(()),
            found => found?,
        };
        let Some(found) = self.tree.child(directory, name) else {
            return Ok(());
        };
        let is_directory = self.tree.node(found.node).children().is_some();
        if is_directory {
            self.hide(found.node);
        }
        let keeps = is_directory && self.has_children(found.node);
        if found.layer < self.layer
            && !keeps
            && let Some(children) = self.tree.node_mut(directory).children_mut()
        {
            children.names.remove(name);
        }
        Ok(())
    }

    fn opaque(&mut self, path: &'a [u8]) -> Result<(), Failure> {
        match self.resolver.directory(&mut self.tree, path, None) {
            Err(Failure::Missing) => Ok(()),
            found => {
                self.hide(found?);
                Ok(())
            }
        }
    }

    /// Removes what lower layers have below `top`. Each directory is gone through once per layer at most: what
    /// comes after belongs to this layer.
    fn hide(&mut self, top: NodeId) {
        // Directories on the way down come before those below them, so that going back meets children first.
        let mut order = vec![(top, None)];
        let mut next = 0;
        while let Some((directory, _)) = order.get(next).copied() {
            next += 1;
            let Some(children) = self.tree.node(directory).children() else {
                continue;
            };
            if children.hidden_by > self.layer {
                continue;
            }
            for (name, found) in &children.names {
                if self.tree.node(found.node).children().is_some() {
                    order.push((found.node, Some((directory, *name))));
                }
            }
        }
        for (directory, parent) in order.into_iter().rev() {
            let layer = self.layer;
            self.hide_files(directory);
            if let Some((parent, name)) = parent
                && !self.has_children(directory)
                && let Some(children) = self.tree.node_mut(parent).children_mut()
                && children.names.get(name).is_some_and(|n| n.layer < layer)
            {
                children.names.remove(name);
            }
        }
    }

    /// Removes the files of lower layers in `directory`, but no directories.
    fn hide_files(&mut self, directory: NodeId) {
        let layer = self.layer;
        let Some(children) = self.tree.node_mut(directory).children_mut() else {
            return;
        };
        if children.hidden_by > layer {
            return;
        }
        children.hidden_by = layer + 1;
        let mut names = std::mem::take(&mut children.names);
        names.retain(|_, found| {
            found.layer >= layer || self.tree.node(found.node).children().is_some()
        });
        if let Some(children) = self.tree.node_mut(directory).children_mut() {
            children.names = names;
        }
    }

    fn has_children(&self, directory: NodeId) -> bool {
        let children = self.tree.node(directory).children();
        children.is_some_and(|children| !children.names.is_empty())
    }

    /// The directory that `path` is to be in, made if it is missing, and the name there.
    fn place(&mut self, path: &'a [u8]) -> Result<(NodeId, &'a [u8]), Failure> {
        let (parent, name) = split(path);
        let layer = Some(self.layer);
        let directory = self.resolver.directory(&mut self.tree, parent, layer)?;
        Ok((directory, name))
    }

    fn node(&mut self, entry: Entry<'a>) -> Result<NodeId, Failure> {
        let described = Entry {
            kind: Kind::Fifo,
            ..entry
        };
        let mut node = Node::new(entry.kind, self.layer).ok_or(Failure::Missing)?;
        describe(&mut node, &described);
        self.tree.add(node).map_err(|_| Failure::Full)
    }
}

/// Gives a node what a record says of it beside its body.
fn describe<'a>(node: &mut Node<'a>, entry: &Entry<'a>) {
    node.meta = entry.meta;
    node.xattrs = entry.xattrs.iter().map(|(n, v)| (n.0, v.0)).collect();
    if let Body::Symlink(_) = node.body {
        // Linux has no others, and shows these whatever an archive says.
        node.meta.mode = 0o777;
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => {
            let (parent, name) = path.split_at(at);
            (parent, name.get(1..).unwrap_or_default())
        }
        None => (&[], path),
    }
}
