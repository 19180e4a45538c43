//! Loading an image: `hull image load` beside `umoci unpack`, which makes a directory of the same layers.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::contestants::Hull;
use crate::report::Report;

pub(crate) fn measure(hull: &Hull, rounds: usize, report: &mut Report) -> Result<()> {
    let layout = hull.images.join("debian");
    let megabytes = size(&layout.join("blobs"))? / 1e6;
    let umoci = Command::new("umoci").arg("--version").output().is_ok();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let home = tempfile::Builder::new().prefix("hull-bench-").tempdir()?;
        let mut load = Command::new(&hull.hull);
        load.args(["image", "load", "--quiet", "-i"]).arg(&layout);
        load.env("HULL_ROOT", home.path().join("root"))
            .env("HULL_RUN", home.path().join("run"));
        ours.push(megabytes / seconds(&mut load)?);
        if umoci {
            let mut unpack = Command::new("umoci");
            unpack
                .arg("unpack")
                .arg("--image")
                .arg(&layout)
                .arg(home.path().join("bundle"));
            theirs.push(megabytes / seconds(&mut unpack)?);
        }
    }
    report.add("image load, compressed", "hull", "MB/s", ours);
    report.add("image load, compressed", "umoci unpack", "MB/s", theirs);
    Ok(())
}

fn seconds(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(start.elapsed().as_secs_f64())
}

/// The bytes of all files below a directory.
#[allow(clippy::cast_precision_loss)]
fn size(path: &Path) -> Result<f64> {
    let mut total = 0.0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = fs::metadata(entry.path())?;
        total += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len() as f64
        };
    }
    Ok(total)
}
