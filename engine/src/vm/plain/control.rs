//! What can be done with plain microVMs from any process: by their files, and by the API of those that run.

use std::path::PathBuf;
use std::time::Duration;

use hull_vm_api::client::ClientError;
use hull_vm_api::config::ConsoleUpdate;
use hull_vm_api::{Client, Stage};
use rustix::process::Signal;

use super::log::{Follow, LogReader};
use super::owned::io_error;
use super::saved::Past;
use super::shelf::{Shelf, VmStatus};
use super::{
    ConsoleKind, Listed, Owned, ScreenSize, VmError, VmName, VmSnapshots, VmSpec, VmStats,
};
use crate::Paths;

/// How long a VMM may take to say what it does.
const ANSWER: Duration = Duration::from_secs(5);

/// The plain microVMs below one root. Methods block for milliseconds, unless they say otherwise.
#[derive(Clone, Debug)]
pub struct MicroVms {
    shelf: Shelf,
}

impl MicroVms {
    /// Opens the root directory, makes it where it is missing, and puts in order what dead owners left.
    ///
    /// # Errors
    /// What the host says.
    pub fn open(paths: Paths) -> Result<Self, VmError> {
        let shelf = Shelf::new(paths);
        shelf.recover()?;
        Ok(Self { shelf })
    }

    /// Those that are there, to look at: nothing is put in order.
    pub(crate) fn at(paths: Paths) -> Self {
        Self {
            shelf: Shelf::new(paths),
        }
    }

    /// Puts in order what was left since, such as by a start that was given up.
    ///
    /// # Errors
    /// What the host says.
    pub fn tidy(&self) -> Result<(), VmError> {
        self.shelf.recover()
    }

    /// Makes a microVM that this process owns. One that is removed at its end is gone if it is never started, too.
    ///
    /// # Errors
    /// If it cannot be as it was asked for, or the name is taken.
    pub fn make(
        &self,
        name: Option<VmName>,
        spec: VmSpec,
        auto_remove: bool,
    ) -> Result<Owned, VmError> {
        let spec = spec.checked()?;
        let (held, record) = self.shelf.make(name, |_| spec, auto_remove)?;
        Ok(Owned::new(self.shelf.clone(), held, record, None))
    }

    /// Becomes the owner of a microVM that does not run.
    ///
    /// # Errors
    /// If there is none of the name, or it runs.
    pub fn take(&self, name: &VmName) -> Result<Owned, VmError> {
        let record = self.shelf.get(name)?.record;
        match self.shelf.take(name)? {
            Some(held) => {
                let past = Past::read(held.directory())?;
                Ok(Owned::new(self.shelf.clone(), held, record, past))
            }
            None => Err(VmError::Running(name.clone())),
        }
    }

    /// All of them, by their names.
    ///
    /// # Errors
    /// What the host says.
    pub fn list(&self) -> Result<Vec<Listed>, VmError> {
        self.shelf.list()
    }

    /// One of them.
    ///
    /// # Errors
    /// If there is none of the name.
    pub fn get(&self, name: &VmName) -> Result<Listed, VmError> {
        self.shelf.get(name)
    }

    /// Whether it stands still, as its VMM says; false for one that does not run, or does not say.
    #[must_use]
    pub fn is_paused(&self, listed: &Listed) -> bool {
        let running = listed.state.status == VmStatus::Running;
        let asked = || {
            self.client(&listed.record.name)
                .with_time(ANSWER)
                .instance()
        };
        running && asked().is_ok_and(|info| info.state == Stage::Paused)
    }

    /// Removes a microVM; its disks stay. One that runs is ended first if `force` says so.
    ///
    /// # Errors
    /// If it runs, or there is none of the name.
    pub fn remove(&self, name: &VmName, force: bool) -> Result<(), VmError> {
        self.shelf.get(name)?;
        loop {
            if let Some(held) = self.shelf.take(name)? {
                return self.shelf.remove(held, name);
            }
            if !force {
                return Err(VmError::Running(name.clone()));
            }
            match self.kill(name) {
                // It removes itself at its end.
                Err(VmError::NotFound(_)) => return Ok(()),
                // It is just starting, or just ending.
                Err(VmError::NotRunning(_)) => self.wait_released(name)?,
                killed => killed?,
            }
            if self.shelf.get(name).is_err() {
                return Ok(());
            }
        }
    }

    /// Asks the guest to power off; does nothing to one that does not run. It goes on meanwhile if it was paused, for it could not hear.
    ///
    /// # Errors
    /// If there is none of the name, or its VMM does not answer.
    pub fn power_off(&self, name: &VmName) -> Result<(), VmError> {
        let listed = self.shelf.get(name)?;
        let Some(vmm) = listed.state.vmm else {
            return Ok(());
        };
        if self.is_paused(&listed) {
            self.resume(name)?;
        }
        vmm.signal(Signal::TERM);
        Ok(())
    }

    /// Ends the machine at once, and waits (blocking) until its end is written down.
    ///
    /// # Errors
    /// If there is none of the name, or it does not run.
    pub fn kill(&self, name: &VmName) -> Result<(), VmError> {
        let listed = self.shelf.get(name)?;
        let vmm = listed.state.vmm.ok_or(VmError::NotRunning(name.clone()))?;
        vmm.signal(Signal::KILL);
        self.wait_released(name)
    }

    /// Waits (blocking) until nobody owns it any more.
    ///
    /// # Errors
    /// What the host says.
    pub fn wait_released(&self, name: &VmName) -> Result<(), VmError> {
        let directory = self.shelf.directory(name);
        let released = directory.wait_released();
        released.map_err(io_error("wait for", directory.path()))
    }

    /// Lets its vCPUs stand still.
    ///
    /// # Errors
    /// If it does not run, is being saved, or its VMM refuses.
    pub fn pause(&self, name: &VmName) -> Result<(), VmError> {
        self.get(name)?;
        let _turn = self.shelf.turn(name)?;
        self.call(name, Client::pause)
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// If it does not run, is being saved, or its VMM refuses.
    pub fn resume(&self, name: &VmName) -> Result<(), VmError> {
        self.get(name)?;
        let _turn = self.shelf.turn(name)?;
        self.call(name, Client::resume)
    }

    /// Tells its guest how large the terminal is at which a person sits; of several who are attached the last one counts. A
    /// serial port has no size.
    ///
    /// # Errors
    /// If it does not run, or its VMM refuses.
    pub fn resize(&self, name: &VmName, size: ScreenSize) -> Result<(), VmError> {
        if self.shelf.get(name)?.record.spec.console != ConsoleKind::Virtio {
            return Ok(());
        }
        let ScreenSize { rows, columns } = size;
        self.call(name, |client| {
            client.patch_console(&ConsoleUpdate { rows, columns })
        })
    }

    /// What it takes of the host; `None` of one that does not run.
    ///
    /// # Errors
    /// What the host says.
    pub fn stats(&self, listed: &Listed) -> Result<Option<VmStats>, VmError> {
        match listed.state.vmm {
            Some(vmm) => VmStats::of(vmm).map_err(io_error("read", format!("/proc/{}", vmm.pid))),
            None => Ok(None),
        }
    }

    /// What its console printed since its last start.
    ///
    /// # Errors
    /// If there is none of the name.
    pub fn log(&self, name: &VmName) -> Result<LogReader, VmError> {
        self.shelf.get(name)?;
        let directory = self.shelf.directory(name);
        LogReader::open(directory.path()).map_err(io_error("read", directory.path()))
    }

    /// Something to wait for more of it with. Make it before reading.
    ///
    /// # Errors
    /// If there is none of the name.
    pub fn follow(&self, name: &VmName) -> Result<Follow, VmError> {
        self.shelf.get(name)?;
        let directory = self.shelf.directory(name);
        Follow::new(directory.path()).map_err(io_error("watch", directory.path()))
    }

    /// Where one attaches to its console: a Unix socket that carries bytes both ways.
    ///
    /// # Errors
    /// If it does not run, or has none.
    pub fn console(&self, name: &VmName) -> Result<PathBuf, VmError> {
        let listed = self.shelf.get(name)?;
        if listed.record.spec.console == ConsoleKind::None {
            return Err(VmError::NoConsole(name.clone()));
        }
        if listed.state.status != VmStatus::Running {
            return Err(VmError::NotRunning(name.clone()));
        }
        Ok(self.shelf.console_socket(name))
    }

    /// Where its API is while it runs.
    #[must_use]
    pub fn api_socket(&self, name: &VmName) -> PathBuf {
        self.shelf.api_socket(name)
    }

    /// Plain microVMs in files.
    #[must_use]
    pub fn snapshots(&self) -> VmSnapshots {
        VmSnapshots::at(self.shelf.paths().vm_snapshots())
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    pub(super) fn client(&self, name: &VmName) -> Client {
        Client::new(self.shelf.api_socket(name))
    }

    fn call(
        &self,
        name: &VmName,
        what: impl FnOnce(&Client) -> Result<(), ClientError>,
    ) -> Result<(), VmError> {
        if self.shelf.get(name)?.state.status != VmStatus::Running {
            return Err(VmError::NotRunning(name.clone()));
        }
        what(&self.client(name)).map_err(|source| match source {
            // It ended meanwhile.
            ClientError::Connect { .. } if !self.api_socket(name).exists() => {
                VmError::NotRunning(name.clone())
            }
            source => VmError::Api {
                name: name.clone(),
                source,
            },
        })
    }
}
