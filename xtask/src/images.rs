//! `cargo xtask images`: OCI images for tests, benchmarks and `make run`, made from Debian's packages.
//!
//! Each image is an OCI layout in the cache, named by the hash of what it is made from, with a link to it
//! at `target/images/NAME`. The recipes are in `resources/images`.

mod app;
mod busybox;
mod debian;
mod layer;
mod layout;
mod services;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::paths;

/// The time of everything in the images, in seconds since 1970: 1 January 2025.
const EPOCH: u64 = 1_735_689_600;
/// `EPOCH` as image configurations write it.
const CREATED: &str = "2025-01-01T00:00:00Z";
/// Counts changes of this code that change what it makes.
const RECIPE: &str = "hull images 2";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Make only these images: busybox, debian, debian-app, nginx, python, mariadb, redis, redis-trixie
    names: Vec<String>,

    /// Make also those that only tests need which are too slow for every change
    #[arg(long)]
    full: bool,
}

impl Args {
    /// Only the image of this name.
    pub(crate) fn only(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
            full: false,
        }
    }

    /// All images of tests; those of slow ones, too, if all tests are run.
    pub(crate) fn for_tests(full: bool) -> Self {
        Self {
            names: Vec::new(),
            full,
        }
    }
}

/// How an image is made.
struct Recipe {
    name: &'static str,
    /// Whether only slow tests need it.
    slow: bool,
    /// Everything that decides what comes out of the image of this name.
    inputs: fn(&str) -> Result<Vec<u8>>,
    /// Makes its OCI layout in an empty directory.
    make: fn(&str, &Path) -> Result<()>,
}

/// One of the services.
const fn service(name: &'static str) -> Recipe {
    Recipe {
        name,
        slow: true,
        inputs: services::inputs,
        make: services::make,
    }
}

const RECIPES: &[Recipe] = &[
    Recipe {
        name: "busybox",
        slow: false,
        inputs: |_| busybox::inputs(),
        make: |_, dir| busybox::make(dir),
    },
    Recipe {
        name: "debian",
        slow: false,
        inputs: |_| debian::inputs(),
        make: |_, dir| debian::make(dir),
    },
    Recipe {
        name: "debian-app",
        slow: false,
        inputs: |_| app::inputs(),
        make: |_, dir| app::make(dir),
    },
    service("nginx"),
    service("python"),
    service("mariadb"),
    service("redis"),
    service("redis-trixie"),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    if let Some(unknown) = args.names.iter().find(|n| !names.contains(&n.as_str())) {
        bail!(
            "there is no image {unknown:?}; there are {}",
            names.join(", ")
        );
    }
    let is_wanted = |recipe: &&Recipe| match args.names.as_slice() {
        [] => args.full || !recipe.slow,
        wanted => wanted.iter().any(|wanted| wanted == recipe.name),
    };
    for Recipe { name, .. } in RECIPES.iter().filter(is_wanted) {
        let cached = cached(name)?;
        link(&cached, &paths::target().join("images").join(name))?;
    }
    Ok(())
}

/// The OCI layout of image `name` in the cache, made if it is not there.
fn cached(name: &str) -> Result<PathBuf> {
    let recipe = RECIPES
        .iter()
        .find(|recipe| recipe.name == name)
        .with_context(|| format!("there is no recipe for {name}"))?;
    let mut hash = Sha256::new();
    hash.update(RECIPE);
    hash.update(EPOCH.to_le_bytes());
    hash.update((recipe.inputs)(name)?);
    let key = hex::encode(hash.finalize());
    let images = paths::cache()?.join("images");
    let layout = images.join(format!("{name}-{}", key.get(..16).unwrap_or(&key)));
    if layout.join("index.json").is_file() {
        return Ok(layout);
    }

    fs::create_dir_all(&images)
        .with_context(|| format!("cannot create the cache {}", images.display()))?;
    let scratch = tempfile::Builder::new()
        .prefix(".making-")
        .tempdir_in(&images)?;
    (recipe.make)(name, scratch.path()).with_context(|| format!("cannot make the image {name}"))?;
    // Somebody else may have been faster: theirs is as good as ours.
    if let Err(error) = fs::rename(scratch.path(), &layout)
        && !layout.join("index.json").is_file()
    {
        return Err(error).with_context(|| format!("cannot create {}", layout.display()));
    }
    println!("Made the image {name}: {}", layout.display());
    Ok(layout)
}

/// Puts a symbolic link to `target` at `link`, in place of what is there.
fn link(target: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|old| old == target) {
        return Ok(());
    }
    let dir = link.parent().context("the link has no directory")?;
    fs::create_dir_all(dir)?;
    if link.is_dir() && !link.is_symlink() {
        fs::remove_dir_all(link)?;
    }
    let scratch = tempfile::tempdir_in(dir)?;
    let fresh = scratch.path().join("link");
    symlink(target, &fresh)?;
    fs::rename(&fresh, link).with_context(|| format!("cannot link {}", link.display()))
}

/// Reads a file of `resources/images`.
fn resource(name: &str) -> Result<Vec<u8>> {
    let path = paths::root().join("resources/images").join(name);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
