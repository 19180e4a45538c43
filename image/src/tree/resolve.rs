//! Finds the directory that a path leads to, through symbolic links, and never above the root.

use super::Error;
use super::node::{Body, Node, NodeId, Tree};
use crate::layer::components;

/// Most symbolic links in one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Most names that all symbolic links of an image may lead through. Real images need a few for each file at most.
const LINK_BUDGET: usize = 1 << 27;

/// Walks paths. Keeps count over a whole merge, so that links to links cannot take for ever.
#[derive(Debug)]
pub(super) struct Resolver {
    budget: usize,
}

/// Why a directory was not found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is not there, and was not to be made.
    Missing,
    /// Something cannot be.
    Impossible(&'static str),
    /// The tree is full.
    Full,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self {
            budget: LINK_BUDGET,
        }
    }

    /// The directory at `path`. With `make`, one that is missing is made for that layer, also where a lower layer
    /// has something else.
    pub(super) fn directory<'a>(
        &mut self,
        tree: &mut Tree<'a>,
        path: &'a [u8],
        make: Option<usize>,
    ) -> Result<NodeId, Failure> {
        // The directories on the way, for `..`; and the names still to be walked, the next one last.
        let mut way = vec![Tree::ROOT];
        let mut names: Vec<&'a [u8]> = components(path).collect();
        names.reverse();
        let mut links = 0;
        while let Some(name) = names.pop() {
            let here = way.last().copied().unwrap_or(Tree::ROOT);
            if name == b"." {
                continue;
            }
            if name == b".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let found = tree.child(here, name);
            match found.map(|found| (found, &tree.node(found.node).body)) {
                Some((found, Body::Directory(_))) => way.push(found.node),
                Some((_, Body::Symlink(target))) => {
                    let target: &'a [u8] = target;
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Failure::Impossible(
                            "it leads through too many symbolic links",
                        ));
                    }
                    if target.first() == Some(&b'/') {
                        way.truncate(1);
                    }
                    let before = names.len();
                    names.extend(components(target));
                    self.spend(names.len() - before)?;
                    if let Some(added) = names.get_mut(before..) {
                        added.reverse();
                    }
                }
                other => {
                    let layer = make.ok_or(Failure::Missing)?;
                    if other.is_some_and(|(found, _)| found.layer >= layer) {
                        return Err(Failure::Impossible(
                            "a file stands where its directory should",
                        ));
                    }
                    let made = tree
                        .add(Node::directory())
                        .map_err(|_: Error| Failure::Full)?;
                    tree.put(here, name, made, layer);
                    way.push(made);
                }
            }
        }
        Ok(way.last().copied().unwrap_or(Tree::ROOT))
    }

    fn spend(&mut self, names: usize) -> Result<(), Failure> {
        let left = self.budget.checked_sub(names);
        self.budget = left.ok_or(Failure::Impossible(
            "the symbolic links of the image are too entangled",
        ))?;
        Ok(())
    }
}
