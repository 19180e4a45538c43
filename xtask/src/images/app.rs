//! The image `debian-app`: `debian` and one small layer, as an application's image has it. The layer also has
//! one of each thing that only exists between layers, and of those that only root can make.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::layer::Layer;
use super::layout::Layout;
use super::{cached, debian};

const PROGRAM: &str =
    "#!/usr/bin/python3\nimport platform\nprint('Hello from', platform.platform())\n";

pub(super) fn inputs() -> Result<Vec<u8>> {
    let mut inputs = debian::inputs()?;
    inputs.extend(b"app 2");
    inputs.extend(PROGRAM.as_bytes());
    Ok(inputs)
}

pub(super) fn make(dir: &Path) -> Result<()> {
    let base = cached("debian")?;
    println!("Making the image debian-app");
    let mut layout = Layout::create(dir)?;
    layout.layers_of(&base)?;
    layout.layer("the application", |writer| {
        let mut layer = Layer::new(writer);
        layer.file("usr/local/bin/app", 0o755, PROGRAM.as_bytes())?;
        // A file that is gone, and a directory whose content is replaced.
        layer.file("etc/.wh.issue", 0o644, &[])?;
        layer.dir("usr/share/common-licenses", 0o755, 0)?;
        layer.file("usr/share/common-licenses/.wh..wh..opq", 0o644, &[])?;
        layer.file(
            "usr/share/common-licenses/APP",
            0o644,
            b"Do as you please.\n",
        )?;
        // A second name for a file of the layer below.
        layer.hard_link("usr/local/bin/python", "usr/bin/python3.11")?;
        layer.symlink("srv/app", "/usr/local/bin/app")?;
        // What only root can make: a capability (to bind low ports), and a device node.
        layer.capable_file("srv/capable", b"#!/bin/true\n", 1 << 10)?;
        layer.character_device("srv/null", (1, 3))?;
        layer.finish()?;
        Ok(())
    })?;
    layout.finish(
        "debian-app",
        &json!({ "Env": [debian::PATH, "APP=1"], "Cmd": ["app"], "WorkingDir": "/srv" }),
    )
}
