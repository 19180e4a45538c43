//! What happens, for those who want to know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::broadcast;

/// So many of the last events can be asked for, as with Docker.
const KEPT: usize = 256;
/// So many wait for one who does not take them; then some are lost to him.
const AHEAD: usize = 1024;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// What builds have made.
    Builder,
    /// The daemon itself.
    Daemon,
}

impl EventKind {
    /// As the API names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Builder => "builder",
            Self::Daemon => "daemon",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// To what kind of thing.
    pub kind: EventKind,
    /// What: `die`, or `exec_start: sh -c x`.
    pub action: String,
    /// To which one: an id, or a name where names are what there is.
    pub actor: String,
    /// More about it.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// All events of a daemon.
#[derive(Debug)]
pub struct Events {
    last: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            sender: broadcast::Sender::new(AHEAD),
        }
    }
}

impl Events {
    /// Tells an event to all who listen, and keeps it for a while.
    pub fn publish(&self, event: Event) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(event.clone());
        // Sent under the lock, so that nobody gets an event twice, or not at all. Nobody may listen.
        let _ = self.sender.send(event);
    }

    /// The last events, the oldest first, and all that come from now on.
    #[must_use]
    pub fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.iter().cloned().collect(), self.sender.subscribe())
    }
}
