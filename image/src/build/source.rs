//! A Dockerfile as text: parser directives, comments, continued lines, here-documents.

use super::Error;
use super::words::Lex;

/// Largest Dockerfile that is read, in bytes.
pub const MAX_DOCKERFILE: usize = 1 << 20;
/// Most here-documents of one instruction.
const MAX_HEREDOCS: usize = 64;

/// A Dockerfile in logical lines.
#[derive(Debug)]
pub(super) struct Source {
    /// What keeps a line from ending, and a character from meaning something.
    pub(super) escape: char,
    pub(super) lines: Vec<Logical>,
}

/// A line with those that continue it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logical {
    /// Where it begins, from 1.
    pub(super) number: usize,
    pub(super) text: String,
    pub(super) heredocs: Vec<Heredoc>,
}

/// Lines of a file, given in the Dockerfile itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// What stands after `<<`, and alone in the line after the last.
    pub name: String,
    /// The lines between, without leading tabs if it was `<<-`.
    pub content: String,
    /// Whether variables in it are substituted: not if the name is quoted.
    pub expand: bool,
    /// Whether leading tabs are taken away.
    pub(super) chomp: bool,
}

impl Source {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_DOCKERFILE {
            return Err(Error::new(1, "it is longer than 1 MiB"));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let escape = directives(text)?;
        let mut physical = Physical {
            lines: text.split_inclusive('\n').collect(),
            next: 0,
        };
        let mut lines = Vec::new();
        while let Some((number, first)) = physical.next() {
            let first = first.trim_start();
            if first.is_empty() || first.starts_with('#') {
                continue;
            }
            let text = physical.continued(first, escape);
            let mut heredocs = heredocs(&text, escape);
            if heredocs.len() > MAX_HEREDOCS {
                return Err(Error::new(number, "it has too many here-documents"));
            }
            for heredoc in &mut heredocs {
                physical.fill(heredoc, number)?;
            }
            lines.push(Logical {
                number,
                text,
                heredocs,
            });
        }
        Ok(Self { escape, lines })
    }
}

/// The escape character. Directives are comments of the form `# name=value` before everything else.
fn directives(text: &str) -> Result<char, Error> {
    let mut escape = None;
    let mut seen: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((name, value)) = line.strip_prefix('#').and_then(|line| line.split_once('='))
        else {
            break;
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name || value.is_empty() {
            break;
        }
        if !matches!(name.as_str(), "escape" | "syntax" | "check") {
            continue;
        }
        if seen.contains(&name) {
            let what = format!("only one {name} parser directive can be used");
            return Err(Error::new(number + 1, what));
        }
        if name == "escape" {
            escape = Some(match value {
                "\\" => '\\',
                "`" => '`',
                _ => {
                    let what = format!("invalid ESCAPE {value:?} does not match ` or \\");
                    return Err(Error::new(number + 1, what));
                }
            });
        }
        seen.push(name);
    }
    Ok(escape.unwrap_or('\\'))
}

/// Lines as they stand in the file.
struct Physical<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Physical<'a> {
    /// The next one with its number from 1, without its end.
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let line = self.lines.get(self.next)?;
        self.next += 1;
        let line = line.strip_suffix('\n').unwrap_or(line);
        Some((self.next, line.strip_suffix('\r').unwrap_or(line)))
    }

    /// `first` with the lines that continue it, between which there may be comments and, as Docker has it, empty lines.
    fn continued(&mut self, first: &str, escape: char) -> String {
        let (piece, mut goes_on) = split_continuation(first, escape);
        let mut text = piece.to_owned();
        while goes_on {
            let Some((_, line)) = self.next() else { break };
            let trimmed = line.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (piece, more) = split_continuation(line, escape);
            text.push_str(piece);
            goes_on = more;
        }
        text
    }

    /// Reads a here-document to its end.
    fn fill(&mut self, heredoc: &mut Heredoc, number: usize) -> Result<(), Error> {
        while let Some(line) = self.lines.get(self.next) {
            self.next += 1;
            let line = if heredoc.chomp {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if line.trim_end_matches(['\n', '\r']) == heredoc.name {
                return Ok(());
            }
            heredoc.content.push_str(line);
        }
        let what = format!("unterminated heredoc {:?}", heredoc.name);
        Err(Error::new(number, what))
    }
}

/// The line without the escape character that makes the next one a part of it, and whether there was one.
fn split_continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        // Twice, it is the character itself.
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

/// The here-documents that a line announces, empty yet.
fn heredocs(text: &str, escape: char) -> Vec<Heredoc> {
    let mut rest = text.trim_start();
    let word = |of: &mut &str| {
        let end = of.find(char::is_whitespace).unwrap_or(of.len());
        let (word, after) = of.split_at(end);
        *of = after.trim_start();
        word.to_ascii_uppercase()
    };
    let mut keyword = word(&mut rest);
    if keyword == "ONBUILD" {
        keyword = word(&mut rest);
    }
    if !matches!(keyword.as_str(), "ADD" | "COPY" | "RUN") {
        return Vec::new();
    }
    let lex = Lex::new(escape);
    let words = lex.raw_words(rest);
    words.iter().filter_map(|word| heredoc(word)).collect()
}

/// `3<<-NAME`, with or without number, dash, and quotes around the name.
fn heredoc(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.contains('<') {
        return None;
    }
    let name = Lex::new('\\').word(rest, &|_| None).ok()?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    Some(Heredoc {
        expand: !rest.contains(['\'', '"']),
        name,
        content: String::new(),
        chomp,
    })
}
