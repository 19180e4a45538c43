//! The end of a container and of what it had.

use std::io;
use std::sync::Arc;

use super::Container;
use super::owner::Hold;
use crate::Error;
use crate::container::Removal;
use crate::owner::wire::Ask;
use crate::supervisor::link;

/// How to remove a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remove {
    /// It may run.
    pub force: bool,
    /// Its volumes without a name go with it.
    pub volumes: bool,
}

impl Container {
    /// Removes it, with its log and its disk.
    ///
    /// # Errors
    /// It runs and force is not asked for, or a file cannot be removed.
    pub async fn remove(self: &Arc<Self>, how: Remove) -> Result<(), Error> {
        if how.force {
            self.ends().note_stop(&self.shelf.directory(&self.id));
            self.interrupt().await;
        }
        self.call_off_restart();
        // Nobody starts it from here on: whoever did so now would be waited for to its end.
        let _turn = self.take_turn().await;
        if self.life.borrow().removed {
            return Ok(());
        }
        if self.life.borrow().is_running() {
            if !how.force {
                return Err(Error::Running(self.name()));
            }
            self.end_by_force().await;
        }
        if *self.hold.borrow() == Hold::Owner {
            // Somebody is attached to it and nobody started it.
            let _ = link::ask(&self.runtime(), &Ask::Leave).await;
        }
        self.at_rest().await;
        let with_volumes = how.volumes || self.config().auto_remove;
        let container = Arc::clone(self);
        let removed = tokio::task::spawn_blocking(move || {
            // Noted before it is gone, so that whoever finds it gone finds them, too.
            let doomed = match with_volumes {
                true => container.doom_volumes()?,
                false => Vec::new(),
            };
            let removed = container.shelf.remove_unowned(&container.id);
            let removed = removed.map_err(Error::io("remove", container.path()))?;
            Ok::<_, Error>((removed, doomed))
        });
        let removed = removed
            .await
            .unwrap_or_else(|error| Err(Error::io("remove", self.path())(io::Error::other(error))));
        let (removed, doomed) = removed?;
        let supervisor = self.supervisor.upgrade();
        if removed == Removal::Owned {
            if let Some(supervisor) = supervisor {
                supervisor.spare(&doomed);
            }
            return Err(Error::Running(self.name()));
        }
        self.publish("destroy", []);
        if let Some(supervisor) = supervisor {
            supervisor.forget(&self.id);
            supervisor.remove_doomed(doomed).await;
        }
        self.life.send_modify(|life| life.removed = true);
        Ok(())
    }
}
