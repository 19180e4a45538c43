//! `/networks`.

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod remove;
mod shown;

use hull_engine::network::{DEFAULT_NETWORK, Network};
use hull_engine::supervisor::Supervisor;

use crate::error::ApiError;

/// A network that there is.
#[derive(Debug)]
enum Found {
    Network(Box<Network>),
    /// One that stands for there being none: `none`, or `host`, which no microVM can have.
    Builtin(&'static Builtin),
}

#[derive(Debug)]
struct Builtin {
    name: &'static str,
    id: &'static str,
    driver: &'static str,
}

const BUILTIN: [Builtin; 2] = [
    Builtin {
        name: "host",
        id: "686f7374",
        driver: "host",
    },
    Builtin {
        name: "none",
        id: "6e6f6e65",
        driver: "null",
    },
];

impl Found {
    fn name(&self) -> &str {
        match self {
            Self::Network(network) => network.name(),
            Self::Builtin(one) => one.name,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Network(network) => network.id().as_str(),
            Self::Builtin(one) => one.id,
        }
    }

    fn driver(&self) -> &'static str {
        match self {
            Self::Network(_) => "bridge",
            Self::Builtin(one) => one.driver,
        }
    }

    /// Whether it is there without anybody making it.
    fn is_builtin(&self) -> bool {
        match self {
            Self::Network(network) => network.name() == DEFAULT_NETWORK,
            Self::Builtin(_) => true,
        }
    }
}

/// The network with this name, this identifier, or whose identifier begins so. Blocking.
fn find(supervisor: &Supervisor, text: &str) -> Result<Found, ApiError> {
    let is_it = |one: &&Builtin| one.name == text || one.id == text;
    match BUILTIN.iter().find(is_it) {
        Some(one) => Ok(Found::Builtin(one)),
        None => {
            let network = supervisor.networks().get(text)?;
            Ok(Found::Network(Box::new(network)))
        }
    }
}

/// All networks, by name. Blocking.
fn all(supervisor: &Supervisor) -> Result<Vec<Found>, ApiError> {
    supervisor.networks().get(DEFAULT_NETWORK)?;
    let networks = supervisor.networks().list()?;
    let builtin = BUILTIN.iter().map(Found::Builtin);
    let mut all: Vec<Found> = networks
        .into_iter()
        .map(|network| Found::Network(Box::new(network)))
        .chain(builtin)
        .collect();
    all.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(all)
}
