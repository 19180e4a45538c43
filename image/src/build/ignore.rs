//! `.dockerignore`: which files of a build's context are left out. These are Docker's rules and not git's: every pattern is seen from
//! the root of the context, a pattern that fits a directory fits all that is in it, and the last pattern that fits decides.

use crate::glob::Glob;

/// Largest file of patterns that is read, in bytes.
const MAX_LENGTH: usize = 1 << 20;
/// Most patterns.
const MAX_PATTERNS: usize = 4096;

/// The patterns of a `.dockerignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    glob: Glob,
    /// What fits is not left out after all.
    keeps: bool,
}

/// A pattern makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the .dockerignore cannot be used: line {line}: {what}")]
pub struct IgnoreError {
    line: usize,
    what: String,
}

impl Ignore {
    /// Reads a `.dockerignore`.
    ///
    /// # Errors
    /// When a pattern in it is none.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let wrong = |line: usize, what: String| IgnoreError { line, what };
        if text.len() > MAX_LENGTH || text.lines().count() > MAX_PATTERNS {
            return Err(wrong(
                1,
                format!("it has more than 1 MiB or {MAX_PATTERNS} lines"),
            ));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let pattern = line.trim();
            if line.starts_with('#') || pattern.is_empty() {
                continue;
            }
            let (keeps, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, pattern),
            };
            if pattern.is_empty() {
                return Err(wrong(
                    number + 1,
                    "illegal exclusion pattern: \"!\"".to_owned(),
                ));
            }
            let clean = clean(pattern);
            let glob = Glob::with_double_stars(&clean)
                .ok_or_else(|| wrong(number + 1, format!("syntax error in pattern: {pattern}")))?;
            patterns.push(Pattern { glob, keeps });
        }
        Ok(Self { patterns })
    }

    /// Whether the file at `path`, seen from the root of the context, is left out.
    #[must_use]
    pub fn leaves_out(&self, path: &str) -> bool {
        let path = clean(path);
        let ends = path.match_indices('/').map(|(at, _)| at);
        let ancestors: Vec<&str> = ends
            .chain([path.len()])
            .filter_map(|end| path.get(..end))
            .collect();
        let fits = |pattern: &&Pattern| ancestors.iter().any(|path| pattern.glob.fits(path));
        let last = self.patterns.iter().rev().find(fits);
        last.is_some_and(|pattern| !pattern.keeps)
    }

    /// Whether something below a directory that is left out may be kept, so that one has to look.
    #[must_use]
    pub fn keeps_something(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.keeps)
    }
}

/// A path or a pattern without what means nothing in it; `..` leads no further than the root.
pub(super) fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names.join("/")
}
