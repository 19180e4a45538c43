//! All that decides what the built kernel looks like, and the hash of it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::fragment;
use crate::{paths, process};

/// Where Debian's package linux-source-6.12 puts the sources.
const DEBIAN_SOURCE: &str = "/usr/src/linux-source-6.12.tar.xz";

/// Changes with the steps of the build, so that a new recipe does not find the results of an old one.
const RECIPE: &str = "1";

/// Programs that the build calls, and the Debian package that each comes with.
const PROGRAMS: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("strip", "binutils"),
    ("make", "make"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("patch", "patch"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
];

/// Headers that the kernel's own build tools (objtool) are compiled with.
const HEADERS: &[(&str, &str)] = &[("gelf.h", "libelf-dev"), ("stdlib.h", "libc6-dev")];

#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) source: PathBuf,
    pub(super) fragment: PathBuf,
    pub(super) patches: Vec<PathBuf>,
}

impl Inputs {
    /// Finds the sources, the fragment and the patches, which apply in the order of their names.
    pub(super) fn collect(source: Option<&Path>) -> Result<Self> {
        let source = match source {
            Some(path) if path.is_file() => path.to_owned(),
            Some(path) => bail!("there is no tarball {}", path.display()),
            None if Path::new(DEBIAN_SOURCE).is_file() => DEBIAN_SOURCE.into(),
            None => bail!(
                "{DEBIAN_SOURCE} is not there: `apt install linux-source-6.12` (on Debian 12 it is in \
                 bookworm-backports or bookworm-security), or name a tarball of Linux 6.12 with --source"
            ),
        };
        let resources = paths::root().join("resources/kernel");
        let mut patches = Vec::new();
        for entry in fs::read_dir(resources.join("patches")).context("cannot list the patches")? {
            let path = entry?.path();
            if path.extension().is_some_and(|name| name == "patch") {
                patches.push(path);
            }
        }
        patches.sort();
        Ok(Self {
            source,
            fragment: resources.join("hull.config"),
            patches,
        })
    }

    /// The name of a build of these inputs by this machine's compiler and linker.
    ///
    /// # Errors
    /// When a program that the build needs is not installed, or an input cannot be read.
    pub(super) fn key(&self) -> Result<String> {
        missing_packages()?;
        let mut hash = Sha256::new();
        hash.update(RECIPE);
        for program in ["gcc", "ld"] {
            let version = process::output(Command::new(program).arg("--version"))?;
            hash.update(version.lines().next().unwrap_or_default());
        }
        hash.update(digest(&self.source)?);
        // Only what the build acts on: a better comment must not cost everybody a build.
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        for (name, value) in fragment::settings(&read(&self.fragment)?) {
            hash.update(format!("{name}={value}\n"));
        }
        for path in &self.patches {
            hash.update(changes(&read(path)?));
        }
        let mut name = hex::encode(hash.finalize());
        name.truncate(32);
        Ok(name)
    }
}

/// A patch without the text in front of its first change.
fn changes(patch: &str) -> &str {
    patch
        .find("\n--- ")
        .and_then(|at| patch.get(at..))
        .unwrap_or(patch)
}

fn digest(path: &Path) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    let read = |path: &Path| format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(|| read(path))?;
    loop {
        let count = file.read(&mut piece).with_context(|| read(path))?;
        let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(hash.finalize().into());
        };
        hash.update(bytes);
    }
}

/// Fails with the one command that installs everything that is missing.
fn missing_packages() -> Result<()> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let program = |name: &str| std::env::split_paths(&search).any(|dir| dir.join(name).is_file());
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(name, _)| !program(name))
        .chain(HEADERS.iter().filter(|(name, _)| {
            ![
                "/usr/include",
                "/usr/include/x86_64-linux-gnu",
                "/usr/local/include",
            ]
            .iter()
            .any(|dir| Path::new(dir).join(name).is_file())
        }))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        bail!(
            "the guest kernel cannot be built without these packages: `apt install {}`",
            packages.join(" ")
        );
    }
    Ok(())
}
