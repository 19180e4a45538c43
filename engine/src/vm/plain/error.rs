//! What can go wrong with a plain microVM.

use std::path::PathBuf;

use hull_vm_api::client::ClientError;
use hull_vm_api::config::NotUtf8;
use thiserror::Error;

use super::VmName;
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

/// A machine that cannot be.
#[derive(Debug, Error)]
pub enum SpecError {
    /// Without either, Linux has no program to start.
    #[error(
        "there is nothing to boot from: give --disk, with a file system on it, or --initrd, or --share with a directory that is to be the root"
    )]
    NoRoot,
    /// The device shows what is in the file, byte by byte.
    #[error(
        "disk {path} is a {format} image, and disks are raw: convert it by qemu-img convert -O raw {path} {path}.raw"
    )]
    ImageFormat {
        /// The file.
        path: String,
        /// Its format, as qemu-img names it.
        format: &'static str,
    },
    /// Nothing unpacks disks, and Hull's kernel no archives: that takes a guest longer than anything.
    #[error("{what} {path} is compressed: unpack it first, by {unpacker} {path} > {path}.raw")]
    Compressed {
        /// What it is.
        what: &'static str,
        /// The file.
        path: String,
        /// A program that unpacks it to standard output.
        unpacker: &'static str,
    },
    /// What is said of the root makes no sense.
    #[error(
        "invalid --root {0:?}: the number of a partition of the first disk is expected, or what the kernel is to be told as root=, such as /dev/vdb or PARTUUID=..."
    )]
    Root(String),
    /// What is said of a disk makes no sense.
    #[error("invalid --disk {0:?}: PATH or PATH:ro is expected")]
    Disk(String),
    /// What is said of a directory makes no sense.
    #[error("invalid --share {0:?}: DIR:TAG or DIR:TAG:ro is expected, as in /srv/data:data:ro")]
    Share(String),
    /// What is said of the network makes no sense.
    #[error("invalid --net {text:?}: {why}")]
    Net {
        /// What was said.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The network carries smaller packets.
    #[error("mtu={mtu} is more than network {network} carries: give at most {most}")]
    Mtu {
        /// What was said.
        mtu: u16,
        /// The network's name.
        network: String,
        /// Its own MTU.
        most: u16,
    },
    /// Ports of a guest that has no network for them.
    #[error("--publish needs an interface in a network of Hull's, or --net user")]
    Publish,
    /// It would be too small or too large.
    #[error("{what} is {value}; it must be from {least} to {most}")]
    Range {
        /// Which option.
        what: &'static str,
        /// What was said.
        value: u64,
        /// At least.
        least: u64,
        /// At most.
        most: u64,
    },
    /// JSON cannot hold the path.
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
}
