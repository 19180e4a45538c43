//! What can go wrong with a plain microVM.

use std::path::PathBuf;

use hull_vm_api::client::ClientError;
use hull_vm_api::config::NotUtf8;
use thiserror::Error;

use super::{InvalidVmName, VmName};
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
    /// What can only be done with one in files, or one that runs.
    #[error("microVM {0} is neither suspended nor paused: hull vm start {0} starts it")]
    NotSuspended(VmName),
    /// Somebody pauses, resumes or saves it.
    #[error(
        "microVM {0} is being paused, resumed or saved by another command: try again when that is done"
    )]
    Busy(VmName),
    /// There is no such snapshot.
    #[error("no such snapshot: {0} (hull vm snapshot ls shows all)")]
    NoSnapshot(String),
    /// There is one already.
    #[error(
        "there is a snapshot {0} already: choose another name, or remove it (hull vm snapshot rm {0})"
    )]
    SnapshotTaken(VmName),
    /// A name that none can have.
    #[error(transparent)]
    Name(#[from] InvalidVmName),
    /// A snapshot whose files are not as they were written.
    #[error("the snapshot {name} cannot be used; take it again")]
    SnapshotDamaged {
        /// Which one.
        name: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// What a snapshot's machine reads is not what it knows.
    #[error(
        "disk {disk}, which is read by what goes on from the snapshot {name}, was changed since that was taken: put it back as it was, or take the \
         snapshot again"
    )]
    SnapshotDiskChanged {
        /// The disk.
        disk: PathBuf,
        /// The snapshot.
        name: String,
    },
    /// The memory of a machine in files does not belong to its disk any more.
    #[error(
        "disk {disk} was changed since microVM {name} was saved, and does not go with its memory any more: hull vm start --cold {name} boots it \
         and forgets that memory"
    )]
    DiskChanged {
        /// The disk.
        disk: PathBuf,
        /// The microVM.
        name: VmName,
    },
    /// Only files can be copied as they are.
    #[error(
        "disk {0} is a device, of which there is no copy for a snapshot: put the disk into a file, or suspend the microVM (hull vm suspend)"
    )]
    DeviceDisk(PathBuf),
    /// Somebody put another file in the place of the one that a machine writes.
    #[error(
        "{disk} is not the file any more that microVM {name} has as its disk: put that one back, or stop the microVM"
    )]
    OtherFile {
        /// The disk's path.
        disk: PathBuf,
        /// The microVM.
        name: VmName,
    },
    /// A disk that was put there by the API.
    #[error(
        "microVM {name} cannot be saved: its disk {drive} was put there by its API, and only who did that knows its file. Use PUT /snapshot/create of \
         that API"
    )]
    OtherDisk {
        /// The microVM.
        name: VmName,
        /// The disk's id.
        drive: String,
    },
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
    /// An interface whose other end cannot be another.
    #[error("invalid --net: {0}")]
    OtherNet(String),
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
