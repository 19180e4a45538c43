//! Which blocks are plugged.

use std::ops::Range;

/// One bit for each block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    words: Vec<u64>,
    count: usize,
    plugged: usize,
}

impl Blocks {
    /// All unplugged.
    pub(super) fn new(count: usize) -> Self {
        Self {
            words: vec![0; count.div_ceil(64)],
            count,
            plugged: 0,
        }
    }

    /// As they were saved; none if it was another number of blocks.
    pub(super) fn from_words(words: &[u64], count: usize) -> Option<Self> {
        let unused = words.len() * 64 - count.min(words.len() * 64);
        let clean = unused == 0
            || words
                .last()
                .is_some_and(|last| last.leading_zeros() as usize >= unused);
        if words.len() != count.div_ceil(64) || !clean {
            return None;
        }
        let plugged = words.iter().map(|word| word.count_ones() as usize).sum();
        Some(Self {
            words: words.to_vec(),
            count,
            plugged,
        })
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many are plugged.
    pub(super) fn plugged(&self) -> usize {
        self.plugged
    }

    pub(super) fn all(&self) -> Range<usize> {
        0..self.count
    }

    fn is_plugged(&self, block: usize) -> bool {
        let word = self.words.get(block / 64).copied().unwrap_or(0);
        word & 1 << (block % 64) != 0
    }

    /// How many of a range are plugged.
    pub(super) fn plugged_in(&self, blocks: &Range<usize>) -> usize {
        blocks
            .clone()
            .filter(|block| self.is_plugged(*block))
            .count()
    }

    pub(super) fn set(&mut self, blocks: &Range<usize>, plugged: bool) {
        for block in blocks.start..blocks.end.min(self.count) {
            if self.is_plugged(block) == plugged {
                continue;
            }
            if let Some(word) = self.words.get_mut(block / 64) {
                *word ^= 1 << (block % 64);
                if plugged {
                    self.plugged += 1;
                } else {
                    self.plugged -= 1;
                }
            }
        }
    }

    /// The plugged blocks of a range, those next to each other together.
    pub(super) fn runs(&self, within: &Range<usize>) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for block in within.clone().filter(|block| self.is_plugged(*block)) {
            match runs.last_mut() {
                Some(run) if run.end == block => run.end += 1,
                _ => runs.push(block..block + 1),
            }
        }
        runs
    }
}
