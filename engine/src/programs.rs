//! Where the other parts of Hull are: the VMM, the guest's kernel, its initramfs.

use std::env;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A part of Hull that is not where it should be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MissingProgram {
    /// The VMM.
    #[error(
        "hull-vmm was not found (looked for {looked}): install it beside hull, or set HULL_VMM"
    )]
    Vmm {
        /// Where it was looked for.
        looked: String,
    },
    /// The guest's files.
    #[error(
        "the guest's {file} was not found (looked for {looked}): build it with `make kernel`, or set HULL_GUEST_DIR"
    )]
    Guest {
        /// Which file.
        file: &'static str,
        /// Where it was looked for.
        looked: String,
    },
}

/// The files that every microVM needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `hull-vmm`.
    pub vmm: PathBuf,
    /// The guest's kernel.
    pub kernel: PathBuf,
    /// The guest's initramfs with the agent in it.
    pub initramfs: PathBuf,
}

impl Programs {
    /// Finds them by `HULL_VMM` and `HULL_GUEST_DIR`, else around the running executable.
    pub fn find() -> Result<Self, MissingProgram> {
        let own = env::current_exe().unwrap_or_default();
        let dir = own.parent().unwrap_or(Path::new("/"));
        let var = |name: &str| env::var_os(name).map(PathBuf::from);
        Ok(Self {
            vmm: vmm(var("HULL_VMM"), dir)?,
            kernel: guest(var("HULL_GUEST_DIR"), dir, "vmlinux")?,
            initramfs: guest(var("HULL_GUEST_DIR"), dir, "initramfs.cpio")?,
        })
    }
}

/// Finds `hull-vmm` alone, for what needs no guest.
pub fn find_vmm() -> Result<PathBuf, MissingProgram> {
    let own = env::current_exe().unwrap_or_default();
    vmm(
        env::var_os("HULL_VMM").map(PathBuf::from),
        own.parent().unwrap_or(Path::new("/")),
    )
}

/// Finds one of the guest's files alone.
pub(crate) fn find_guest(file: &'static str) -> Result<PathBuf, MissingProgram> {
    let own = env::current_exe().unwrap_or_default();
    let chosen = env::var_os("HULL_GUEST_DIR").map(PathBuf::from);
    guest(chosen, own.parent().unwrap_or(Path::new("/")), file)
}

fn vmm(chosen: Option<PathBuf>, dir: &Path) -> Result<PathBuf, MissingProgram> {
    let candidates = match chosen {
        Some(path) => vec![path],
        None => vec![dir.join("hull-vmm"), dir.join("../libexec/hull/hull-vmm")],
    };
    first(candidates).map_err(|looked| MissingProgram::Vmm { looked })
}

fn guest(
    chosen: Option<PathBuf>,
    dir: &Path,
    file: &'static str,
) -> Result<PathBuf, MissingProgram> {
    let dirs = match chosen {
        Some(dir) => vec![dir],
        None => vec![dir.join("../lib/hull"), dir.join("../guest")],
    };
    let candidates = dirs.into_iter().map(|dir| dir.join(file)).collect();
    first(candidates).map_err(|looked| MissingProgram::Guest { file, looked })
}

fn first(candidates: Vec<PathBuf>) -> Result<PathBuf, String> {
    let names: Vec<String> = candidates
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_environment_s_choice_is_the_only_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("hull-vmm");
        fs::write(&file, "").unwrap();
        assert_eq!(vmm(None, dir.path()), Ok(file.clone()));
        let elsewhere = dir.path().join("elsewhere");
        let error = vmm(Some(elsewhere.clone()), dir.path()).unwrap_err();
        assert!(
            error.to_string().contains(&elsewhere.display().to_string()),
            "{error}"
        );
        assert_eq!(vmm(Some(file.clone()), Path::new("/nowhere")), Ok(file));
    }

    #[test]
    fn a_missing_kernel_is_named_with_the_places() {
        let error = guest(Some("/nowhere".into()), Path::new("/"), "vmlinux").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("vmlinux") && text.contains("/nowhere"),
            "{text}"
        );
    }
}
