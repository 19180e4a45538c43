//! A container's machine beside its disk: what it is while it runs, and the machine itself while the container is suspended.
//!
//! `machine.json` says how large it is. `suspended/` has its state and memory; they can be used while `sealed.json` is there, which
//! goes before a machine is made of them and comes back only if none ever ran: the disk that they belong to is the container's own, and changes
//! with the first thing that the guest does.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::container::{Directory, read_json, remove_file, remove_tree, write_json};
use crate::disk::Layer;
use crate::errand::{MEMORY, STATE};
use crate::plan::Past;
use crate::prepare::{Saved, SavedDisk};
use crate::snapshot::Subject;
use crate::spec::Shape;
use crate::template::Seal;

/// How large a machine is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    shape: Shape,
    layer: Layer,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    state: Seal,
    memory: Seal,
}

fn machine_file(directory: &Directory) -> PathBuf {
    directory.path().join("machine.json")
}

fn sealed_file(directory: &Directory) -> PathBuf {
    directory.suspended().join("sealed.json")
}

/// Notes how large a container's machine is.
pub(crate) fn note(directory: &Directory, shape: Shape, layer: Layer) -> io::Result<()> {
    write_json(&machine_file(directory), &Machine { shape, layer })
}

/// Gives a machine in files other limits, as far as it is large enough for them.
pub(crate) fn limit(
    directory: &Directory,
    memory: Option<u64>,
    nano_cpus: Option<u64>,
) -> Result<(), String> {
    let failed = |error: io::Error| error.to_string();
    let Machine { shape, layer } = read_json(&machine_file(directory)).map_err(failed)?;
    let shape = shape.limited(memory, nano_cpus);
    note(directory, shape.map_err(|error| error.to_string())?, layer).map_err(failed)
}

/// What a snapshot of a container is taken of.
pub(crate) fn subject(directory: &Directory) -> Result<Subject, Error> {
    let read = || {
        let Machine { shape, layer } = read_json(&machine_file(directory))?;
        let record = directory.record()?;
        Ok(Subject {
            record,
            shape,
            layer,
        })
    };
    read().map_err(Error::io("read", directory.path()))
}

/// Says that a container's machine is complete in its files.
pub(crate) fn seal(directory: &Directory) -> io::Result<()> {
    let seal =
        |name| Ok::<_, io::Error>(Seal::of(&fs::metadata(directory.suspended().join(name))?));
    let sealed = Sealed {
        state: seal(STATE)?,
        memory: seal(MEMORY)?,
    };
    write_json(&sealed_file(directory), &sealed)
}

/// Whether a machine can be made of a container's files.
pub(crate) fn is_sealed(directory: &Directory) -> bool {
    sealed_file(directory).exists()
}

/// Opens a container's machine.
pub(crate) fn open(directory: &Directory) -> Result<(Past, Shape, Layer), Error> {
    let read = || {
        let Machine { shape, layer } = read_json(&machine_file(directory))?;
        let sealed: Sealed = read_json(&sealed_file(directory))?;
        let saved = Saved {
            state: sealed.state.open(&directory.suspended().join(STATE))?,
            memory: sealed.memory.open(&directory.suspended().join(MEMORY))?,
            disk: SavedDisk::Own,
        };
        let past = Past {
            saved,
            anothers: false,
        };
        Ok((past, shape, layer))
    };
    read().map_err(Error::io("use", directory.suspended()))
}

/// The seal of files of which a machine is being made.
#[derive(Debug)]
pub(crate) struct Broken {
    directory: Directory,
    sealed: Sealed,
}

/// Sees to it that no second machine is made of a container's files.
pub(crate) fn break_seal(directory: &Directory) -> io::Result<Broken> {
    let path = sealed_file(directory);
    let sealed = read_json(&path)?;
    fs::remove_file(path)?;
    Ok(Broken {
        directory: directory.clone(),
        sealed,
    })
}

impl Broken {
    /// No machine ran.
    pub(crate) fn mend(self) -> io::Result<()> {
        write_json(&sealed_file(&self.directory), &self.sealed)
    }

    /// One runs: what it was made of is of no more use.
    pub(crate) fn discard(self) {
        if let Err(error) = discard(&self.directory) {
            tracing::warn!(%error, "the files of a container that was suspended were not removed");
        }
    }
}

/// Gives up a machine in files, if there is one: its container's disk is, or will be, another than it knows. The seal goes first.
pub(crate) fn discard(directory: &Directory) -> io::Result<()> {
    remove_file(&sealed_file(directory))?;
    remove_tree(&directory.suspended())
}
