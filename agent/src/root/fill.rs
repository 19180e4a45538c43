//! Filling an empty share with what the image has in its place, so that a machine that dies meanwhile leaves nothing that looks full.
//!
//! It is copied beside what containers see, into [`PARTIAL`]; when that is complete it is [`COMPLETE`], and its members go up one by
//! one. Whoever finds one of the two goes on from there. The engine looks for their names, too.

use std::path::Path;

use rustix::fs::{CWD, FileType, RenameFlags, lstat, renameat, renameat_with};
use rustix::io::Errno;

use super::copy;

const PARTIAL: &str = ".hull-fill";
const COMPLETE: &str = ".hull-fill-complete";

/// Copies what the image has in `from` to the share `to`, if that is empty, or was not filled to the end. Nothing that is there
/// is replaced.
pub(super) fn fill(from: &Path, to: &Path) -> Result<(), Errno> {
    let (partial, complete) = (to.join(PARTIAL), to.join(COMPLETE));
    let names = copy::names(to)?;
    if !names.iter().any(|name| name == COMPLETE) {
        if names.iter().any(|name| name != PARTIAL) {
            return copy::remove_tree(&partial);
        }
        copy::remove_tree(&partial)?;
        copy::copy_tree(from, &partial)?;
        renameat(CWD, &partial, CWD, &complete)?;
    }
    for name in copy::names(&complete)? {
        let (below, above) = (complete.join(&name), to.join(&name));
        match renameat_with(CWD, below, CWD, above, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    copy::copy_attributes(from, to, &lstat(from)?, FileType::Directory)?;
    copy::remove_tree(&complete)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn image(base: &Path) -> std::path::PathBuf {
        let from = base.join("image");
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), "image").unwrap();
        fs::write(from.join("top"), "image").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o750)).unwrap();
        from
    }

    fn entries(path: &Path) -> Vec<String> {
        let names = copy::names(path).unwrap();
        let mut names: Vec<String> = names
            .into_iter()
            .filter_map(|n| n.into_string().ok())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_empty_share_is_filled_and_one_that_is_not_stays_as_it_is() {
        let base = tempfile::tempdir().unwrap();
        let (from, to) = (image(base.path()), base.path().join("share"));
        fs::create_dir(&to).unwrap();
        fill(&from, &to).unwrap();
        assert_eq!(entries(&to), ["sub", "top"]);
        assert_eq!(
            fs::metadata(&to).unwrap().permissions().mode() & 0o777,
            0o750
        );
        fs::remove_file(to.join("top")).unwrap();
        fill(&from, &to).unwrap();
        assert_eq!(entries(&to), ["sub"]);
    }

    #[test]
    fn whoever_comes_next_goes_on_where_one_died() {
        let base = tempfile::tempdir().unwrap();
        let from = image(base.path());
        // While it copied.
        let to = base.path().join("copying");
        fs::create_dir_all(to.join(PARTIAL)).unwrap();
        fs::write(to.join(PARTIAL).join("top"), "ha").unwrap();
        fill(&from, &to).unwrap();
        assert_eq!(entries(&to), ["sub", "top"]);
        assert_eq!(fs::read_to_string(to.join("top")).unwrap(), "image");
        // While its members went up; one was there that somebody else has made.
        let to = base.path().join("moving");
        copy::copy_tree(&from, &{
            fs::create_dir(&to).unwrap();
            to.join(COMPLETE)
        })
        .unwrap();
        fs::rename(to.join(COMPLETE).join("sub"), to.join("sub")).unwrap();
        fs::write(to.join("top"), "somebody's").unwrap();
        fill(&from, &to).unwrap();
        assert_eq!(entries(&to), ["sub", "top"]);
        assert_eq!(fs::read_to_string(to.join("top")).unwrap(), "somebody's");
    }
}
