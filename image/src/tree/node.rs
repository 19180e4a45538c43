//! Files and directories of the merged tree.

use std::collections::BTreeMap;

use super::{Error, MAX_NODES};
use crate::layer::{Content, Kind, Meta};

/// A tree of files. Nodes that nothing names any more may still be in it.
#[derive(Debug)]
pub struct Tree<'a> {
    nodes: Vec<Node<'a>>,
}

/// A node, as an index into its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// A file of any kind, under however many names.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Owner, permissions, time.
    pub meta: Meta,
    /// Extended attributes by full name, sorted.
    pub xattrs: Vec<(&'a [u8], &'a [u8])>,
    /// What it is.
    pub body: Body<'a>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// A directory.
    Directory(Children<'a>),
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Where its bytes are.
        content: Content<'a>,
        /// Whose blob they are in, counted from 0, the lowest.
        layer: usize,
    },
    /// A symbolic link.
    Symlink(&'a [u8]),
    /// A character device: major and minor.
    Character(u32, u32),
    /// A block device: major and minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The names in a directory, in the order of their bytes.
#[derive(Clone, Debug, Default)]
pub struct Children<'a> {
    pub(super) names: BTreeMap<&'a [u8], Name>,
    /// The last layer, plus one, that has hidden here what is below it.
    pub(super) hidden_by: usize,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// What it names.
    pub node: NodeId,
    /// The layer that has it, counted from 0; for directories, the last that mentions it.
    pub(super) layer: usize,
}

impl Children<'_> {
    /// What `name` names.
    pub(crate) fn get(&self, name: &[u8]) -> Option<NodeId> {
        self.names.get(name).map(|entry| entry.node)
    }

    /// Names and what they name, in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], NodeId)> {
        self.names.iter().map(|(name, entry)| (*name, entry.node))
    }
}

impl<'a> Node<'a> {
    /// A directory that no layer describes.
    pub(super) fn directory() -> Self {
        Self {
            meta: Meta {
                mode: 0o755,
                ..Meta::default()
            },
            xattrs: Vec::new(),
            body: Body::Directory(Children::default()),
        }
    }

    /// What a record describes, unless it is one that only refers to others.
    pub(super) fn new(kind: Kind<'a>, layer: usize) -> Option<Self> {
        let body = match kind {
            Kind::Directory => Body::Directory(Children::default()),
            Kind::File { size, content } => Body::File {
                size,
                content,
                layer,
            },
            Kind::Symlink(target) => Body::Symlink(target),
            Kind::Character(major, minor) => Body::Character(major, minor),
            Kind::Block(major, minor) => Body::Block(major, minor),
            Kind::Fifo => Body::Fifo,
            Kind::HardLink(_) | Kind::Whiteout | Kind::Opaque => return None,
        };
        Some(Self {
            meta: Meta::default(),
            xattrs: Vec::new(),
            body,
        })
    }

    /// The names in it, if it is a directory.
    #[must_use]
    pub fn children(&self) -> Option<&Children<'a>> {
        match &self.body {
            Body::Directory(children) => Some(children),
            _ => None,
        }
    }

    pub(super) fn children_mut(&mut self) -> Option<&mut Children<'a>> {
        match &mut self.body {
            Body::Directory(children) => Some(children),
            _ => None,
        }
    }
}

impl<'a> Tree<'a> {
    /// The root directory.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree with an empty root.
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::directory()],
        }
    }

    /// How many nodes there are; ids are below that.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there is always a root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node with this id, which comes from this tree.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node<'a> {
        &self.nodes[id.index()]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node<'a> {
        &mut self.nodes[id.index()]
    }

    pub(super) fn add(&mut self, node: Node<'a>) -> Result<NodeId, Error> {
        let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if self.nodes.len() >= MAX_NODES {
            return Err(Error::TooLarge {
                limit: MAX_NODES,
                what: "files",
            });
        }
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    /// What `name` means in `directory`.
    pub(super) fn child(&self, directory: NodeId, name: &[u8]) -> Option<Name> {
        let children = self.node(directory).children()?;
        children.names.get(name).copied()
    }

    /// Makes `name` in `directory` mean `node`.
    pub(super) fn put(&mut self, directory: NodeId, name: &'a [u8], node: NodeId, layer: usize) {
        if let Some(children) = self.node_mut(directory).children_mut() {
            children.names.insert(name, Name { node, layer });
        }
    }
}

impl NodeId {
    /// For tables beside the tree.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}
