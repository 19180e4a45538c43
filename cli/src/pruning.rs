//! What all commands that remove what nobody needs have in common: they ask first, and say afterwards what is gone.

use std::collections::HashMap;
use std::io::{self, Write as _};

use crate::format::units;
use crate::out;

/// What only is meant, by the names of the filters.
pub(crate) type Filters = HashMap<String, Vec<String>>;

/// Asks the person at the terminal.
pub(crate) fn confirmed(what: &str) -> anyhow::Result<bool> {
    anstream::eprint!("This removes {what}. Go on? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    let answer = answer.trim().to_lowercase();
    Ok(answer == "y" || answer == "yes")
}

/// Says which things of a kind are gone.
pub(crate) fn deleted(kind: &str, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    out::print(&format!("Deleted {kind}:\n{}\n\n", names.join("\n")))
}

/// Says what that has brought.
pub(crate) fn reclaimed(bytes: u64) -> anyhow::Result<()> {
    out::line(&format!("Total reclaimed space: {}", units::size(bytes)))
}

/// A number of bytes as the API has it, of which there are no fewer than none.
pub(crate) fn bytes(number: Option<i64>) -> u64 {
    number.unwrap_or_default().try_into().unwrap_or_default()
}
