//! Directories of the host in the guest. Hull's own section.

use serde::{Deserialize, Serialize};

use super::id::Kind;
use super::number::{in_range, number};
use super::{ConfigError, HostPath};

/// The tag has 36 bytes in the device (virtio 1.3, 5.11.4); each share has an interrupt line.
pub(crate) const SHARES: Kind = Kind {
    section: "shares",
    field: "tag",
    max_id: 36,
    most: 12,
};

/// One directory of the host (virtio-fs). Extended attributes are `user.*`, access control lists and file capabilities; the guest has no
/// `trusted.*` and no labels of security modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// What the guest mounts (`mount -t virtiofs TAG /mnt`): 1 to 36 letters, digits and underscores.
    pub tag: String,
    /// The directory.
    pub path: HostPath,
    /// The guest cannot write.
    #[serde(default)]
    pub read_only: bool,
    /// How long the guest may believe what it read of the host.
    #[serde(default)]
    pub cache: ShareCache,
    /// Queues of requests, 1 to [`Share::MAX_QUEUES`].
    #[serde(
        default = "one",
        deserialize_with = "number::<_, _, 1, { Share::MAX_QUEUES as u64 }>"
    )]
    pub queues: u8,
}

/// How long the guest may believe what it read of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareCache {
    /// For a second; a file's contents until it is opened again.
    #[default]
    Auto,
    /// For as long as it likes: nobody else writes there.
    Always,
    /// Not at all.
    Never,
}

impl Share {
    /// What the device has room for.
    pub const MAX_QUEUES: u8 = 16;

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        SHARES.check(&self.tag)?;
        self.path.check("shares.path")?;
        in_range("shares.queues", self.queues, 1, Self::MAX_QUEUES.into())
    }
}

fn one() -> u8 {
    1
}
