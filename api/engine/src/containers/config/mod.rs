//! From the body of `/containers/create` to the engine's configuration.

mod binds;
mod body;
mod health;
mod mounts;
mod network;
mod ports;
mod process;
mod resources;
mod restart;
mod security;
mod storage;

pub(super) use binds::volumes_from;
pub(super) use body::HostConfigBody;
pub(crate) use body::{CreateBody, EndpointBody};
pub(super) use health::health;
use hull_engine::ContainerConfig;
pub(crate) use network::attachment;
pub(super) use network::mode;
pub(super) use ports::{port, published};
pub(super) use process::stop_timeout;
pub(super) use resources::limits;
pub(super) use restart::restart_policy;

use crate::error::ApiError;

/// The engine's configuration for what a client says.
///
/// # Errors
/// What is wrong or cannot be honoured, by its name.
pub(crate) fn convert(body: &CreateBody) -> Result<ContainerConfig, ApiError> {
    let mut config = ContainerConfig {
        image: body.image.clone(),
        ..ContainerConfig::default()
    };
    process::convert(body, &mut config)?;
    network::convert(body, &mut config)?;
    config.ports = published(body)?;
    resources::convert(&body.host_config, &mut config)?;
    storage::convert(body, &mut config)?;
    security::convert(&body.host_config, &mut config)?;
    restart::convert(&body.host_config, &mut config)?;
    Ok(config)
}
