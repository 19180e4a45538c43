//! How lists and objects are printed: tables, JSON, or a Go template, as Docker's `--format` has them.

mod functions;
mod list;
mod methods;
pub(crate) mod table;
mod template;
pub(crate) mod units;
mod values;

pub(crate) use list::{Columns, List, Row};
pub(crate) use template::Template;
