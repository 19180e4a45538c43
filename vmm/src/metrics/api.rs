//! Requests of the API, in sections by their methods.

use std::sync::{Arc, Mutex, PoisonError};

use hull_devices::metrics::{Figure, Metrics, Value};
use hull_vm_api::request::Method;
use hull_vm_api::server::Requests;

use super::sections::Source;

/// What was asked for, as far as it is known here: the API has its own thread, which counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Requests>>);

/// Requests of one method.
#[derive(Debug)]
struct OfMethod(Asked, Method);

/// Requests that used something deprecated.
#[derive(Debug)]
struct Deprecated(Asked);

/// Requests that are none.
#[derive(Debug)]
struct Invalid(Asked);

impl Asked {
    /// So many there were by now.
    pub(super) fn set(&self, requests: Requests) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = requests;
    }

    fn get<R>(&self, of: impl FnOnce(&Requests) -> R) -> R {
        of(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All who count requests.
    pub(super) fn sources(&self) -> Vec<Source> {
        let of = |section, method| Source::new(section, Arc::new(OfMethod(self.clone(), method)));
        vec![
            of("get_api_requests", Method::Get),
            of("put_api_requests", Method::Put),
            of("patch_api_requests", Method::Patch),
            of("delete_api_requests", Method::Delete),
            Source::new("deprecated_api", Arc::new(Deprecated(self.clone()))),
            Source::new("invalid_api", Arc::new(Invalid(self.clone()))),
        ]
    }
}

impl Metrics for OfMethod {
    fn each(&self, tell: &mut dyn FnMut(Figure)) {
        for count in self.0.get(|requests| requests.of(self.1)) {
            tell(Figure {
                name: count.count_name,
                help: "Requests that were answered.",
                value: Value::Count(count.count),
            });
            tell(Figure {
                name: count.fails_name,
                help: "Those of them that failed.",
                value: Value::Count(count.fails),
            });
        }
    }
}

impl Metrics for Deprecated {
    fn each(&self, tell: &mut dyn FnMut(Figure)) {
        tell(Figure {
            name: "deprecated_http_api_calls",
            help: "Requests that used something that Firecracker has deprecated.",
            value: Value::Count(self.0.get(|requests| requests.deprecated)),
        });
    }
}

impl Metrics for Invalid {
    fn each(&self, tell: &mut dyn FnMut(Figure)) {
        tell(Figure {
            name: "invalid_count",
            help: "Requests of a method or path that there is not, and what was no HTTP.",
            value: Value::Count(self.0.get(|requests| requests.invalid)),
        });
    }
}
