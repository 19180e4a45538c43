//! What a command prints of each microVM that it did something to.

use clap::ValueEnum;
use hull_engine::plain::{MicroVms, VmName};
use serde_json::json;

use super::list::object;
use crate::out;

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Report {
    /// The name
    Name,
    /// All that is known of it then, as one object in a line
    Json,
}

/// The microVMs that a command is about.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// What to print of each
    #[arg(long, value_enum, default_value_t = Report::Name)]
    pub(super) format: Report,
    /// Names
    #[arg(value_name = "NAME", required = true)]
    pub(super) names: Vec<String>,
}

impl Report {
    /// Prints one to which it was done.
    pub(super) fn done(self, name: &VmName, vms: &MicroVms) -> anyhow::Result<()> {
        match (self, vms.get(name)) {
            (Self::Name, _) => out::line(&name.to_string()),
            (Self::Json, Ok(one)) => out::line(&object(&one, vms).to_string()),
            (Self::Json, Err(_)) => {
                out::line(&json!({ "name": name, "status": "removed" }).to_string())
            }
        }
    }
}
