//! `WWW-Authenticate` (RFC 9110, section 11.6.1) and the token server of Docker's registry
//! authentication.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token from `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The token server's answer. Old servers call the token `token`, OAuth 2 calls it `access_token`.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

impl TokenAnswer {
    /// What may take the place of the password from now on, if the server gives such out.
    pub(crate) fn identity(&self) -> Option<String> {
        let token = self.refresh_token.clone();
        token.filter(|token| !token.is_empty())
    }

    pub(crate) fn into_token(self) -> Option<String> {
        self.token
            .or(self.access_token)
            .filter(|token| !token.is_empty())
    }
}

/// The value of `Authorization` for a name and a password.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The challenges of one header that we can answer.
pub(crate) fn challenges(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            // Not ours to understand: look on after the next comma.
            rest = match rest.split_once(',') {
                Some((_, after)) => after.trim_start(),
                None => "",
            };
            continue;
        }
        let (parameters, after) = parameters(after.trim_start());
        rest = after;
        let value = |name: &str| {
            let mut all = parameters.iter();
            all.find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = value("realm")
        {
            found.push(Challenge::Bearer {
                realm,
                service: value("service"),
                scope: value("scope"),
            });
        }
    }
    found
}

/// `name=value` pairs, separated by commas, until something else comes (the next scheme).
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let (name, after) = token(text);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return (found, text);
        };
        let (value, after) = value(after.trim_start());
        found.push((name.to_owned(), value));
        text = after.trim_start();
        match text.strip_prefix(',') {
            Some(after) => text = after.trim_start(),
            None => return (found, text),
        }
    }
}

fn token(text: &str) -> (&str, &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // More than a token may have, because addresses come without quotes too.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}
