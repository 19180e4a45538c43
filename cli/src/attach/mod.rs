//! A program in a container, and the person or the script in front of it: streams, keys, the terminal's size, signals.

pub(crate) mod job;
mod output;
mod session;
pub(crate) mod signals;
mod streams;
pub(crate) mod terminal;

pub(crate) use output::Output;
pub(crate) use session::{Begun, End, Options, Program, Session, pass_output};
pub(crate) use streams::{Streams, Wanted};
