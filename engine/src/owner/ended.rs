//! The execs of a container that have ended and can still be asked about: the last of them, as many as fit.
//!
//! Whoever ran one may ask for its exit code a moment later, and hardly after a hundred others. A health check of an orchestrator's makes
//! thousands a day, and all that are known must fit into one answer.

use std::collections::VecDeque;

use super::ExecSpec;

/// So many are kept.
const COUNT: usize = 100;
/// So many bytes of what they are, together, unless the last one alone has more.
const SIZE: usize = 1024 * 1024;

/// Those that are kept, the oldest first, with their sizes.
#[derive(Debug, Default)]
pub(crate) struct Ended(VecDeque<(String, usize)>);

impl Ended {
    /// One more; those that are to be forgotten for it.
    pub(crate) fn push(&mut self, id: String, spec: &ExecSpec) -> Vec<String> {
        let size = serde_json::to_string(spec).map_or(0, |text| text.len());
        self.0.push_back((id, size));
        let mut forgotten = Vec::new();
        while self.0.len() > 1 && self.is_too_much() {
            forgotten.extend(self.0.pop_front().map(|(id, _)| id));
        }
        forgotten
    }

    fn is_too_much(&self) -> bool {
        let size: usize = self.0.iter().map(|(_, size)| size).sum();
        self.0.len() > COUNT || size > SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_argument(length: usize) -> ExecSpec {
        ExecSpec {
            argv: vec!["x".repeat(length)],
            ..ExecSpec::default()
        }
    }

    #[test]
    fn the_last_hundred_are_kept() {
        let (mut ended, spec) = (Ended::default(), with_argument(10));
        for number in 0..100 {
            assert!(ended.push(number.to_string(), &spec).is_empty());
        }
        assert_eq!(ended.push("100".to_owned(), &spec), ["0"]);
        assert_eq!(ended.push("101".to_owned(), &spec), ["1"]);
    }

    #[test]
    fn large_ones_are_kept_while_they_fit_and_the_last_one_always() {
        let mut ended = Ended::default();
        let (half, all) = (with_argument(SIZE / 2), with_argument(2 * SIZE));
        assert!(ended.push("a".to_owned(), &half).is_empty());
        assert_eq!(ended.push("b".to_owned(), &half), ["a"]);
        assert_eq!(ended.push("c".to_owned(), &all), ["b"]);
        assert_eq!(ended.push("d".to_owned(), &half), ["c"]);
    }
}
