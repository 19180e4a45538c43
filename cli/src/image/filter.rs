//! `--filter` of `hull image ls`.

use std::str::FromStr;

use hull_image::Reference;
use hull_image::store::Summary;

/// A condition on images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Without a name, or with one.
    Dangling(bool),
    /// With a label, and perhaps a value of it.
    Label(String, Option<String>),
    /// With a name that fits a pattern, in which `*` stands for anything but a slash.
    Reference(String),
}

impl Filter {
    /// Whether the image as a whole fits.
    pub(super) fn fits(&self, image: &Summary) -> bool {
        match self {
            Self::Dangling(wanted) => image.names.is_empty() == *wanted,
            Self::Label(key, value) => image.labels.iter().any(|(found, content)| {
                found == key && value.as_ref().is_none_or(|value| value == content)
            }),
            Self::Reference(_) => true,
        }
    }

    /// Whether the image is to be listed under this name.
    pub(super) fn fits_name(&self, name: Option<&Reference>) -> bool {
        match (self, name) {
            (Self::Reference(pattern), Some(name)) => {
                let forms = [name.familiar(), name.to_string()];
                let bare = [name.familiar_name(), name.name()];
                forms.iter().chain(&bare).any(|form| glob(pattern, form))
            }
            (Self::Reference(_), None) => false,
            _ => true,
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is no filter; it looks like dangling=true"))?;
        match key {
            "dangling" => match value {
                "true" | "1" => Ok(Self::Dangling(true)),
                "false" | "0" => Ok(Self::Dangling(false)),
                _ => Err(format!("dangling is true or false, not {value:?}")),
            },
            "label" => Ok(match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(value.to_owned(), None),
            }),
            "reference" => Ok(Self::Reference(value.to_owned())),
            _ => Err(format!(
                "there is no filter {key:?}; there are dangling, label and reference"
            )),
        }
    }
}

/// Shell patterns with `*` and `?`, neither of which stands for a slash.
fn glob(pattern: &str, text: &str) -> bool {
    // The set of places in the pattern that can be reached; linear however many stars there are.
    let pattern: Vec<char> = pattern.chars().collect();
    let close = |places: &mut Vec<bool>| {
        for (at, c) in pattern.iter().enumerate() {
            if *c == '*' && places.get(at) == Some(&true) {
                places[at + 1] = true;
            }
        }
    };
    let mut places = vec![false; pattern.len() + 1];
    places[0] = true;
    close(&mut places);
    for c in text.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (at, p) in pattern.iter().enumerate() {
            if !places[at] {
                continue;
            }
            match p {
                '*' if c != '/' => next[at] = true,
                '*' => (),
                '?' if c != '/' => next[at + 1] = true,
                p if *p == c => next[at + 1] = true,
                _ => (),
            }
        }
        close(&mut next);
        places = next;
    }
    places.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::{Filter, glob};

    #[test]
    fn stars_stop_at_slashes() {
        for (pattern, text, fits) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/*:1?", "a/b:12", true),
            ("b?x", "box", true),
            ("box", "boxes", false),
            ("***x", "aax", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
        let stars = "*a".repeat(200);
        assert!(!glob(&stars, &"a".repeat(199)));
    }

    #[test]
    fn filters_are_parsed_or_explained() {
        assert_eq!("dangling=true".parse(), Ok(Filter::Dangling(true)));
        let label = Filter::Label("a".to_owned(), Some("b=c".to_owned()));
        assert_eq!("label=a=b=c".parse(), Ok(label));
        for wrong in ["dangling", "dangling=perhaps", "before=x"] {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
        }
    }
}
