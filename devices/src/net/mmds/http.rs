//! Requests and answers (RFC 9112), as far as a metadata service needs them. Pure: bytes in, bytes out.

use std::time::Duration;

use super::query::{Format, NotFound};
use super::store::{Mmds, Version};

/// Header fields of a request; one with more is refused.
const MAX_FIELDS: usize = 32;
/// The most bytes of a body, which nobody reads.
const MAX_BODY: u64 = 4096;
/// Where tokens come from.
const TOKEN_PATH: [&str; 3] = ["latest", "api", "token"];
/// Each name twice: EC2's is understood as well.
const TOKEN_FIELDS: [&str; 2] = ["x-metadata-token", "x-aws-ec2-metadata-token"];
const TTL_FIELDS: [&str; 2] = [
    "x-metadata-token-ttl-seconds",
    "x-aws-ec2-metadata-token-ttl-seconds",
];

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    method: &'a str,
    path: &'a str,
    accepts_json: bool,
    token: Option<&'a str>,
    /// The field that it came in, and the seconds.
    ttl: Option<(&'static str, &'a str)>,
    /// It came through a proxy, which may be one that somebody tricked.
    is_forwarded: bool,
    /// Bytes of the head.
    pub(super) len: usize,
    /// Bytes of the body.
    pub(super) body: u64,
    /// The connection is to stay open.
    pub(super) keep_alive: bool,
}

/// Reads the head of a request; none if it is not yet complete.
///
/// # Errors
/// The answer to bytes that are no request.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Request<'_>>, Vec<u8>> {
    let bad = |what| Err(answer(400, "text/plain", &[], what, false));
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return bad("This is not an HTTP request."),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return bad("This is not an HTTP request.");
    };
    let mut request = Request {
        method,
        path: path_of(target),
        accepts_json: false,
        token: None,
        ttl: None,
        is_forwarded: false,
        len,
        body: 0,
        keep_alive: version == 1,
    };
    for field in head.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let Ok(value) = std::str::from_utf8(field.value).map(str::trim) else {
            return bad("A header field is not text.");
        };
        if is("content-length") {
            match value.parse() {
                Ok(body) if body <= MAX_BODY => request.body = body,
                _ => return bad("The body is too long."),
            }
        } else if is("transfer-encoding") {
            return bad("A body must have a Content-Length.");
        } else if is("connection") {
            let options = value.split(',').map(str::trim);
            for option in options {
                if option.eq_ignore_ascii_case("close") {
                    request.keep_alive = false;
                } else if option.eq_ignore_ascii_case("keep-alive") {
                    request.keep_alive = true;
                }
            }
        } else if is("accept") {
            request.accepts_json |= value.split(',').any(is_json);
        } else if is("x-forwarded-for") {
            request.is_forwarded = true;
        } else if TOKEN_FIELDS.into_iter().any(is) {
            request.token = Some(value);
        } else if let Some(name) = TTL_FIELDS.into_iter().find(|name| is(name)) {
            request.ttl = Some((name, value));
        }
    }
    Ok(Some(request))
}

/// The answer to a request.
pub(super) fn respond(request: &Request<'_>, mmds: &Mmds, now: Duration) -> Vec<u8> {
    match request.method {
        "GET" => get(request, mmds, now),
        "PUT" => put(request, mmds, now),
        _ => {
            let allow = ("Allow", "GET, PUT");
            let body = if request.method == "HEAD" {
                ""
            } else {
                "Only GET and PUT are answered."
            };
            answer(405, "text/plain", &[allow], body, request.keep_alive)
        }
    }
}

fn get(request: &Request<'_>, mmds: &Mmds, now: Duration) -> Vec<u8> {
    let text = |code, body: &str| answer(code, "text/plain", &[], body, request.keep_alive);
    if mmds.config().version == Version::V2 {
        match request.token {
            None => {
                mmds.count().rx_no_token.count();
                return text(
                    401,
                    "This needs a session token in X-metadata-token: get one by a PUT to /latest/api/token.",
                );
            }
            Some(token) if !mmds.is_valid_token(token, now) => {
                mmds.count().rx_invalid_token.count();
                return text(401, "The session token is not valid, or no longer.");
            }
            Some(_) => {}
        }
    }
    let (format, kind) = if request.accepts_json && !mmds.config().imds_compat {
        (Format::Json, "application/json")
    } else {
        (Format::Text, "text/plain")
    };
    match mmds.look_up(request.path, format) {
        Ok(body) => answer(200, kind, &[], &body, request.keep_alive),
        Err(NotFound::Nothing) => text(404, &format!("There is nothing at {}.", request.path)),
        Err(NotFound::NoText) => text(
            501,
            "The value is neither a string nor an object: ask for it with Accept: application/json.",
        ),
    }
}

fn put(request: &Request<'_>, mmds: &Mmds, now: Duration) -> Vec<u8> {
    let text = |code, body: &str| answer(code, "text/plain", &[], body, request.keep_alive);
    if request.is_forwarded {
        return text(400, "Tokens are not given to forwarded requests.");
    }
    let parts = request.path.split('/').filter(|part| !part.is_empty());
    if !parts.eq(TOKEN_PATH) {
        return text(404, &format!("There is nothing at {}.", request.path));
    }
    let Some((name, ttl)) = request.ttl else {
        return text(400, "Say for how long in X-metadata-token-ttl-seconds.");
    };
    match mmds.issue_token(ttl, now) {
        Ok(token) => answer(
            200,
            "text/plain",
            &[(name, ttl)],
            &token,
            request.keep_alive,
        ),
        Err(error) => text(400, &format!("{error}.")),
    }
}

/// An answer that ends a connection whose request is too long to be one.
pub(super) fn too_long() -> Vec<u8> {
    answer(431, "text/plain", &[], "The request is too long.", false)
}

fn answer(code: u16, kind: &str, fields: &[(&str, &str)], body: &str, keep_alive: bool) -> Vec<u8> {
    let reason = match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Not Implemented",
    };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut answer = format!("HTTP/1.1 {code} {reason}\r\n");
    let length = body.len().to_string();
    let always = [
        ("Connection", connection),
        ("Content-Type", kind),
        ("Content-Length", &length),
    ];
    for (name, value) in always.iter().chain(fields) {
        answer.push_str(name);
        answer.push_str(": ");
        answer.push_str(value);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    answer.push_str(body);
    answer.into_bytes()
}

/// The path of a target, which may be a whole URL, without a query.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest
            .find('/')
            .and_then(|slash| rest.get(slash..))
            .unwrap_or("/"),
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}

fn is_json(range: &str) -> bool {
    let kind = range.split(';').next().unwrap_or(range).trim();
    kind.eq_ignore_ascii_case("application/json")
}
