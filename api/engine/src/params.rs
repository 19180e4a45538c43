//! The parameters of a request's query, read as Docker reads them.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::error::ApiError;
use crate::filters::Filters;

/// The decoded query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The first value of a parameter, also an empty one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The first value of a parameter that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a parameter that may come several times.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named =
            move |(known, value): &'a (String, String)| (known == name).then_some(value.as_str());
        self.0.iter().filter_map(named)
    }

    /// Whether a parameter says yes: anything but nothing, `0`, `no`, `false` and `none`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(is_true)
    }

    /// [`Params::flag`], with what holds where the parameter is missing.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, is_true)
    }

    /// A parameter that is a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.trim()
                .parse()
                .map_err(|_| ApiError::invalid(format!("invalid {name}: {text:?} is not a number")))
        };
        self.text(name).map(parse).transpose()
    }

    /// The parameter `filters`, of which only these are known.
    pub(crate) fn filters(&self, known: &[&str]) -> Result<Filters, ApiError> {
        Filters::parse(self.text("filters").unwrap_or_default(), known)
    }
}

fn is_true(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_docker_s() {
        let params = Params::parse("a=1&b=true&c=0&d=False&e=&f=none&g&h=yes&i=%31");
        for (name, value) in [
            ("a", true),
            ("b", true),
            ("c", false),
            ("d", false),
            ("e", false),
            ("f", false),
            ("g", false),
            ("h", true),
            ("i", true),
            ("missing", false),
        ] {
            assert_eq!(params.flag(name), value, "{name}");
        }
    }

    #[test]
    fn numbers_are_numbers_or_errors() {
        let params = Params::parse("h=24&w=wide&n=-1&e=");
        assert_eq!(params.number::<u16>("h").unwrap(), Some(24));
        assert_eq!(params.number::<i64>("n").unwrap(), Some(-1));
        assert_eq!(params.number::<u16>("e").unwrap(), None);
        assert!(params.number::<u16>("n").is_err());
        let error = params.number::<u16>("w").unwrap_err();
        assert_eq!(error.message, "invalid w: \"wide\" is not a number");
    }
}
