//! The lines of `passwd(5)` and `group(5)`. A line that is malformed is no entry.

/// A line of `passwd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passwd<'a> {
    pub(super) name: &'a str,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: &'a str,
}

/// A line of `group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) gid: u32,
    members: &'a str,
}

impl Group<'_> {
    pub(super) fn has_member(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member == user)
    }
}

/// The entries of a `passwd` file, in order.
pub(super) fn passwd(content: &[u8]) -> impl Iterator<Item = Passwd<'_>> {
    lines(content).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Passwd {
            name,
            uid,
            gid,
            home,
        })
    })
}

/// The entries of a `group` file, in order.
pub(super) fn group(content: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(content).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default();
        Some(Group { name, gid, members })
    })
}

fn lines(content: &[u8]) -> impl Iterator<Item = &str> {
    content
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}
