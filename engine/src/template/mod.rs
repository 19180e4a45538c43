//! Templates: machines at rest, in files, which other machines start as clones of.
//!
//! There are two kinds, and a start takes the nearer: a machine whose agent waits, for any container of its size; and the same with
//! an image's file systems mounted, up to just before the program. Both are made by the way, by the first start that finds none:
//! its agent is asked to let go (`Hold`), a snapshot is taken, and the start goes on from there. Nobody may depend on one: where
//! none can be made or used, a machine boots.
//!
//! [`key`] says what a template depends on, and so when another is made. [`Templates`] is the directory of all, [`make`] what fills it.
//! A template's files are written once, under another name, and noted with their times of change in its manifest: what was changed
//! since is not used. A clone maps the memory privately, so that all clones share what they do not write.

mod key;
pub(crate) mod make;
mod manifest;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use key::{Keys, MachineInputs};
pub use manifest::Kind;
pub(crate) use manifest::Seal;
pub(crate) use store::Template;
pub use store::{Listed, Templates};
