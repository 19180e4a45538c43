//! Whose the files are, and who may do what with them: `--chown` and `--chmod`.

use super::{Copying, Error};
use crate::tree::Tree;

/// Largest file of users or groups that is read, in bytes.
const MAX_USERS: u64 = 4 << 20;

impl Copying<'_> {
    /// `USER[:GROUP]`, by number or as the file system below knows them, whose tree is `below`.
    pub(super) fn owner(&self, below: &Tree<'_>, text: &str) -> Result<(u32, u32), Error> {
        let (user, group) = text
            .split_once(':')
            .map_or((text, None), |(user, group)| (user, Some(group)));
        let none = |text: &str| Error::Owner(text.to_owned());
        let known = |file: &str, name: &str| -> Result<Option<(u32, u32)>, Error> {
            let bytes = self
                .below
                .read_in(below, file, MAX_USERS)?
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let line = text
                .lines()
                .find(|line| line.split(':').next() == Some(name));
            let field =
                |line: &str, at| line.split(':').nth(at).and_then(|field| field.parse().ok());
            Ok(line.and_then(|line| Some((field(line, 2)?, field(line, 3).unwrap_or(0)))))
        };
        let (uid, own_group) = match user.parse::<u32>() {
            // A number of a user whom nobody knows is also that of the group.
            Ok(uid) => (uid, uid),
            Err(_) => known("/etc/passwd", user)?.ok_or_else(|| none(user))?,
        };
        let gid = match group.map(|group| (group, group.parse::<u32>())) {
            // As with Docker, the group of that name; where there is none, the user's own.
            None => known("/etc/group", user)?.map_or(own_group, |(gid, _)| gid),
            Some((_, Ok(gid))) => gid,
            Some((group, Err(_))) => known("/etc/group", group)?.ok_or_else(|| none(group))?.0,
        };
        Ok((uid, gid))
    }
}

pub(super) fn mode(text: &str) -> Result<u16, Error> {
    let mode = u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| Error::Mode(text.to_owned()))
}
