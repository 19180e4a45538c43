//! Making a template of a machine at rest.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hull_vm_api::Client;
use hull_vm_api::client::ClientError;
use hull_vm_api::config::HostPath;
use hull_vm_api::request::{SnapshotCreate, SnapshotType};
use jiff::Timestamp;
use thiserror::Error;

use super::manifest::{Kind, Manifest};
use super::store::{DISK, Draft, MEMORY, STATE, Templates};
use crate::disk;
use crate::spec::Shape;

/// How long a VMM may take to write a machine down. It is at the disk's speed, and disks are slow at times.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no template. The machine goes on all the same, unless it is the last of these.
#[derive(Debug, Error)]
pub(crate) enum MakeError {
    #[error("its files cannot be written")]
    Io(#[from] io::Error),
    #[error("the machine was not saved")]
    Save(#[source] ClientError),
    #[error("the machine does not go on after it was saved")]
    Resume(#[source] ClientError),
}

/// A template that is about to be made.
#[derive(Debug)]
pub(crate) struct Making {
    templates: Templates,
    draft: Draft,
}

/// What is to be saved.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) key: String,
    pub(crate) shape: Shape,
    /// Of one with an image.
    pub(crate) mounted: Option<Mounted>,
}

/// An image's file systems.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    pub(crate) image: String,
    pub(crate) reference: String,
    /// The writable disk.
    pub(crate) disk: PathBuf,
}

impl Making {
    /// Makes sure that there is a place for it, before the machine is bothered.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn begin(templates: &Templates) -> io::Result<Self> {
        Ok(Self {
            templates: templates.clone(),
            draft: templates.begin()?,
        })
    }

    /// Saves the machine whose API is at `api`, and lets it go on. Blocking.
    ///
    /// # Errors
    /// Why there is no template.
    pub(crate) fn make(self, api: &Path, subject: &Subject) -> Result<(), MakeError> {
        let client = Client::new(api).with_time(PATIENCE);
        client.pause().map_err(MakeError::Save)?;
        let saved = self.save(&client, subject);
        client.resume().map_err(MakeError::Resume)?;
        saved?;
        self.templates.publish(&subject.key, self.draft)?;
        Ok(())
    }

    /// Its memory and its disk are of the same moment: it stands still.
    fn save(&self, client: &Client, subject: &Subject) -> Result<(), MakeError> {
        let path = |name| HostPath::try_from(self.draft.path(name).as_path());
        let no_text = |_| io::Error::other("their path is no UTF-8");
        let create = SnapshotCreate {
            snapshot_type: SnapshotType::Full,
            resume_vm: false,
            snapshot_path: path(STATE).map_err(no_text)?,
            mem_file_path: path(MEMORY).map_err(no_text)?,
        };
        client.create_snapshot(&create).map_err(MakeError::Save)?;
        if let Some(mounted) = &subject.mounted {
            disk::copy(&mounted.disk, &self.draft.path(DISK))?;
        }
        let mounted = subject.mounted.as_ref();
        let disk = mounted.map(|_| self.draft.seal(DISK)).transpose()?;
        self.draft.finish(&Manifest {
            kind: match mounted {
                None => Kind::Machine,
                Some(_) => Kind::Image,
            },
            cpus: subject.shape.cpus,
            memory_mib: subject.shape.memory_mib,
            image: mounted.map(|mounted| mounted.image.clone()),
            reference: mounted.map(|mounted| mounted.reference.clone()),
            made: Timestamp::now(),
            state: self.draft.seal(STATE)?,
            memory: self.draft.seal(MEMORY)?,
            disk,
        })?;
        Ok(())
    }
}
