//! Checkpoints: snapshots of a container that are its own. It can go on from each of them, and they go with it.

use std::sync::Arc;

use super::Container;
use super::saving::aside;
use crate::Error;
use crate::snapshot::{SnapshotError, Snapshots};

impl Container {
    /// All of them.
    #[must_use]
    pub fn checkpoints(&self) -> Snapshots {
        Snapshots::at(self.shelf.directory(&self.id).checkpoints())
    }

    /// Takes one of a container that runs; with `exit` it is ended afterwards.
    ///
    /// # Errors
    /// It does not run, there is one of this name, or it cannot be saved.
    pub async fn checkpoint(self: &Arc<Self>, name: &str, exit: bool) -> Result<(), Error> {
        if !self.life.borrow().is_running() {
            return Err(Error::NotRunning(self.id.to_string()));
        }
        let directory = self.shelf.directory(&self.id);
        std::fs::create_dir_all(directory.checkpoints())
            .map_err(Error::io("make", directory.checkpoints()))?;
        let saving = self.saving.lock().await;
        let checkpoints = self.checkpoints();
        let draft = checkpoints.begin(name)?;
        let (subject, _) = self.save(draft.path()).await?;
        let called = name.to_owned();
        aside(move || checkpoints.publish(&called, draft, subject)).await??;
        drop(saving);
        self.publish("checkpoint", []);
        if exit && self.life.borrow().is_running() {
            self.ends().note_stop(&directory);
            self.end_by_force().await;
        }
        Ok(())
    }

    /// The names of all, the youngest first.
    ///
    /// # Errors
    /// Their directory cannot be read.
    pub fn list_checkpoints(&self) -> Result<Vec<String>, Error> {
        let listed = self.checkpoints().list();
        let listed = listed.map_err(Error::io("read", self.path()))?;
        Ok(listed.into_iter().map(|one| one.name).collect())
    }

    /// Removes one.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be removed.
    pub fn remove_checkpoint(&self, name: &str) -> Result<(), SnapshotError> {
        self.checkpoints().remove(name)
    }
}
