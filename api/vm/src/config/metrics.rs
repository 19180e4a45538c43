//! Figures of the VMM.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::number::number;
use super::{ConfigError, HostPath};

/// Where the VMM writes its figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// A file, which is made if missing and appended to, or a pipe.
    pub metrics_path: HostPath,
    /// Whether each line has the name of the microVM, as `id`.
    #[serde(default)]
    pub emit_id: bool,
    /// What else each line has, as `properties`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
    /// In what form. Hull's own field.
    #[serde(default, skip_serializing_if = "MetricsFormat::is_default")]
    pub format: MetricsFormat,
    /// How many seconds pass from one writing to the next; with 0 they are written when that is asked for, and at the end. Hull's
    /// own field.
    #[serde(
        default = "Metrics::default_interval_s",
        deserialize_with = "number::<_, _, 0, { u32::MAX as u64 }>",
        skip_serializing_if = "Metrics::is_default_interval"
    )]
    pub interval_s: u32,
}

/// How figures are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricsFormat {
    /// A line each time, behind those that are there, with what was counted since the line before.
    #[default]
    Json,
    /// Prometheus' text with what was counted since the start, in the place of the one before; of a pipe, behind it.
    Prometheus,
}

impl MetricsFormat {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Metrics {
    /// To `metrics_path`, with nothing added.
    #[must_use]
    pub fn new(metrics_path: HostPath) -> Self {
        Self {
            metrics_path,
            emit_id: false,
            properties: None,
            format: MetricsFormat::default(),
            interval_s: Self::default_interval_s(),
        }
    }

    /// As with Firecracker.
    fn default_interval_s() -> u32 {
        60
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_default_interval(interval_s: &u32) -> bool {
        *interval_s == Self::default_interval_s()
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.metrics_path.check("metrics.metrics_path")
    }
}
