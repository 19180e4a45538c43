//! What can go wrong with a plain microVM.

use std::path::PathBuf;

use hull_vm_api::client::ClientError;
use thiserror::Error;

use super::{SpecError, VmName};
use crate::Error;

/// An operation on a plain microVM failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VmError {
    /// It cannot be as it was asked for.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its configuration is none that the VMM takes.
    #[error(transparent)]
    Config(#[from] hull_vm_api::ConfigError),
    /// Another one has the name.
    #[error("there is a microVM {0} already: choose another --name, or remove it (hull vm rm {0})")]
    NameTaken(VmName),
    /// There is none of this name.
    #[error("no such microVM: {0} (hull vm ls shows all)")]
    NotFound(String),
    /// What cannot be done while it runs.
    #[error("microVM {0} is running: stop it first (hull vm stop {0})")]
    Running(VmName),
    /// What can only be done while it runs.
    #[error("microVM {0} is not running (hull vm start {0})")]
    NotRunning(VmName),
    /// It has no console to attach to.
    #[error("microVM {0} was made with --console none: it has no console")]
    NoConsole(VmName),
    /// Two machines that write one disk destroy what is on it.
    #[error(
        "disk {0} is in use by another microVM; only disks that all have read-only (:ro) can be shared"
    )]
    DiskInUse(PathBuf),
    /// The machine ended before it ran.
    #[error("the microVM was not started: {0}")]
    Unstarted(String),
    /// Its VMM refuses something, or does not answer.
    #[error("microVM {name} did not do it")]
    Api {
        /// Which one.
        name: VmName,
        /// Why.
        source: ClientError,
    },
    /// Its network cannot be had.
    #[error(transparent)]
    Network(#[from] crate::network::Error),
    /// A TAP device that was named cannot be used.
    #[error(transparent)]
    Tap(#[from] hull_vm_api::tap::TapError),
    /// What can go wrong with containers, too.
    #[error(transparent)]
    Engine(#[from] Error),
}
