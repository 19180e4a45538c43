//! What a container's owner is asked to do.

use std::time::Duration;

use super::Container;
use crate::Error;
use crate::control;
use crate::errand::What;
use crate::owner::wire::{Answer, Ask};
use crate::supervisor::link;

impl Container {
    /// Lets its vCPUs stand still.
    ///
    /// # Errors
    /// It does not run, or stands still already.
    pub async fn pause(&self) -> Result<(), Error> {
        self.errand(What::Pause, "paused").await?;
        self.publish("pause", []);
        Ok(())
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// It does not stand still.
    pub async fn unpause(&self) -> Result<(), Error> {
        self.errand(What::Unpause, "unpaused").await?;
        self.publish("unpause", []);
        Ok(())
    }

    /// Has its owner do something; how long it stood still for that.
    pub(super) async fn errand(&self, what: What, verb: &'static str) -> Result<Duration, Error> {
        let stood_still = self.ask_errand(what, verb).await?;
        self.refresh();
        Ok(stood_still)
    }

    pub(super) async fn ask_errand(
        &self,
        what: What,
        verb: &'static str,
    ) -> Result<Duration, Error> {
        self.check_running()?;
        let asked = control::ask(&self.runtime(), control::Ask::Errand(what)).await;
        asked.map_err(|error| Error::Refused {
            container: self.id.short().to_owned(),
            what: verb,
            why: error.to_string(),
        })
    }

    pub(super) async fn ask(&self, ask: &Ask) -> Result<link::Answered, Error> {
        let asked = link::ask(&self.runtime(), ask).await;
        let answered = asked.map_err(|error| self.owner_error(error.to_string()))?;
        match &answered.answer {
            Answer::Failed(failed) => Err(self.owner_error(failed.message.clone())),
            _ => Ok(answered),
        }
    }

    pub(in crate::supervisor) fn owner_error(&self, why: String) -> Error {
        Error::Owner {
            container: self.id.short().to_owned(),
            why,
        }
    }
}
