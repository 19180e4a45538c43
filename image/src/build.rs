//! Dockerfiles: read, and planned as stages and steps. Nothing is run here, and no file of the host is touched.
//!
//! The language is Docker's (its builder's reference, and where that is silent, what its builder does). [`parse`] reads a
//! Dockerfile, [`plan`] finds the stages that a target needs, [`Building`] says what each step means and names its result;
//! [`Copying`] makes the layer of a `COPY` or an `ADD`, [`Ignore`] is `.dockerignore`. [`change`] applies the instructions that `commit` and `import` take to the configuration of an image.

pub mod change;
mod copy;
mod files;
mod ignore;
mod instruction;
mod parse;
mod pattern;
mod plan;
mod source;
mod stage;
#[cfg(test)]
mod tests;
mod words;

pub use copy::{Copying, Error as CopyError};
pub use files::Files;
pub use ignore::{Ignore, IgnoreError};
pub use instruction::{Arguments, Healthcheck, Instruction, Keyword};
pub use parse::{Dockerfile, parse};
pub use plan::{Base, Plan, PlanOptions, Stage, plan};
pub use source::{Heredoc, MAX_DOCKERFILE};
pub use stage::{Action, Building, Copy, Run};

/// A Dockerfile, or a line of one, makes no sense. In Docker's words, which programs look for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dockerfile parse error on line {line}: {what}")]
pub struct Error {
    line: usize,
    what: String,
}

impl Error {
    fn new(line: usize, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { line, what }
    }

    /// The line of the Dockerfile, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}
