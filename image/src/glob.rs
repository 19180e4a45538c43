//! Patterns for names, as Go's `path.Match` has them: `*` and `?` stand for anything but a slash, `[a-c]` and `[^a-c]` for one
//! character, `\\` before one that is to stand for itself. Time is bounded by the product of both lengths.

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Star,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Anything at all, slashes included.
    Everything,
    /// Any directories with the slash behind them, or none.
    Directories,
}

impl Glob {
    /// Reads a pattern; `None` if a bracket is not closed or a backslash is the last character.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        Self::read(pattern, false)
    }

    /// The same with `**`, which stands for any number of directories, as `.dockerignore` has it.
    pub(crate) fn with_double_stars(pattern: &str) -> Option<Self> {
        Self::read(pattern, true)
    }

    fn read(pattern: &str, double: bool) -> Option<Self> {
        let mut parts = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' if double && chars.peek() == Some(&'*') => {
                    chars.next();
                    chars.next_if_eq(&'/');
                    // Docker makes no difference between `**x` and `**/x`.
                    if chars.peek().is_some() {
                        Part::Directories
                    } else {
                        Part::Everything
                    }
                }
                '*' => Part::Star,
                '?' => Part::Any,
                '\\' => Part::Char(chars.next()?),
                '[' => class(&mut chars)?,
                c => Part::Char(c),
            });
        }
        Some(Self { parts })
    }

    /// Whether the pattern stands for all of `text`.
    pub(crate) fn fits(&self, text: &str) -> bool {
        // Which places in the pattern can be reached, and of those within directories, which have come to a slash.
        let mut places = vec![false; self.parts.len() + 1];
        if let Some(first) = places.first_mut() {
            *first = true;
        }
        let mut inside = vec![false; self.parts.len()];
        self.close(&mut places);
        for c in text.chars() {
            let mut next = vec![false; places.len()];
            let mut deeper = vec![false; inside.len()];
            for (at, part) in self.parts.iter().enumerate() {
                let here = places.get(at) == Some(&true);
                let within = inside.get(at) == Some(&true);
                if !here && !within {
                    continue;
                }
                let mut to = None;
                match part {
                    Part::Char(wanted) if *wanted == c => to = Some(at + 1),
                    Part::Any if c != '/' => to = Some(at + 1),
                    Part::Star if c != '/' => to = Some(at),
                    Part::Everything => to = Some(at),
                    Part::Class { negated, ranges } if c != '/' => {
                        let found = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                        to = (found != *negated).then_some(at + 1);
                    }
                    Part::Directories => {
                        if let Some(deeper) = deeper.get_mut(at) {
                            *deeper = true;
                        }
                        to = (c == '/').then_some(at + 1);
                    }
                    _ => {}
                }
                if let Some(place) = to.and_then(|to| next.get_mut(to)) {
                    *place = true;
                }
            }
            self.close(&mut next);
            (places, inside) = (next, deeper);
        }
        places.last() == Some(&true)
    }

    /// What may stand for nothing is passed by.
    fn close(&self, places: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            let empty = matches!(part, Part::Star | Part::Everything | Part::Directories);
            if empty
                && places.get(at) == Some(&true)
                && let Some(next) = places.get_mut(at + 1)
            {
                *next = true;
            }
        }
    }
}

/// What is between brackets.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let negated = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next()? {
        '\\' => chars.next(),
        c => Some(c),
    };
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Part::Class { negated, ranges });
        }
        let low = one(chars)?;
        let high = match chars.next_if_eq(&'-') {
            Some(_) => one(chars)?,
            None => low,
        };
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    fn fits(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().fits(text)
    }

    #[test]
    fn stars_stop_at_slashes() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/*:1?", "a/b:12", true),
            ("b?x", "box", true),
            ("box", "boxes", false),
            ("***x", "aax", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[]a]x", "]x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        for wrong in ["[", "[a", "[]", "\\", "a[b-"] {
            assert_eq!(Glob::parse(wrong), None, "{wrong}");
        }
        assert!(!fits(&"*a".repeat(200), &"a".repeat(199)));
    }

    #[test]
    fn double_stars_stand_for_directories() {
        for (pattern, text, expected) in [
            ("**", "a/b/c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "c", true),
            ("**/c", "abc", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/d/c", true),
            ("a/**/c", "a/b/dc", false),
            ("**/*.go", "x/y.go", true),
        ] {
            let glob = Glob::with_double_stars(pattern).unwrap();
            assert_eq!(glob.fits(text), expected, "{pattern} {text}");
        }
    }
}
