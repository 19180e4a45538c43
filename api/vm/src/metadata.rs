//! The contents of the metadata service: one JSON value that the host writes and the guest reads.

use serde_json::{Map, Value};

use crate::config::strict;
use crate::fault::{Fault, FaultStatus};

/// The metadata of one microVM.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    value: Value,
    limit: usize,
}

impl Metadata {
    /// What Firecracker allows unless it is told otherwise, in bytes of JSON.
    pub const DEFAULT_LIMIT: usize = 51_200;

    /// Reads what is to be metadata: an object that has each of its fields once, however deep.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read(json: &[u8]) -> serde_json::Result<Value> {
        strict::from_slice::<Map<String, Value>>(json).map(Value::Object)
    }

    /// None yet; at most `limit` bytes of JSON ever.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            value: Value::Null,
            limit,
        }
    }

    /// The most bytes of JSON.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// All of it; null until something was put there.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Replaces all of it.
    ///
    /// # Errors
    /// If it is more than the limit.
    pub fn put(&mut self, value: Value) -> Result<(), Fault> {
        let size = serde_json::to_vec(&value).map_or(usize::MAX, |json| json.len());
        if size > self.limit {
            return Err(Fault::new(
                FaultStatus::PayloadTooLarge,
                format!(
                    "MMDS limit exceeded error: the metadata would be {size} bytes of JSON, and the limit is {}",
                    self.limit
                ),
            ));
        }
        self.value = value;
        Ok(())
    }

    /// Changes it by a JSON merge patch (RFC 7396): null takes a field away.
    ///
    /// # Errors
    /// If it would be more than the limit, or nothing was put there yet.
    pub fn patch(&mut self, patch: Value) -> Result<(), Fault> {
        if self.value.is_null() {
            return Err(Fault::bad_request(
                "MMDS error: The MMDS data store is not initialized.",
            ));
        }
        let mut value = self.value.clone();
        merge(&mut value, patch);
        self.put(value)
    }
}

/// RFC 7396, 2. It goes as deep as the JSON, which `serde_json` lets go 128 deep.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_merge_as_in_the_examples_of_the_rfc() {
        // RFC 7396, appendix A, as far as metadata is an object.
        for (before, patch, after) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            let mut metadata = Metadata::new(Metadata::DEFAULT_LIMIT);
            metadata.put(before).unwrap();
            metadata.patch(patch).unwrap();
            assert_eq!(metadata.value(), &after);
        }
    }

    #[test]
    fn the_limit_holds_and_a_refused_change_changes_nothing() {
        let mut metadata = Metadata::new(20);
        let error = metadata.patch(json!({})).unwrap_err();
        assert!(error.message.contains("not initialized"));
        metadata.put(json!({"a": "12345"})).unwrap();
        let error = metadata.patch(json!({"b": "1234567"})).unwrap_err();
        assert_eq!(error.status, FaultStatus::PayloadTooLarge);
        assert!(error.message.contains("the limit is 20"), "{error}");
        assert_eq!(metadata.value(), &json!({"a": "12345"}));
        metadata.patch(json!({"a": null})).unwrap();
        assert_eq!(metadata.value(), &json!({}));
    }
}
