//! A container that runs, in files: snapshots, forks, and being suspended.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use super::{Container, Remove, Start, Started};
use crate::Error;
use crate::container::{Status, check_name};
use crate::engine::Changes;
use crate::errand::What;
use crate::snapshot::{Draft, Manifest, SnapshotError, SnapshotRef, Subject, Taken};
use crate::suspended;

/// How to fork a container.
#[derive(Clone, Debug)]
pub struct Fork {
    /// How many children there are to be.
    pub count: NonZeroU32,
    /// The name of a single child; several have a number behind it.
    pub name: Option<String>,
    /// Whether they are removed at their ends.
    pub auto_remove: bool,
}

/// What came of a fork.
#[derive(Debug)]
pub struct Forked {
    /// The children that run, in order.
    pub children: Vec<Arc<Container>>,
    /// Why others do not.
    pub failures: Vec<Error>,
    /// How long the parent's processes stood still.
    pub stood_still: Duration,
}

impl Fork {
    fn name(&self, number: u32) -> Option<String> {
        let name = self.name.as_ref()?;
        Some(match self.count.get() {
            1 => name.clone(),
            _ => format!("{name}-{number}"),
        })
    }
}

impl Container {
    /// Writes it into a directory, while it runs; it goes on as soon as there is a copy of it.
    pub(super) async fn save(&self, to: &Path) -> Result<(Subject, Duration), Error> {
        // Now: one that is removed at its end may have ended by the time that it is saved.
        let subject = suspended::subject(&self.shelf.directory(&self.id));
        let what = What::Save(to.to_owned());
        let stood_still = self.errand(what, "saved").await?;
        Ok((subject?, stood_still))
    }

    /// Takes a snapshot of it, which has a name. It goes on.
    ///
    /// # Errors
    /// It does not run, there is a snapshot of this name, or it cannot be saved.
    pub async fn snapshot(&self, name: &str) -> Result<Taken, Error> {
        let supervisor = self.supervisor.upgrade().ok_or(Error::Interrupted)?;
        let _saving = self.saving.lock().await;
        self.check_running()?;
        let snapshots = supervisor.snapshots();
        let draft = snapshots.begin(name)?;
        let (subject, stood_still) = self.save(draft.path()).await?;
        let called = name.to_owned();
        aside(move || snapshots.publish(&called, draft, subject)).await??;
        self.publish("snapshot", [("snapshot", name.to_owned())]);
        Ok(Taken { stood_still })
    }

    /// Makes more of it: with its memory, processes and disk as they are at this moment, and with its configuration, volumes and networks.
    /// They run in the background. It goes on.
    ///
    /// # Errors
    /// It does not run, the name cannot be one, it cannot be saved, or there is not one child.
    pub async fn fork(&self, how: Fork) -> Result<Forked, Error> {
        if let Some(name) = how.name(how.count.get()) {
            check_name(&name)?;
        }
        let (draft, manifest, stood_still) = self.save_for_fork().await?;
        self.publish("fork", [("children", how.count.to_string())]);
        let which = draft.reference();
        // Machines take turns where they must; there is no use in more processes that wait for one.
        let at_once = thread::available_parallelism().map_or(4, |count| 2 * count.get());
        let mut unborn = Vec::new();
        for number in 1..=how.count.get() {
            let changes = Changes {
                name: how.name(number),
                auto_remove: how.auto_remove,
                ..Changes::default()
            };
            unborn.push(self.bear(manifest.clone(), which.clone(), changes));
        }
        let mut born = stream::iter(unborn).buffered(at_once);
        let (mut children, mut failures) = (Vec::new(), Vec::new());
        while let Some(child) = born.next().await {
            match child {
                Ok(child) => children.push(child),
                Err(error) => failures.push(error),
            }
        }
        // The children have its files open.
        aside(move || drop(draft)).await?;
        if children.is_empty()
            && let Some(error) = failures.pop()
        {
            return Err(error);
        }
        Ok(Forked {
            children,
            failures,
            stood_still,
        })
    }

    /// A snapshot of it without a name.
    async fn save_for_fork(&self) -> Result<(Draft, Manifest, Duration), Error> {
        let supervisor = self.supervisor.upgrade().ok_or(Error::Interrupted)?;
        let _saving = self.saving.lock().await;
        self.check_running()?;
        let snapshots = supervisor.snapshots();
        let failed = |source| SnapshotError::Io {
            name: format!("for the fork of {}", self.name()),
            what: "made",
            source,
        };
        let draft = snapshots.begin_fork().map_err(failed)?;
        let (subject, stood_still) = self.save(draft.path()).await?;
        draft.complete(subject).map_err(failed)?;
        let (manifest, _) = snapshots.follow(&draft.reference())?;
        Ok((draft, manifest, stood_still))
    }

    /// One child, which runs; nothing of it is left if it does not.
    async fn bear(
        &self,
        manifest: Manifest,
        which: SnapshotRef,
        changes: Changes,
    ) -> Result<Arc<Self>, Error> {
        let supervisor = self.supervisor.upgrade().ok_or(Error::Interrupted)?;
        let told = ("parent", self.id.to_string());
        let child = supervisor.make_from(manifest, which, told, changes);
        let child = child.await?;
        match child.start().await {
            Ok(_) => Ok(child),
            Err(error) => {
                let how = Remove {
                    force: true,
                    volumes: false,
                };
                if let Err(error) = child.remove(how).await {
                    tracing::warn!(container = %child.id, %error, "a child that does not run is left");
                }
                Err(error)
            }
        }
    }

    /// Writes it to files, with its memory and processes, and ends its machine. Whoever starts it goes on with it.
    ///
    /// # Errors
    /// It does not run, or cannot be saved.
    pub async fn suspend(&self) -> Result<(), Error> {
        let _saving = self.saving.lock().await;
        self.check_running()?;
        let mut life = self.life.subscribe();
        let (suspends, exits) = {
            let now = life.borrow_and_update();
            (now.suspends, now.exits)
        };
        self.ask_errand(What::Suspend, "suspended").await?;
        // Its owner says so before it has written it down.
        let put_away = life.wait_for(|life| life.removed || life.exits > exits);
        let life = put_away.await.map_err(|_| Error::Interrupted)?;
        match life.suspends > suspends {
            true => Ok(()),
            // Somebody ended it at the last moment.
            false => Err(Error::NotRunning(self.id.to_string())),
        }
    }

    /// Goes on with it when it is suspended.
    ///
    /// # Errors
    /// It is not, or its machine does not come up; then it is still suspended, if nothing of it ran.
    pub async fn resume(self: &Arc<Self>) -> Result<Started, Error> {
        let _turn = self.take_turn().await;
        if self.life.borrow().removed {
            return Err(Error::NotFound(self.id.to_string()));
        }
        if self.state().status != Status::Suspended {
            return Err(Error::NotSuspended(self.name()));
        }
        self.ends().order_by_hand();
        self.begin(&Start::default()).await
    }

    /// Which snapshot it goes on from when it is started; nothing once it has come up.
    pub(in crate::supervisor) fn awaits(&self) -> Option<SnapshotRef> {
        let from = self.record().from.clone()?;
        (!self.shelf.directory(&self.id).disk().exists()).then_some(from)
    }

    pub(super) fn check_running(&self) -> Result<(), Error> {
        match self.life.borrow().is_running() {
            true => Ok(()),
            false => Err(Error::NotRunning(self.id.to_string())),
        }
    }
}

/// Does what waits for the host's disk on a thread where that is allowed.
pub(super) async fn aside<T: Send + 'static>(
    what: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(what).await;
    done.map_err(|_| Error::Interrupted)
}
