//! Words as a shell would see them: quotes, escapes and variables, as Docker's builder has them.

use super::pattern;

/// `${A:-${B:-...}}` may go as deep as this.
const MAX_DEPTH: usize = 32;
/// Longest text that a substitution may make, in bytes.
const MAX_RESULT: usize = 1 << 20;

/// What a variable stands for, if it is set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Takes words apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lex {
    escape: char,
}

impl Lex {
    pub(super) fn new(escape: char) -> Self {
        Self { escape }
    }

    /// `text` without quotes and escapes, and with the values of variables in it; one word, whatever blanks are in it.
    pub(super) fn word(self, text: &str, variables: Lookup<'_>) -> Result<String, String> {
        let mut scan = Scan::new(self, text, variables);
        let mut out = Out::one();
        scan.until(None, &mut out)?;
        Ok(out.into_word())
    }

    /// The same, with blanks outside of quotes between words, also those in the values of variables.
    pub(super) fn words(self, text: &str, variables: Lookup<'_>) -> Result<Vec<String>, String> {
        let mut scan = Scan::new(self, text, variables);
        let mut out = Out::many();
        scan.until(None, &mut out)?;
        Ok(out.into_words())
    }

    /// `text` with the values of variables in it, and with all its quotes and escapes: a here-document.
    pub(super) fn document(self, text: &str, variables: Lookup<'_>) -> Result<String, String> {
        let mut scan = Scan::new(self, text, variables);
        let mut out = Out::one();
        while let Some(c) = scan.rest.next() {
            match c {
                '$' => {
                    let value = scan.dollar()?;
                    out.value(&value, true)?;
                }
                c if c == self.escape => {
                    out.literal(c);
                    if let Some(next) = scan.rest.next() {
                        out.literal(next);
                    }
                }
                c => out.literal(c),
            }
        }
        Ok(out.into_word())
    }

    pub(super) fn escape(self) -> char {
        self.escape
    }

    /// `text` without quotes and escapes, in which a dollar is nothing special; as it stands if its quotes do not match.
    pub(super) fn literal(self, text: &str) -> String {
        let dollar = |name: &str| Some(format!("${name}"));
        let plain = !text.contains("${");
        let word = plain.then(|| self.word(text, &dollar).ok()).flatten();
        word.unwrap_or_else(|| text.to_owned())
    }

    /// The first of [`Lex::raw_words`]; `text` must begin with it.
    pub(super) fn first_raw_word(self, text: &str) -> &str {
        let mut quote = None;
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => return text.get(..at).unwrap_or_default(),
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ => {}
            }
            if c == self.escape {
                chars.next();
            }
        }
        text
    }

    /// Words with their quotes and escapes, which keep blanks from ending them.
    pub(super) fn raw_words(self, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut quote = None;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    if !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                    continue;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ => {}
            }
            word.push(c);
            if c == self.escape {
                word.extend(chars.next());
            }
        }
        if !word.is_empty() {
            words.push(word);
        }
        words
    }
}

/// Where characters go.
struct Out {
    words: Vec<String>,
    word: String,
    /// There is a word, though it may be empty because it was quoted.
    begun: bool,
    splits: bool,
}

impl Out {
    fn one() -> Self {
        Self {
            words: Vec::new(),
            word: String::new(),
            begun: false,
            splits: false,
        }
    }

    fn many() -> Self {
        let splits = true;
        Self {
            splits,
            ..Self::one()
        }
    }

    /// A character that stands for itself.
    fn literal(&mut self, c: char) {
        self.begun = true;
        self.word.push(c);
    }

    /// A character that ends a word if it is blank.
    fn plain(&mut self, c: char) {
        if self.splits && c.is_whitespace() {
            if self.begun {
                self.words.push(std::mem::take(&mut self.word));
                self.begun = false;
            }
        } else {
            self.literal(c);
        }
    }

    fn value(&mut self, value: &str, quoted: bool) -> Result<(), String> {
        if self.word.len() + value.len() > MAX_RESULT {
            return Err("substitution makes more than 1 MiB".to_owned());
        }
        for c in value.chars() {
            if quoted {
                self.literal(c);
            } else {
                self.plain(c);
            }
        }
        Ok(())
    }

    fn into_word(self) -> String {
        self.word
    }

    fn into_words(mut self) -> Vec<String> {
        if self.begun {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Scan<'a> {
    lex: Lex,
    rest: std::str::Chars<'a>,
    variables: Lookup<'a>,
    depth: usize,
}

impl<'a> Scan<'a> {
    fn new(lex: Lex, text: &'a str, variables: Lookup<'a>) -> Self {
        Self {
            lex,
            rest: text.chars(),
            variables,
            depth: 0,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    /// Reads to the end, or to `stop`, which is taken.
    fn until(&mut self, stop: Option<char>, out: &mut Out) -> Result<(), String> {
        while let Some(c) = self.rest.next() {
            match c {
                _ if Some(c) == stop => return Ok(()),
                '\'' => self.single(out)?,
                '"' => self.double(out)?,
                '$' => {
                    let value = self.dollar()?;
                    out.value(&value, false)?;
                }
                _ if c == self.lex.escape => {
                    if let Some(next) = self.rest.next() {
                        out.literal(next);
                    }
                }
                _ => out.plain(c),
            }
        }
        match stop {
            None => Ok(()),
            Some(stop) => Err(format!(
                "unexpected end of statement while looking for matching {stop}"
            )),
        }
    }

    fn single(&mut self, out: &mut Out) -> Result<(), String> {
        out.begun = true;
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.literal(c),
                None => {
                    let what =
                        "unexpected end of statement while looking for matching single-quote";
                    return Err(what.to_owned());
                }
            }
        }
    }

    fn double(&mut self, out: &mut Out) -> Result<(), String> {
        out.begun = true;
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.dollar()?;
                    out.value(&value, true)?;
                }
                Some(c) if c == self.lex.escape => match self.peek() {
                    Some(next) if next == '"' || next == '$' || next == self.lex.escape => {
                        self.rest.next();
                        out.literal(next);
                    }
                    // Without a meaning it stands for itself.
                    _ => out.literal(c),
                },
                Some(c) => out.literal(c),
                None => {
                    let what =
                        "unexpected end of statement while looking for matching double-quote";
                    return Err(what.to_owned());
                }
            }
        }
    }

    /// What follows a dollar.
    fn dollar(&mut self) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok((self.variables)(&name).unwrap_or_default());
        }
        self.rest.next();
        if self.peek() == Some('}') {
            return Err("bad substitution: ${} has no name".to_owned());
        }
        let name = self.name();
        if name.is_empty() {
            return Err("syntax error: bad substitution".to_owned());
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("substitutions are nested too deeply".to_owned());
        }
        let value = self.modified(&name);
        self.depth -= 1;
        value
    }

    /// What follows a name in braces.
    fn modified(&mut self, name: &str) -> Result<String, String> {
        let value = (self.variables)(name);
        let mut operator = match self.rest.next() {
            Some('}') => return Ok(value.unwrap_or_default()),
            Some(c) => c,
            None => return Err(format!("syntax error: missing '}}' after ${{{name}")),
        };
        let mut counts = value.clone();
        if operator == ':' {
            // Then what is empty is as good as unset.
            counts = counts.filter(|value| !value.is_empty());
            operator = self.rest.next().unwrap_or('}');
            if !matches!(operator, '+' | '-' | '?') {
                return Err(format!(
                    "unsupported modifier (:{operator}) in substitution"
                ));
            }
        }
        match operator {
            '+' | '-' | '?' => {
                let word = self.operand('}')?;
                match (operator, counts) {
                    ('+', Some(_)) => Ok(word),
                    ('+', None) => Ok(String::new()),
                    (_, Some(value)) => Ok(value),
                    ('-', None) => Ok(word),
                    (_, None) if word.is_empty() => Err(format!("{name}: not allowed to be unset")),
                    (_, None) => Err(format!("{name}: {word}")),
                }
            }
            '#' | '%' => {
                let longest = self.peek() == Some(operator);
                if longest {
                    self.rest.next();
                }
                let pattern = self.operand('}')?;
                let value = value.unwrap_or_default();
                Ok(if operator == '#' {
                    pattern::without_prefix(&value, &pattern, longest).to_owned()
                } else {
                    pattern::without_suffix(&value, &pattern, longest).to_owned()
                })
            }
            '/' => {
                let all = self.peek() == Some('/');
                if all {
                    self.rest.next();
                }
                let pattern = self.operand('/')?;
                let replacement = self.operand('}')?;
                pattern::replace(&value.unwrap_or_default(), &pattern, &replacement, all)
            }
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    fn operand(&mut self, stop: char) -> Result<String, String> {
        let mut out = Out::one();
        self.until(Some(stop), &mut out)?;
        Ok(out.into_word())
    }

    /// A name, a number, or one of the shell's own signs.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    name.push(c);
                    self.rest.next();
                }
            }
            Some(c @ ('@' | '*' | '#')) => {
                name.push(c);
                self.rest.next();
            }
            _ => {
                let part = |c: &char| c.is_alphanumeric() || *c == '_';
                while let Some(c) = self.peek().filter(part) {
                    name.push(c);
                    self.rest.next();
                }
            }
        }
        name
    }
}
