//! Docker's rules for `USER` and `--user`, as runc's `user` package has them.

use hull_agent_protocol::{Failure, FailureKind};

use super::files::{group, passwd};
use crate::failure::Result;

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, without repetition; the primary one is among them.
    pub(crate) groups: Vec<u32>,
    /// The home directory; `/` when nothing says otherwise.
    pub(crate) home: String,
}

/// The most groups that Linux lets a process have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// Resolves `spec` (`name`, `uid`, either with `:group` or `:gid`, or empty for root) and the
/// additional groups in the two files.
pub(crate) fn resolve(
    spec: &str,
    additional: &[String],
    passwd_file: &[u8],
    group_file: &[u8],
) -> Result<User> {
    let (user_spec, group_spec) = spec.split_once(':').unwrap_or((spec, ""));
    let mut user = User {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        home: "/".into(),
    };

    let wanted = if user_spec.is_empty() { "0" } else { user_spec };
    let number = id(wanted);
    let entry =
        passwd(passwd_file).find(|entry| entry.name == user_spec || number == Some(entry.uid));
    let matched = match entry {
        Some(entry) => {
            (user.uid, user.gid) = (entry.uid, entry.gid);
            if !entry.home.is_empty() {
                user.home = entry.home.to_owned();
            }
            Some(entry.name)
        }
        None => {
            user.uid = number.ok_or_else(|| no_such("user", user_spec, "passwd"))?;
            None
        }
    };

    if group_spec.is_empty() {
        if let Some(name) = matched {
            let member_of = group(group_file).filter(|group| group.has_member(name));
            user.groups
                .extend(member_of.map(|group| group.gid).take(MAX_GROUPS));
        }
    } else {
        user.gid = find_group(group_spec, group_file)?;
    }
    for name in additional {
        user.groups.push(find_group(name, group_file)?);
    }
    // As Docker does since 20.10.18: who leaves the primary group must not gain by it.
    user.groups.push(user.gid);
    user.groups.sort_unstable();
    user.groups.dedup();
    Ok(user)
}

fn find_group(spec: &str, group_file: &[u8]) -> Result<u32> {
    let number = id(spec);
    group(group_file)
        .find(|group| group.name == spec || number == Some(group.gid))
        .map(|group| group.gid)
        .or(number)
        .ok_or_else(|| no_such("group", spec, "group"))
}

/// A numeric id; Docker allows up to 2^31 - 1.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| i32::try_from(*id).is_ok())
}

fn no_such(what: &str, name: &str, file: &str) -> Failure {
    let message = format!("unable to find {what} {name}: no matching entries in {file} file");
    Failure::new(FailureKind::NoSuchUser, message)
}
