//! The HTTP client beneath: TLS with the system's root certificates, redirections, proxies.

use std::time::Duration;

use reqwest::Url;

use super::error::Error;

const MAX_REDIRECTS: usize = 10;

/// A client that follows redirections, but never from TLS to plain text. `stall` limits connecting.
pub(super) fn http_client(
    may_be_plain: bool,
    loopback: bool,
    stall: Duration,
) -> Result<reqwest::Client, Error> {
    // Fails if somebody else installed one, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let redirects = reqwest::redirect::Policy::custom(|attempt| {
            let was_secure = |url: &Url| url.scheme() == "https";
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirections")
            } else if attempt.previous().iter().any(was_secure) && !was_secure(attempt.url()) {
                attempt.error("a redirection away from TLS")
            } else {
                attempt.follow()
            }
        });
        let builder = reqwest::Client::builder()
            .user_agent(concat!("hull/", env!("CARGO_PKG_VERSION")))
            .redirect(redirects)
            .connect_timeout(stall);
        // A proxy cannot reach what is on this machine.
        if loopback {
            builder.no_proxy()
        } else {
            builder
        }
    };
    match builder().build() {
        // A machine without root certificates can still use registries without TLS.
        Err(_) if may_be_plain => builder().tls_certs_only([]).build().map_err(Error::Tls),
        other => other.map_err(Error::Tls),
    }
}
