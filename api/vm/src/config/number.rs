//! Whole numbers with a range: what is said of one that is out of it.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

use super::ConfigError;

/// Reads a number from `LEAST` to `MOST`, for `deserialize_with`. Only what does not fit into the type is refused here,
/// by its range; the rest is for `validate`, which knows the name of the field.
pub(crate) fn number<'de, D, T, const LEAST: u64, const MOST: u64>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    from.deserialize_u64(Whole::<T, LEAST, MOST>(PhantomData))
}

/// The same for a field that can be missing or null.
pub(crate) fn optional<'de, D, T, const LEAST: u64, const MOST: u64>(
    from: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    from.deserialize_option(Maybe(Whole::<T, LEAST, MOST>(PhantomData)))
}

/// Checks a number that was read.
pub(crate) fn in_range(
    field: &'static str,
    value: impl Into<u64>,
    least: u64,
    most: u64,
) -> Result<(), ConfigError> {
    let value = value.into();
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Range {
        field,
        value,
        least,
        most,
    })
}

struct Whole<T, const LEAST: u64, const MOST: u64>(PhantomData<T>);

impl<T: TryFrom<u64>, const LEAST: u64, const MOST: u64> Visitor<'_> for Whole<T, LEAST, MOST> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        let refused = |_| E::invalid_value(Unexpected::Unsigned(value), &self);
        T::try_from(value).map_err(refused)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }
}

struct Maybe<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Maybe<V> {
    type Value = Option<V::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_u64(self.0).map(Some)
    }
}
