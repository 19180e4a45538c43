//! The image `debian`: a Debian 12 with interpreters, made by mmdebstrap, which makes others, too.

use std::env;
use std::io::{self, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::layout::Layout;
use super::{EPOCH, resource};

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
/// The search path that Debian's own image sets.
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn inputs() -> Result<Vec<u8>> {
    Ok(format!("{SUITE} {}", packages()?.join(",")).into_bytes())
}

pub(super) fn make(dir: &Path) -> Result<()> {
    let system = System {
        name: "debian",
        suite: SUITE,
        variant: "minbase",
        packages: packages()?,
        options: Vec::new(),
    };
    system.make(dir, &json!({ "Env": [PATH], "Cmd": ["bash"] }))
}

/// A Debian in an image.
#[derive(Debug)]
pub(super) struct System {
    /// The image's name.
    pub(super) name: &'static str,
    pub(super) suite: &'static str,
    /// mmdebstrap's.
    pub(super) variant: &'static str,
    /// What it has beside that.
    pub(super) packages: Vec<String>,
    /// More of mmdebstrap's options.
    pub(super) options: Vec<String>,
}

impl System {
    /// Makes the image, which containers run with `config`.
    pub(super) fn make(&self, dir: &Path, config: &Value) -> Result<()> {
        let Self {
            name,
            suite,
            variant,
            packages,
            options,
        } = self;
        println!("Making the image {name} (once; one to five minutes)");
        let mirror = env::var("HULL_DEBIAN_MIRROR").unwrap_or_else(|_| MIRROR.to_owned());
        let mut command = Command::new("mmdebstrap");
        command
            .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
            .args([&format!("--variant={variant}"), "--format=tar"])
            .arg(format!("--include={}", packages.join(",")))
            .args(options)
            .args([*suite, "-", &format!("deb {mirror} {suite} main")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .context("cannot start mmdebstrap: install the package mmdebstrap, which has it")?;
        let tar = child.stdout.take().context("mmdebstrap has no output")?;

        let mut layout = Layout::create(dir)?;
        let layer = layout.layer(
            &format!("mmdebstrap --variant={variant} {suite}"),
            |writer| {
                io::copy(&mut BufReader::with_capacity(1 << 20, tar), writer)?;
                Ok(())
            },
        );
        let status = child.wait()?;
        if !status.success() {
            bail!("mmdebstrap failed ({status}); does the mirror {mirror} answer?");
        }
        layer?;
        layout.finish(name, config)
    }
}

/// The packages of the recipe, without its comments.
fn packages() -> Result<Vec<String>> {
    let text = String::from_utf8(resource("debian.packages")?)?;
    let names = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    Ok(names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}
