//! Shell patterns in substitutions: `*`, `?`, and `\` before what is to stand for itself. Time is bounded by the product of both
//! lengths, whatever the pattern.

/// Longest value that is searched for a pattern, in bytes; beginnings and ends have no such limit.
const MAX_SEARCHED: usize = 4096;
/// Longest text that a replacement may make, in bytes.
const MAX_RESULT: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    Any,
    Many,
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Many,
            '?' => Part::Any,
            '\\' => Part::Char(chars.next().unwrap_or('\\')),
            c => Part::Char(c),
        });
    }
    parts
}

/// How many characters of `text`, from its beginning, the pattern can stand for: the fewest and the most.
fn ends(text: impl Iterator<Item = char>, parts: &[Part]) -> Option<(usize, usize)> {
    let mut places = vec![false; parts.len() + 1];
    if let Some(first) = places.first_mut() {
        *first = true;
    }
    close(&mut places, parts);
    let mut found = None;
    let mut note = |places: &[bool], length: usize| {
        if places.last() == Some(&true) {
            found = Some((found.map_or(length, |(fewest, _)| fewest), length));
        }
    };
    note(&places, 0);
    for (length, c) in text.enumerate() {
        let mut next = vec![false; places.len()];
        for (at, part) in parts.iter().enumerate() {
            if places.get(at) != Some(&true) {
                continue;
            }
            let to = match part {
                Part::Many => at,
                Part::Any => at + 1,
                Part::Char(wanted) if *wanted == c => at + 1,
                Part::Char(_) => continue,
            };
            if let Some(place) = next.get_mut(to) {
                *place = true;
            }
        }
        close(&mut next, parts);
        places = next;
        note(&places, length + 1);
        if !places.contains(&true) {
            break;
        }
    }
    found
}

/// Stars may stand for nothing.
fn close(places: &mut [bool], parts: &[Part]) {
    for (at, part) in parts.iter().enumerate() {
        if *part == Part::Many
            && places.get(at) == Some(&true)
            && let Some(next) = places.get_mut(at + 1)
        {
            *next = true;
        }
    }
}

/// `${value#pattern}`, or `##` for the longest.
pub(super) fn without_prefix<'a>(value: &'a str, pattern: &str, longest: bool) -> &'a str {
    let Some((fewest, most)) = ends(value.chars(), &parts(pattern)) else {
        return value;
    };
    let count = if longest { most } else { fewest };
    let at = value
        .char_indices()
        .nth(count)
        .map_or(value.len(), |(at, _)| at);
    value.get(at..).unwrap_or_default()
}

/// `${value%pattern}`, or `%%` for the longest.
pub(super) fn without_suffix<'a>(value: &'a str, pattern: &str, longest: bool) -> &'a str {
    let mut parts = parts(pattern);
    parts.reverse();
    let Some((fewest, most)) = ends(value.chars().rev(), &parts) else {
        return value;
    };
    let count = if longest { most } else { fewest };
    let mut indices = value.char_indices().rev();
    let at = match count.checked_sub(1) {
        None => value.len(),
        Some(last) => indices.nth(last).map_or(0, |(at, _)| at),
    };
    value.get(..at).unwrap_or_default()
}

/// `${value/pattern/replacement}`, or `//` for every place.
pub(super) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    all: bool,
) -> Result<String, String> {
    if value.len() > MAX_SEARCHED {
        return Err(format!(
            "a value of more than {MAX_SEARCHED} bytes is not searched"
        ));
    }
    let parts = parts(pattern);
    let mut out = String::new();
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        match ends(rest.chars(), &parts) {
            Some((_, most @ 1..)) => {
                out.push_str(replacement);
                if out.len() > MAX_RESULT {
                    return Err("substitution makes more than 1 MiB".to_owned());
                }
                let at = rest
                    .char_indices()
                    .nth(most)
                    .map_or(rest.len(), |(at, _)| at);
                rest = rest.get(at..).unwrap_or_default();
                if !all {
                    break;
                }
            }
            _ => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}
