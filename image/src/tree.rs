//! The file tree of an image: its layers' indexes merged from the lowest to the highest.
//!
//! [`crate::erofs`] calls this and writes the result. The meaning of each record is that of unpacking it over what
//! is there (OCI image specification, `layer.md`), as umoci does it: parents are found through symbolic links and made where
//! they are missing, hard links may lead to files of lower layers, whiteouts hide only what lower layers have.
//!
//! Everything borrows from the indexes. All loops are bounded by their length, and by budgets where links come in.

mod error;
mod merge;
mod node;
mod resolve;

pub use error::Error;
pub use node::{Body, Children, Name, Node, NodeId, Tree};

/// Most files of one image.
pub const MAX_NODES: usize = 8 << 20;
