//! The head of a request: its line and its header fields.

use httparse::{EMPTY_HEADER, Header, Status};

use crate::fault::Fault;

/// Most header fields of a request.
const MAX_FIELDS: usize = 64;

/// What is of interest in a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: BodyLength,
    /// The client keeps its body back until it is told to go on.
    pub(super) expects_continue: bool,
    pub(super) keep_alive: bool,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// So many bytes; 0 if nothing is said.
    Known(u64),
    /// It comes in chunks and says when it ends.
    Chunked,
}

impl Head {
    /// Reads a head from the beginning of `bytes`, and how many of them it has; `None` if its end is not there yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(bytes) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Fault::bad_request(format!(
                    "Invalid request: there are more than {MAX_FIELDS} header fields."
                )));
            }
            Err(error) => {
                return Err(Fault::bad_request(format!("Invalid request: {error}.")));
            }
        };
        let http11 = request.version == Some(1);
        let head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            path: request.path.unwrap_or_default().to_owned(),
            body: body_length(request.headers)?,
            expects_continue: http11 && expects_continue(request.headers)?,
            keep_alive: keep_alive(request.headers, http11),
        };
        Ok(Some((head, length)))
    }
}

/// RFC 9112, 6.3. Whoever says it twice or in two ways could mean two different requests, which is refused.
fn body_length(fields: &[Header<'_>]) -> Result<BodyLength, Fault> {
    let mut length = None;
    for value in values(fields, "content-length") {
        let text = text(value).unwrap_or_default();
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let parsed = text.parse::<u64>().ok().filter(|_| digits);
        let parsed = parsed
            .ok_or_else(|| Fault::bad_request("Invalid header: Content-Length is no number."))?;
        if length.replace(parsed).is_some_and(|other| other != parsed) {
            return Err(Fault::bad_request(
                "Invalid header: Content-Length is there twice.",
            ));
        }
    }
    let mut chunked = false;
    for value in values(fields, "transfer-encoding") {
        match text(value) {
            Some(text) if text.eq_ignore_ascii_case("identity") => {}
            Some(text) if text.eq_ignore_ascii_case("chunked") && !chunked => chunked = true,
            _ => {
                return Err(Fault::bad_request(
                    "Invalid header: Transfer-Encoding can only be chunked.",
                ));
            }
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Fault::bad_request(
            "Invalid header: Content-Length and Transfer-Encoding exclude each other.",
        )),
        (None, true) => Ok(BodyLength::Chunked),
        (length, false) => Ok(BodyLength::Known(length.unwrap_or(0))),
    }
}

/// RFC 9110, 10.1.1.
fn expects_continue(fields: &[Header<'_>]) -> Result<bool, Fault> {
    let mut expects = false;
    for value in values(fields, "expect") {
        if !text(value).is_some_and(|text| text.eq_ignore_ascii_case("100-continue")) {
            return Err(Fault::bad_request(
                "Invalid header: Expect can only be 100-continue.",
            ));
        }
        expects = true;
    }
    Ok(expects)
}

/// RFC 9112, 9.3.
fn keep_alive(fields: &[Header<'_>], http11: bool) -> bool {
    let options = || {
        let values = values(fields, "connection");
        values.filter_map(text).flat_map(|text| text.split(','))
    };
    let has = |name: &str| options().any(|option| option.trim().eq_ignore_ascii_case(name));
    !has("close") && (http11 || has("keep-alive"))
}

fn values<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let named = fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| field.value)
}

fn text(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok().map(str::trim)
}
