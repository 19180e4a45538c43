//! One clone.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use hull_engine::{Attachment, ContainerConfig, ContainerId, Engine, Origin, OutputStream};

/// What each runs. Of built-in commands only, since a guest needs its time for each other program.
const SCRIPT: &str = "\
read -r random < /proc/sys/kernel/random/uuid
read -r boot < /proc/sys/kernel/random/boot_id
read -r host < /proc/sys/kernel/hostname
echo $random $boot $host
while read -r line; do echo \"$line\"; done";

/// The command of a container that does it.
pub(super) fn program() -> Vec<String> {
    ["sh", "-c", SCRIPT].map(str::to_owned).to_vec()
}

/// Who a clone says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 122 bits of its kernel's generator of random numbers.
    pub random: String,
    /// The id of the boot, which is the clone's own.
    pub boot: String,
    pub hostname: String,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ContainerId,
    pub(super) identity: Identity,
    /// The process id of its microVM's keeper.
    pub(super) vmm: u32,
    pub(super) client: Attachment,
    /// What it has said beyond the last line.
    said: Vec<u8>,
}

impl Member {
    /// Makes and starts one, until it has said who it is.
    pub(super) async fn start(engine: Arc<Engine>, config: ContainerConfig) -> Result<Self> {
        let id = engine.create(config).await?.id;
        let client = engine.attach(&id)?;
        engine.start(&id, Origin::Nearest).await?;
        let nobody = Identity {
            random: String::new(),
            boot: String::new(),
            hostname: String::new(),
        };
        let mut member = Self {
            id,
            identity: nobody,
            vmm: 0,
            client,
            said: Vec::new(),
        };
        let line = member.line().await?;
        let fields: Vec<&str> = line.split(' ').collect();
        let [random, boot, hostname] = fields[..] else {
            bail!("{} says {line:?}", member.id);
        };
        let [random, boot, hostname] = [random, boot, hostname].map(str::to_owned);
        member.identity = Identity {
            random,
            boot,
            hostname,
        };
        Ok(member)
    }

    /// Has it repeat something.
    pub(super) async fn ask(&mut self) -> Result<()> {
        let question = format!("{}?", self.id.short());
        let sent = self.client.input.write(format!("{question}\n").into());
        ensure!(sent.await, "it reads no more");
        let answer = self.line().await?;
        ensure!(answer == question, "it says {answer:?}");
        Ok(())
    }

    /// What it says up to the end of a line.
    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=end).take(end).collect();
                return Ok(String::from_utf8(line)?);
            }
            let output = self.client.output.next().await;
            let output = output.with_context(|| format!("{} has ended", self.id))?;
            let text = String::from_utf8_lossy(&output.data);
            ensure!(
                output.stream == OutputStream::Stdout,
                "{} says on standard error: {text}",
                self.id
            );
            self.said.extend_from_slice(&output.data);
        }
    }
}
