//! Many clones of one template, all alive at once: who they are and what they cost.
//!
//! The engine is in this process and owns all of them. Each runs a shell that says who it is and then repeats what it is told, so that one
//! sees which of them are alive.

mod cost;
mod group;
mod member;

pub use cost::{Cost, Memory};
pub use group::{Group, Usage};
pub use member::Identity;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use hull_engine::{ContainerConfig, Engine, Paths, Programs, WaitFor};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use cost::own_time;
use member::Member;

/// Descriptors that a clone costs its owner, with room: its lock, its sockets, its files while it starts.
const DESCRIPTORS: u64 = 64;
/// How many are talked to at once: where guest kernels are emulated, guests that are all woken at once keep each other from answering.
const AT_ONCE: usize = 4;

/// What they are clones of.
#[derive(Debug, Clone)]
pub struct Breed {
    /// The image, which is in the store and has a shell.
    pub image: String,
    /// Their limit of memory in bytes.
    pub memory: Option<u64>,
}

/// The clones.
#[derive(Debug)]
pub struct Herd {
    engine: Arc<Engine>,
    members: Vec<Member>,
    /// From the first start until the last one had said who it is.
    pub took: Duration,
    /// What the starts cost.
    pub cost: Cost,
}

impl Breed {
    fn config(&self) -> ContainerConfig {
        ContainerConfig {
            image: self.image.clone(),
            command: member::program(),
            memory: self.memory,
            open_stdin: true,
            auto_remove: true,
            ..ContainerConfig::default()
        }
    }
}

impl Herd {
    /// Makes the template, unless there is one, and has so many clones of it start, as soon as the engine lets them. None ends before all are there.
    ///
    /// # Errors
    /// If one does not start, or does not say who it is.
    pub async fn start(
        paths: Paths,
        programs: Programs,
        breed: &Breed,
        count: usize,
    ) -> Result<Self> {
        make_room(count)?;
        let engine = Arc::new(Engine::with_programs(paths, programs)?);
        engine.build_templates(breed.config()).await?;
        let (begun, before) = (Instant::now(), own_time());
        let mut starting = JoinSet::new();
        for _ in 0..count {
            starting.spawn(Member::start(Arc::clone(&engine), breed.config()));
        }
        let mut members = Vec::with_capacity(count);
        while let Some(started) = starting.join_next().await {
            members.push(started??);
        }
        let took = begun.elapsed();
        let owner = own_time().saturating_sub(before);
        let running = engine.list()?;
        for member in &mut members {
            let listed = running.iter().find(|one| one.id == member.id);
            let vmm = listed.and_then(|one| one.state.vmm);
            let vmm = vmm.with_context(|| format!("{} does not run", member.id))?;
            member.vmm = vmm.pid.try_into()?;
        }
        let vmms: Vec<u32> = members.iter().map(|member| member.vmm).collect();
        Ok(Self {
            engine,
            members,
            took,
            cost: Cost::of(owner, &vmms)?,
        })
    }

    /// Who they are.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.members.iter().map(|member| &member.identity)
    }

    /// Finds out that none has anything that another one has.
    ///
    /// # Errors
    /// What some have in common.
    pub fn check_distinct(&self) -> Result<()> {
        let count = self.members.len();
        let distinct = |what: &str, of: fn(&Identity) -> &str| {
            let seen: BTreeSet<&str> = self.identities().map(of).collect();
            let seen = seen.len();
            ensure!(
                seen == count,
                "{count} clones have {seen} {what} between them"
            );
            Ok(())
        };
        distinct("random numbers", |identity| &identity.random)?;
        distinct("boot ids", |identity| &identity.boot)?;
        distinct("host names", |identity| &identity.hostname)?;
        for Member { id, identity, .. } in &self.members {
            let name = &identity.hostname;
            ensure!(id.short() == name, "{id} has the host name {name}");
        }
        Ok(())
    }

    /// Has each repeat something, for which its agent and its process must be alive.
    ///
    /// # Errors
    /// Which one is not.
    pub async fn ask(&mut self) -> Result<()> {
        let asked = stream::iter(&mut self.members).map(|member| async {
            let asked = member.ask().await;
            asked.with_context(|| format!("clone {} does not answer", member.id))
        });
        asked.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// What they have of the host's memory now.
    ///
    /// # Errors
    /// If a process of theirs is gone.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.members.iter().map(|member| member.vmm))
    }

    /// Lets all of them end, as programs do whose input ends, and waits until nothing of them is there.
    ///
    /// # Errors
    /// Which one ended otherwise, or what is left.
    pub async fn end(self) -> Result<()> {
        let engine = &self.engine;
        let ended = stream::iter(self.members).map(|member| async move {
            let Member { id, client, .. } = member;
            drop(client);
            let exit = engine.wait(&id, WaitFor::Removal).await?;
            let (code, why) = (exit.code, exit.error);
            ensure!(code == 0, "{id} ended with {code}: {why}");
            Ok(())
        });
        let () = ended.buffer_unordered(AT_ONCE).try_collect().await?;
        let left = engine.list()?.len();
        ensure!(left == 0, "{left} containers are left");
        Ok(())
    }
}

/// Gets as many descriptors for this process as the owner of so many machines may need, or as there may be.
fn make_room(count: usize) -> Result<()> {
    let wanted = 1024 + DESCRIPTORS * u64::try_from(count)?;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|there| there >= wanted) {
        return Ok(());
    }
    let to = |most: Option<u64>| Rlimit {
        current: most.map_or(Some(wanted), |most| Some(most.min(wanted))),
        maximum: most,
    };
    if setrlimit(
        Resource::Nofile,
        to(now.maximum.map(|most| most.max(wanted))),
    )
    .is_ok()
    {
        return Ok(());
    }
    // More than the hard limit takes a right that root need not have.
    println!(
        "{count} clones may need {wanted} descriptors, and there are {:?} (ulimit -Hn)",
        now.maximum
    );
    setrlimit(Resource::Nofile, to(now.maximum))
        .context("the limit of descriptors cannot be set (ulimit -n)")
}
