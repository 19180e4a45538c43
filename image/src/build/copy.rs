//! `COPY` and `ADD`: from files of one file system to a layer for another.
//!
//! - A source is a path or a pattern from the root of where it is copied from; nothing leads out of there, and a symbolic link that
//!   is named itself is followed. Of a directory, what is in it is copied. What `.dockerignore` leaves out is not there.
//! - A destination that ends with a slash, or is a directory, gets the sources under their names; otherwise it is the name of the
//!   one file. Symbolic links in it are followed in the file system below. Directories that are missing are made, 0755.
//! - Files belong to root, or to whom `--chown` says, and keep their permissions, unless `--chmod` says others.
//! - `ADD` unpacks a tar archive, compressed or not, with the owners that it has. Addresses are the caller's to fetch, and
//!   to be copied as what came.

mod error;
mod output;
mod rights;
mod sources;
mod target;
mod walk;

use std::io::Write;
use std::path::Path;

use super::files::Files;
use super::{Copy, Ignore};
use crate::digest::Digest;
pub use error::Error;
use output::{Output, Owner};
use rights::mode;
use target::Target;
use walk::Walk;

#[cfg(test)]
mod tests;

/// Where files are copied from and to.
#[derive(Clone, Copy, Debug)]
pub struct Copying<'a> {
    /// What they are copied from.
    pub from: &'a Files,
    /// What they are copied on top of.
    pub below: &'a Files,
    /// What is left out of `from`, if that is a context.
    pub ignore: Option<&'a Ignore>,
    /// A directory for archives that are unpacked: empty, or as writing the same before has left it, so that none is unpacked twice.
    pub scratch: &'a Path,
    /// The time of what is made anew, in seconds since 1970.
    pub now: i64,
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
        let mut output = Output::new(out, &below_tree, self.now);
        if let Some(text) = &copy.owner {
            let (uid, gid) = match copy.link {
                true => self.owner(&self.below.tree()?, text)?,
                false => self.owner(&below_tree, text)?,
            };
            output.owner = Owner::Of(uid, gid);
        }
        output.mode = copy.mode.as_deref().map(mode).transpose()?;
        let exclude = Ignore::parse(&copy.exclude.join("\n"))?;
        let sources = self.sources(&from, copy)?;
        let many = sources.len() + copy.inline.len() > 1;
        let target = Target::find(&below_tree, &copy.destination)?;
        if many && !target.is_directory {
            return Err(Error::Several);
        }
        let walk = Walk {
            tree: &from,
            ignore: self.ignore.filter(|_| copy.from.is_none()),
            exclude: &exclude,
        };
        for (number, source) in sources.iter().enumerate() {
            let unpacked = match source.place.node {
                Some(_) if copy.is_add => self.unpack(&from, source, number)?,
                _ => None,
            };
            match unpacked {
                Some(archive) => output.archive(&archive, &target)?,
                None => output.source(self.from, &walk, source, &target, copy.parents)?,
            }
        }
        for (name, content) in &copy.inline {
            let names = target.with_name(name.as_bytes());
            output.inline(self.from, &from, &names, content)?;
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
        let mut output = Output::new(out, &below, self.now);
        output.directory(&target.names)?;
        let is_missing = !output.made.is_empty();
        output.end()?;
        Ok(is_missing)
    }
}
