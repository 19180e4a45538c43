//! Landlock (Linux, `Documentation/userspace-api/landlock.rst`): a second fence around files, by path, which a thread puts up itself.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

/// The newest that is known here. Of an older kernel's all is used that it has.
const NEWEST: ABI = ABI::V5;

/// Lets the calling thread, and those that it makes, open nothing but what is beneath a directory, and use no TCP ports. False if the
/// kernel has no Landlock.
///
/// # Errors
/// What the kernel refused.
pub(super) fn restrict(beneath: Option<(BorrowedFd<'_>, bool)>) -> Result<bool, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .create()?;
    if let Some((directory, read_only)) = beneath {
        rules = rules.add_rule(PathBeneath::new(directory, rights(read_only)))?;
    }
    let status = rules.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn rights(read_only: bool) -> BitFlags<AccessFs> {
    if read_only {
        return AccessFs::ReadFile | AccessFs::ReadDir;
    }
    AccessFs::from_all(NEWEST) & !(AccessFs::Execute | AccessFs::IoctlDev)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_opens_what_is_in_its_directory_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("in"), "").unwrap();
        fs::write(outside.path().join("out"), "").unwrap();
        let root = File::open(dir.path()).unwrap();
        for read_only in [false, true] {
            let (dir, root) = (dir.path(), root.as_fd());
            let out = outside.path().join("out");
            thread::scope(|scope| {
                scope.spawn(move || {
                    if !restrict(Some((root, read_only))).unwrap() {
                        println!("SKIPPED: this kernel has no Landlock");
                        return;
                    }
                    assert!(File::open(dir.join("in")).is_ok());
                    let written = fs::write(dir.join("in"), "more");
                    assert_eq!(written.is_ok(), !read_only);
                    assert!(File::open(&out).is_err());
                });
            });
        }
        let closed = thread::spawn(move || {
            restrict(None).unwrap() && File::open(dir.path().join("in")).is_ok()
        });
        assert!(!closed.join().unwrap());
    }
}
