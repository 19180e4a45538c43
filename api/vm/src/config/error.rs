//! What can be wrong with a configuration, in sentences for whoever wrote it.

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, a field that is unknown or missing, or a value of the wrong type.
    #[error("the configuration cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A number that is out of its range.
    #[error("{field} is {value}; it must be from {least} to {most}")]
    Range {
        /// Section and field.
        field: &'static str,
        /// What was given.
        value: u64,
        /// The least possible.
        least: u64,
        /// The greatest possible.
        most: u64,
    },
    /// A text or a number that is none of those that are possible.
    #[error("{field} is {value:?}; it must be {must}")]
    Value {
        /// Section and field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        must: &'static str,
    },
    /// An id that is no id.
    #[error(
        "{section}: {field} {id:?} is no id; it must be 1 to {most} letters, digits and underscores"
    )]
    Id {
        /// The section.
        section: &'static str,
        /// What the id is called there.
        field: &'static str,
        /// What was given.
        id: String,
        /// The greatest number of characters.
        most: usize,
    },
    /// Two devices of one kind and one name.
    #[error("{section}: two of them have the {field} {id:?}; each needs one of its own")]
    Duplicate {
        /// The section.
        section: &'static str,
        /// What the id is called there.
        field: &'static str,
        /// The id.
        id: String,
    },
    /// More devices of a kind than one machine can have.
    #[error("{section}: there are {count}; there can be at most {most}")]
    TooMany {
        /// The section.
        section: &'static str,
        /// How many there are.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// More devices than a machine has places for.
    #[error(
        "there are {count} devices, and a microVM has places for {most}: each drive, pmem device, network interface and share needs one, \
         and so do vsock, console, entropy, balloon and memory-hotplug; leave some out"
    )]
    TooManyDevices {
        /// How many there are.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// A device that is not there.
    #[error("{section}: there is none with the {field} {id:?}")]
    Missing {
        /// The section.
        section: &'static str,
        /// What the id is called there.
        field: &'static str,
        /// The id.
        id: String,
    },
    /// A section that is not there.
    #[error("{section} is not configured on this microVM")]
    NoSection {
        /// The section.
        section: &'static str,
    },
    /// Values of which one excludes the other.
    #[error("{0}")]
    Conflict(String),
    /// Bytes that no kernel command line can hold.
    #[error("boot-source.boot_args must be printable ASCII in one line, and it has {0:?}")]
    BootArgs(char),
}

impl ConfigError {
    /// For values that exclude each other.
    pub(crate) fn conflict(sentence: impl Into<String>) -> Self {
        Self::Conflict(sentence.into())
    }
}
