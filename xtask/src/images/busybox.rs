//! The image `busybox`: the host's static busybox under the name of each of its applets, as Docker's official image has it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::layer::Layer;
use super::layout::Layout;
use super::resource;
use crate::process;

const PROGRAM: &str = "/bin/busybox";
/// Files of `/etc`: name and mode.
const ETC: &[(&str, u32)] = &[("group", 0o644), ("passwd", 0o644), ("shadow", 0o600)];
/// Directories in order: path, mode, owner.
const DIRS: &[(&str, u32, u64)] = &[
    ("bin", 0o755, 0),
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("home", 0o755, 0),
    ("home/user", 0o755, 1000),
    ("root", 0o700, 0),
    ("tmp", 0o1777, 0),
    ("usr", 0o755, 0),
    ("usr/bin", 0o755, 0),
    ("var", 0o755, 0),
    ("var/tmp", 0o1777, 0),
];

pub(super) fn inputs() -> Result<Vec<u8>> {
    let mut inputs = program()?;
    for (name, _) in ETC {
        inputs.extend(resource(&format!("busybox/{name}"))?);
    }
    Ok(inputs)
}

pub(super) fn make(dir: &Path) -> Result<()> {
    println!("Making the image busybox");
    let applets = process::output(Command::new(PROGRAM).arg("--list"))?;
    let mut layout = Layout::create(dir)?;
    layout.layer("busybox-static of Debian", |writer| {
        let mut layer = Layer::new(writer);
        for (path, mode, owner) in DIRS {
            layer.dir(path, *mode, *owner)?;
        }
        layer.file("bin/busybox", 0o755, &program()?)?;
        for applet in applets.lines().filter(|name| *name != "busybox") {
            layer.hard_link(&format!("bin/{applet}"), "bin/busybox")?;
        }
        // Scripts begin with it.
        layer.symlink("usr/bin/env", "../../bin/env")?;
        for (name, mode) in ETC {
            let content = resource(&format!("busybox/{name}"))?;
            layer.file(&format!("etc/{name}"), *mode, &content)?;
        }
        layer.finish()?;
        Ok(())
    })?;
    layout.finish(
        "busybox",
        &json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh"],
        }),
    )
}

fn program() -> Result<Vec<u8>> {
    fs::read(PROGRAM).with_context(|| {
        format!("cannot read {PROGRAM}: install the package busybox-static, which has it")
    })
}
