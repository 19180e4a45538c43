//! The files without which nothing starts: the VMM, the guest's kernel and initramfs, and mke2fs.

use std::path::{Path, PathBuf};

use super::{Check, guest};
use crate::programs::{self, MissingProgram};

pub(super) fn checks() -> Vec<Check> {
    vec![
        part("hull-vmm", programs::find_vmm(), |path| {
            if is_program(path) {
                Ok("")
            } else {
                Err("it is no program that you may execute".to_owned())
            }
        }),
        part(
            "guest kernel",
            programs::find_guest("vmlinux"),
            guest::kernel,
        ),
        part(
            "guest initramfs",
            programs::find_guest("initramfs.cpio"),
            guest::initramfs,
        ),
        mke2fs(&std::env::var_os("PATH").unwrap_or_default()),
    ]
}

/// A file that has to be there and to be what it should be.
fn part(
    name: &'static str,
    found: Result<PathBuf, MissingProgram>,
    judge: impl FnOnce(&Path) -> Result<&'static str, String>,
) -> Check {
    let path = match found {
        Ok(path) => path,
        Err(error) => {
            // The sentence says what is wrong, then what to do.
            let text = error.to_string();
            let (wrong, todo) = text.split_once("): ").unwrap_or((text.as_str(), REINSTALL));
            let closing = if wrong.len() < text.len() { ")" } else { "" };
            return Check::bad(name, format!("{wrong}{closing}"), todo);
        }
    };
    let shown = path.display();
    match judge(&path) {
        Ok("") => Check::good(name, shown.to_string()),
        Ok(kind) => Check::good(name, format!("{shown} ({kind})")),
        Err(wrong) => Check::bad(name, format!("{shown} cannot be used: {wrong}"), REINSTALL),
    }
}

/// What helps where files are damaged.
const REINSTALL: &str = "install Hull again, or build the guest with `make kernel`; HULL_VMM and HULL_GUEST_DIR choose other files";

/// It formats what a container writes.
fn mke2fs(path: &std::ffi::OsStr) -> Check {
    const NAME: &str = "mke2fs";
    let more = ["/sbin", "/usr/sbin"].map(PathBuf::from);
    let dirs = std::env::split_paths(path).chain(more);
    match dirs.map(|dir| dir.join(NAME)).find(|file| is_program(file)) {
        Some(file) => Check::good(NAME, file.display().to_string()),
        None => Check::bad(
            NAME,
            "it was not found in PATH, /sbin or /usr/sbin",
            "install it: sudo apt install e2fsprogs",
        ),
    }
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_part_that_is_missing_is_told_with_the_remedy() {
        let missing = MissingProgram::Guest {
            file: "vmlinux",
            looked: "/a, /b".to_owned(),
        };
        let text = missing.to_string();
        assert!(text.contains("): "), "{text}");
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/etc/passwd")));
        assert!(!is_program(Path::new("/nowhere")));
    }

    #[test]
    fn every_part_has_a_verdict() {
        let checks = checks();
        let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
        assert_eq!(
            names,
            ["hull-vmm", "guest kernel", "guest initramfs", "mke2fs"]
        );
        for check in checks.iter().filter(|check| check.verdict == Verdict::Bad) {
            assert!(check.advice.is_some(), "{check:?}");
        }
    }
}
