//! The data, and what the host does with it.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::query::{self, Format, NotFound};
use super::token::{InvalidTtl, Tokens};
use crate::metrics::Counter;

/// The most bytes that the data may have as JSON, if nothing else is said.
pub const DEFAULT_LIMIT: usize = 51_200;

/// Which protocol guests speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// Any GET is answered.
    #[default]
    V1,
    /// A GET needs a token.
    V2,
}

/// What a user may say (`MmdsConfig` of Firecracker's API).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmdsConfig {
    /// Which protocol guests speak.
    pub version: Version,
    /// Where guests find it: link-local, between 169.254.1.0 and 169.254.254.255 (RFC 3927, section 2.1).
    pub ipv4_address: Ipv4Addr,
    /// Answers are text, whatever a guest accepts, as EC2's IMDS does it.
    pub imds_compat: bool,
    /// The most bytes that the data may have as JSON.
    pub limit: usize,
}

impl Default for MmdsConfig {
    fn default() -> Self {
        Self {
            version: Version::V1,
            ipv4_address: Ipv4Addr::new(169, 254, 169, 254),
            imds_compat: false,
            limit: DEFAULT_LIMIT,
        }
    }
}

counters! {
    /// What the metadata service did since it was made.
    pub struct MmdsCounters {
        /// Frames from guests that were for the service.
        pub rx_accepted: Counter,
        /// Requests without the token that they need.
        pub rx_no_token: Counter,
        /// Requests with a token that is none, or no longer.
        pub rx_invalid_token: Counter,
        /// Frames that guests took.
        pub tx_frames: Counter,
        /// Their bytes, with Ethernet headers.
        pub tx_bytes: Counter,
    }
}

/// Why the host's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum MmdsError {
    /// No address for this.
    #[error(
        "{0} can't be the metadata service's address: give one between 169.254.1.0 and 169.254.254.255"
    )]
    Address(Ipv4Addr),
    /// The data would be too long.
    #[error("the metadata would have {size} bytes, and {limit} are allowed")]
    TooLarge {
        /// Bytes as JSON.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A patch needs something to change.
    #[error("there is no metadata yet that could be changed: PUT some first")]
    Empty,
    /// Keys are what guests ask for.
    #[error("metadata must be a JSON object")]
    NotAnObject,
    /// The kernel gave no random key.
    #[error("no random key for the metadata service's tokens")]
    Random(#[source] std::io::Error),
}

/// The metadata service of one microVM. Clones share their data.
#[derive(Clone)]
pub struct Mmds {
    config: MmdsConfig,
    shared: Arc<Shared>,
}

struct Shared {
    counters: Arc<MmdsCounters>,
    tokens: Tokens,
    data: Mutex<Option<Value>>,
}

impl Mmds {
    /// A service without data.
    ///
    /// # Errors
    /// [`MmdsError`] if the address can't be, or the kernel gives no random bytes.
    pub fn new(config: MmdsConfig) -> Result<Self, MmdsError> {
        let [a, b, c, _] = config.ipv4_address.octets();
        if (a, b) != (169, 254) || !(1..=254).contains(&c) {
            return Err(MmdsError::Address(config.ipv4_address));
        }
        let shared = Shared {
            counters: Arc::default(),
            tokens: Tokens::new().map_err(MmdsError::Random)?,
            data: Mutex::new(None),
        };
        Ok(Self {
            config,
            shared: Arc::new(shared),
        })
    }

    /// How it was made. Save this to make it again; its data, which may be secret, is not saved.
    #[must_use]
    pub fn config(&self) -> MmdsConfig {
        self.config
    }

    /// What it counts, at all interfaces together, readable at any time.
    #[must_use]
    pub fn counters(&self) -> Arc<MmdsCounters> {
        self.shared.counters.clone()
    }

    pub(super) fn count(&self) -> &MmdsCounters {
        &self.shared.counters
    }

    /// Replaces the data.
    ///
    /// # Errors
    /// [`MmdsError`] if it is too long or no object; the old data then stays.
    pub fn put(&self, data: Value) -> Result<(), MmdsError> {
        self.check(&data)?;
        *self.lock() = Some(data);
        Ok(())
    }

    /// Changes the data by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// [`MmdsError`] if there is none, or it would be too long; the old data then stays.
    pub fn patch(&self, patch: &Value) -> Result<(), MmdsError> {
        if !patch.is_object() {
            return Err(MmdsError::NotAnObject);
        }
        let mut data = self.lock();
        let mut changed = data.clone().ok_or(MmdsError::Empty)?;
        query::merge(&mut changed, patch);
        self.check(&changed)?;
        *data = Some(changed);
        Ok(())
    }

    /// The data; none before the first [`Mmds::put`].
    #[must_use]
    pub fn get(&self) -> Option<Value> {
        self.lock().clone()
    }

    /// What a guest gets for a path.
    pub(super) fn look_up(&self, path: &str, format: Format) -> Result<String, NotFound> {
        let data = self.lock();
        query::look_up(data.as_ref().ok_or(NotFound::Nothing)?, path, format)
    }

    pub(super) fn issue_token(&self, ttl: &str, now: Duration) -> Result<String, InvalidTtl> {
        self.shared.tokens.issue(ttl, now)
    }

    pub(super) fn is_valid_token(&self, token: &str, now: Duration) -> bool {
        self.shared.tokens.is_valid(token, now)
    }

    fn check(&self, data: &Value) -> Result<(), MmdsError> {
        if !data.is_object() {
            return Err(MmdsError::NotAnObject);
        }
        let (size, limit) = (data.to_string().len(), self.config.limit);
        if size > limit {
            return Err(MmdsError::TooLarge { size, limit });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Value>> {
        let data = &self.shared.data;
        data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the data, which may be secret.
impl fmt::Debug for Mmds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mmds")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
