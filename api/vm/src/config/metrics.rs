//! Figures of the VMM.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.metrics_path.check("metrics.metrics_path")
    }
}
