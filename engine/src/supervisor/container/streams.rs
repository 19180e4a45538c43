//! What a container says, and the terminal that it says it on.

use std::sync::{Arc, PoisonError};

use super::Container;
use super::owner::Hold;
use crate::Error;
use crate::container::Status;
use crate::log::{self, Logs, LogsWanted};
use crate::owner::Attach;
use crate::owner::wire::Ask;
use crate::supervisor::life::Life;
use crate::supervisor::streams::Streams;

impl Container {
    /// Connects to its streams, before its start, too.
    ///
    /// # Errors
    /// It has ended, or its owner cannot be started.
    pub async fn attach(self: &Arc<Self>, what: Attach) -> Result<Streams, Error> {
        let exits = {
            let _turn = self.take_turn().await;
            // What comes is the end of this life of it.
            let exits = self.life.borrow().exits;
            self.have_owner().await?;
            exits
        };
        let ask = Ask::Attach { exec: None, what };
        let answered = self.ask(&ask).await?;
        self.publish("attach", []);
        let mut life = self.life.subscribe();
        let gate = async move {
            let over = |life: &Life| life.removed || life.exits > exits || !life.is_running();
            let _ = life.wait_for(over).await;
        };
        Ok(Streams::new(answered, Box::pin(gate)))
    }

    /// What it has written, and what it will.
    ///
    /// # Errors
    /// It keeps no log.
    pub fn logs(&self, wanted: LogsWanted) -> Result<Logs, Error> {
        if self.config().log.driver == crate::LogDriver::None {
            return Err(Error::NoLog);
        }
        let mut life = self.life.subscribe();
        let ended = async move {
            let over = |life: &Life| life.removed || !(life.is_running() || life.restarting);
            let _ = life.wait_for(over).await;
        };
        Ok(log::read(self.log_path(), wanted, ended))
    }

    /// Tells its terminal its size; one that was not started yet will have it then.
    ///
    /// # Errors
    /// It has ended.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = Some((rows, columns));
        if *self.hold.borrow() == Hold::Nobody {
            return match self.state().status {
                Status::Created => Ok(()),
                _ => Err(Error::NotRunning(self.id.to_string())),
            };
        }
        self.ask_resize(None, rows, columns).await?;
        let size = [("height", rows.to_string()), ("width", columns.to_string())];
        self.publish("resize", size);
        Ok(())
    }

    pub(in crate::supervisor) async fn ask_resize(
        &self,
        exec: Option<String>,
        rows: u16,
        columns: u16,
    ) -> Result<(), Error> {
        let ask = Ask::Resize {
            exec,
            rows,
            columns,
        };
        self.ask(&ask).await.map(drop)
    }
}
