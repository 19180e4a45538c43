//! What is counted, for whoever writes metrics.
//!
//! A device has one structure of counters, made by [`counters!`](crate::counters). It counts without a lock, and whoever has the
//! structure reads it at any time, also while the device is busy. Names are Firecracker's wherever Firecracker counts the
//! same thing; units are in the names (`_bytes`, `_us`), and what has none is a number of events.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

/// A number that is replaced.
#[derive(Default)]
pub struct Level(AtomicU64);

/// How long something took each time: the shortest, the longest and all together, in microseconds.
#[derive(Debug, Default)]
pub struct Durations {
    min: AtomicU64,
    max: AtomicU64,
    sum: AtomicU64,
}

/// What a field of a structure of counters is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// So many, ever since the structure was made.
    Count(u64),
    /// So much now.
    Level(u64),
    /// Microseconds, ever since the structure was made; zeros if there was nothing yet.
    Durations {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
        /// All together.
        sum: u64,
    },
}

/// One field of a structure of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// What it means: the comment of the field.
    pub help: &'static str,
    /// What it is now.
    pub value: Value,
}

/// A structure of counters.
pub trait Metrics: fmt::Debug + Send + Sync {
    /// Tells each of its fields, in the same order every time.
    fn each(&self, tell: &mut dyn FnMut(Figure));
}

/// What can be a field of a structure of counters.
pub trait Field {
    /// What it is now.
    fn value(&self) -> Value;
}

impl Counter {
    /// Counts one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Level {
    /// Replaces it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Durations {
    /// Notes that something took so long.
    pub fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(us, Ordering::Relaxed);
        // Zero is "never": what took less than a microsecond counts as one here.
        let us = us.max(1);
        self.max.fetch_max(us, Ordering::Relaxed);
        let shortest = self.min.load(Ordering::Relaxed);
        if shortest == 0 || us < shortest {
            self.min.store(us, Ordering::Relaxed);
        }
    }
}

impl Field for Counter {
    fn value(&self) -> Value {
        Value::Count(self.get())
    }
}

impl Field for Level {
    fn value(&self) -> Value {
        Value::Level(self.0.load(Ordering::Relaxed))
    }
}

impl Field for Durations {
    fn value(&self) -> Value {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Value::Durations {
            min: load(&self.min),
            max: load(&self.max),
            sum: load(&self.sum),
        }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A structure of counters. Every field has a comment, which is also what people read beside the number.
#[macro_export]
macro_rules! counters {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[doc = $help:literal])+ $field_vis:vis $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $($(#[doc = $help])+ $field_vis $field: $type,)+
        }

        impl $crate::metrics::Metrics for $name {
            fn each(&self, tell: &mut dyn FnMut($crate::metrics::Figure)) {
                $(tell($crate::metrics::Figure {
                    name: stringify!($field),
                    help: concat!($($help),+).trim_ascii(),
                    value: $crate::metrics::Field::value(&self.$field),
                });)+
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    counters! {
        /// Of a kettle.
        struct Kettle {
            /// Litres of water
            /// that were poured.
            poured: Counter,
            /// What is in it.
            litres: Level,
            /// Boilings.
            boil_agg: Durations,
        }
    }

    #[test]
    fn fields_are_told_in_order_with_what_their_comments_say() {
        let kettle = Kettle::default();
        kettle.poured.add(2);
        kettle.litres.set(7);
        kettle.litres.set(1);
        for us in [30, 10, 20] {
            kettle.boil_agg.add(Duration::from_micros(us));
        }
        let mut told = Vec::new();
        kettle.each(&mut |figure| told.push((figure.name, figure.help, figure.value)));
        let boil = Value::Durations {
            min: 10,
            max: 30,
            sum: 60,
        };
        assert_eq!(
            told,
            [
                (
                    "poured",
                    "Litres of water that were poured.",
                    Value::Count(2)
                ),
                ("litres", "What is in it.", Value::Level(1)),
                ("boil_agg", "Boilings.", boil),
            ]
        );
    }
}
