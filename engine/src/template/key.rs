//! What a template depends on: when any of it changes, its key is another, and so another template is made.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hull_agent_protocol::Configure;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::disk::Layer;
use crate::doctor;
use crate::programs::Programs;
use crate::spec::Shape;

/// Counts up whenever templates made by an older Hull should not be used any more.
const FORMAT: u32 = 1;
/// Hexadecimal digits of a key: 128 bits.
const DIGITS: usize = 32;

/// The names of the templates that a start can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Of the machine with its agent.
    pub(crate) machine: String,
    /// Of the same with the image mounted.
    pub(crate) image: String,
}

/// What a machine is made of, whatever its container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineInputs<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) boot_args: &'a str,
    pub(crate) shape: Shape,
    pub(crate) layer: Layer,
    /// Of each directory of the host whether it is read-only.
    pub(crate) shares: &'a [bool],
    /// How many network interfaces.
    pub(crate) interfaces: usize,
}

/// A file, by what changes with its content.
#[derive(Debug, Serialize)]
struct File {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

#[derive(Debug, Serialize)]
struct Machine<'a> {
    format: u32,
    version: &'static str,
    protocol: u32,
    vmm: File,
    kernel: File,
    initramfs: File,
    host: doctor::HostKey,
    boot_args: &'a str,
    cpus: u32,
    memory_mib: u64,
    disk: u64,
    journal: bool,
    shares: &'a [bool],
    interfaces: usize,
}

#[derive(Debug, Serialize)]
struct Image<'a> {
    machine: &'a str,
    parts: Vec<File>,
    configure: &'a Configure,
}

impl File {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}

impl Keys {
    /// The keys of a container's templates. `configure` is what every container of this kind has in common.
    ///
    /// # Errors
    /// If a file is not there.
    pub(crate) fn of(
        inputs: MachineInputs<'_>,
        parts: &[PathBuf],
        configure: &Configure,
    ) -> io::Result<Self> {
        let programs = inputs.programs;
        let machine = digest(&Machine {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            protocol: hull_agent_protocol::VERSION,
            vmm: File::of(&programs.vmm)?,
            kernel: File::of(&programs.kernel)?,
            initramfs: File::of(&programs.initramfs)?,
            host: doctor::HostKey::of_host(&programs.vmm),
            boot_args: inputs.boot_args,
            cpus: inputs.shape.cpus,
            memory_mib: inputs.shape.memory_mib,
            disk: inputs.layer.size,
            journal: inputs.layer.journal,
            shares: inputs.shares,
            interfaces: inputs.interfaces,
        })?;
        let image = digest(&Image {
            machine: &machine,
            parts: parts
                .iter()
                .map(|part| File::of(part))
                .collect::<io::Result<_>>()?,
            configure,
        })?;
        Ok(Self { machine, image })
    }
}

fn digest(inputs: &impl Serialize) -> io::Result<String> {
    let mut hex = hex::encode(Sha256::digest(serde_json::to_vec(inputs)?));
    hex.truncate(DIGITS);
    Ok(hex)
}

/// Whether a name is one that a template can have.
pub(super) fn is_key(name: &str) -> bool {
    name.len() == DIGITS
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
