//! What guards every path: headers on each answer, and no changes on behalf of a stranger's page.

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Only our own files, nothing inline, no frames.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Headers that every answer has.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: then a browser calls the origin of a form `null`, and without TLS that is all that it says.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds the headers that every answer has; only hashed assets say themselves how long they may be kept.
pub(super) fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses requests that change something and were started by a page of another origin.
///
/// Browsers say where a request comes from in `Sec-Fetch-Site` or, older ones, in `Origin`; programs that are
/// no browsers send neither and are let through.
pub(super) async fn same_origin(request: Request, next: Next) -> Response {
    if is_safe(request.method()) || is_own(request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "this request was started by a page of another origin\n").into_response()
}

/// Answers `OPTIONS` of any path of Prometheus's API with nothing, as upstream does. That it says nothing about other
/// origins is the answer to a browser that asks on behalf of one.
pub(super) async fn options(request: Request, next: Next) -> Response {
    if *request.method() == Method::OPTIONS && request.uri().path().starts_with("/api/v1/") {
        return StatusCode::NO_CONTENT.into_response();
    }
    next.run(request).await
}

/// Tells whether a path is among what devices need: their own, the files of their clients, whether the box is well.
pub(super) fn is_for_devices(path: &str) -> bool {
    matches!(path, "/ws" | "/-/healthy" | "/-/ready") || path.starts_with("/sdk/")
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = text(header::HOST).unwrap_or("");
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: bool) {
        let headers: HeaderMap =
            pairs.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap())).collect();
        assert_eq!(is_own(&headers), expected, "{pairs:?}");
    }

    #[test]
    fn only_our_own_pages_and_programs_may_change_something() {
        check(&[("host", "box:26366")], true);
        check(&[("host", "box:26366"), ("origin", "http://box:26366")], true);
        check(&[("host", "box:26366"), ("origin", "https://evil.example")], false);
        check(&[("host", "box:26366"), ("origin", "null")], false);
        check(&[("host", "box:26366"), ("sec-fetch-site", "same-origin")], true);
        check(&[("host", "box:26366"), ("sec-fetch-site", "cross-site"), ("origin", "http://box:26366")], false);
        check(&[("host", "box:26366"), ("sec-fetch-site", "same-site")], false);
    }
}
