//! From logical lines to instructions.

use super::Error;
use super::instruction::{Arguments, Healthcheck, Instruction, Keyword};
use super::source::{Logical, Source};
use super::words::Lex;

/// Most instructions of a Dockerfile.
const MAX_INSTRUCTIONS: usize = 4096;

/// A Dockerfile that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// What it consists of, in order.
    pub instructions: Vec<Instruction>,
    /// What keeps a character from meaning something.
    pub(super) escape: char,
}

/// Reads a Dockerfile.
///
/// # Errors
/// When it has an unknown instruction, or one without the arguments that it needs.
pub fn parse(text: &str) -> Result<Dockerfile, Error> {
    let Source { escape, lines } = Source::parse(text)?;
    if lines.len() > MAX_INSTRUCTIONS {
        return Err(Error::new(
            1,
            format!("it has more than {MAX_INSTRUCTIONS} instructions"),
        ));
    }
    let instructions = lines
        .into_iter()
        .map(|line| instruction(line, escape, false));
    Ok(Dockerfile {
        instructions: instructions.collect::<Result<_, _>>()?,
        escape,
    })
}

fn instruction(line: Logical, escape: char, is_trigger: bool) -> Result<Instruction, Error> {
    let wrong = |what: String| Error::new(line.number, what);
    let text = line.text.trim();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let keyword = Keyword::find(word)
        .ok_or_else(|| wrong(format!("unknown instruction: {}", word.to_uppercase())))?;
    if is_trigger
        && matches!(
            keyword,
            Keyword::Onbuild | Keyword::From | Keyword::Maintainer
        )
    {
        let what = match keyword {
            Keyword::Onbuild => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
            _ => format!("{keyword} isn't allowed as an ONBUILD trigger"),
        };
        return Err(wrong(what));
    }
    let lex = Lex::new(escape);
    let (flags, rest) = flags(rest, lex);
    if rest.is_empty() {
        let what = match keyword {
            // Nothing is a meaning here: what the image below has is taken away.
            Keyword::Cmd | Keyword::Entrypoint => None,
            Keyword::From => Some("FROM requires either one or three arguments".to_owned()),
            Keyword::Env | Keyword::Label | Keyword::Arg | Keyword::Expose => {
                Some(format!("{keyword} requires at least one argument"))
            }
            Keyword::Copy | Keyword::Add => {
                Some(format!("{keyword} requires at least two arguments"))
            }
            _ => Some(format!("{keyword} requires exactly one argument")),
        };
        if let Some(what) = what {
            return Err(wrong(what));
        }
    }
    let arguments = arguments(keyword, rest, lex, &line)?;
    Ok(Instruction {
        line: line.number,
        keyword,
        flags,
        arguments,
        heredocs: line.heredocs.clone(),
        original: text.to_owned(),
    })
}

fn arguments(keyword: Keyword, rest: &str, lex: Lex, line: &Logical) -> Result<Arguments, Error> {
    let wrong = |what: String| Error::new(line.number, what);
    let list = || json(rest).map_err(wrong);
    let text = || Arguments::Text(rest.to_owned());
    Ok(match keyword {
        Keyword::Run | Keyword::Cmd | Keyword::Entrypoint => {
            list()?.map_or_else(text, Arguments::Exec)
        }
        Keyword::Shell => {
            Arguments::Exec(list()?.filter(|list| !list.is_empty()).ok_or_else(|| {
                wrong("SHELL requires the arguments to be in JSON form".to_owned())
            })?)
        }
        Keyword::Volume | Keyword::Add | Keyword::Copy => {
            let words = match list()? {
                Some(words) => Arguments::Exec(words),
                None => Arguments::Words(lex.raw_words(rest)),
            };
            let (Arguments::Exec(found) | Arguments::Words(found)) = &words else {
                return Ok(words);
            };
            if keyword != Keyword::Volume && found.len() < 2 {
                return Err(wrong(format!("{keyword} requires at least two arguments")));
            }
            words
        }
        Keyword::From | Keyword::Expose => Arguments::Words(lex.raw_words(rest)),
        Keyword::Env | Keyword::Label => {
            Arguments::Pairs(pairs(keyword, rest, lex).map_err(wrong)?)
        }
        Keyword::Arg => {
            let words = lex
                .raw_words(rest)
                .into_iter()
                .map(|word| match word.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (word, None),
                });
            let pairs: Vec<_> = words.collect();
            if pairs.iter().any(|(name, _)| name.is_empty()) {
                return Err(wrong("ARG names can not be blank".to_owned()));
            }
            Arguments::Pairs(pairs)
        }
        Keyword::Healthcheck => Arguments::Healthcheck(healthcheck(rest).map_err(wrong)?),
        Keyword::Onbuild => {
            let inner = Logical {
                text: rest.to_owned(),
                ..line.clone()
            };
            Arguments::Onbuild(Box::new(instruction(inner, lex.escape(), true)?))
        }
        Keyword::Workdir | Keyword::User | Keyword::Stopsignal | Keyword::Maintainer => text(),
    })
}

/// The `--name=value` at the beginning, and the rest.
fn flags(text: &str, lex: Lex) -> (Vec<(String, Option<String>)>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let word = lex.first_raw_word(rest);
        rest = rest.get(word.len()..).unwrap_or_default().trim_start();
        let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            break;
        };
        let plain = |text: &str| lex.literal(text);
        flags.push(match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(plain(value))),
            None => (flag.to_owned(), None),
        });
    }
    (flags, rest)
}

/// A list of strings, if `text` is JSON at all; other text is a command for the shell.
fn json(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let string = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => {
            Err("when using JSON array syntax, arrays must be comprised of strings only".to_owned())
        }
    };
    values
        .into_iter()
        .map(string)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `NAME=VALUE NAME=VALUE`, or as it was before that, `NAME VALUE`.
fn pairs(keyword: Keyword, text: &str, lex: Lex) -> Result<Vec<(String, Option<String>)>, String> {
    let words = lex.raw_words(text);
    if words.first().is_some_and(|word| !word.contains('=')) {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (name, value) = text.split_at(end);
        let value = value.trim_start();
        if value.is_empty() {
            return Err(format!("{keyword} must have two arguments"));
        }
        return Ok(vec![(name.to_owned(), Some(value.to_owned()))]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(format!("{keyword} names can not be blank")),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Err(format!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        )),
    };
    words.into_iter().map(pair).collect()
}

fn healthcheck(text: &str) -> Result<Healthcheck, String> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (kind, rest) = text.split_at(end);
    let rest = rest.trim();
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => Ok(Healthcheck::None),
        "NONE" => Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "CMD" => match json(rest)? {
            Some(list) if list.is_empty() => {
                Err("Missing command after HEALTHCHECK CMD".to_owned())
            }
            Some(list) => Ok(Healthcheck::Exec(list)),
            None if rest.is_empty() => Err("Missing command after HEALTHCHECK CMD".to_owned()),
            None => Ok(Healthcheck::Shell(rest.to_owned())),
        },
        _ => Err(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)")),
    }
}
