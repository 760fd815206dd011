//! `/ws`: the handshake of RFC 6455; the socket goes to the gateway.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{StatusCode, Version};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::AppState;
use super::server::Peer;
use super::tls::Standing;
use crate::gateway::{ClientCertificate, Refused};

/// Seconds after which a socket that was turned away may try again.
const RETRY_AFTER_S: &str = "1";

/// Returns the devices' path.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/ws", get(upgrade))
}

async fn upgrade(State(state): State<AppState>, Extension(peer): Extension<Peer>, mut request: Request) -> Response {
    let key = match handshake_key(request.version(), request.headers()) {
        Ok(key) => key.to_owned(),
        Err(refusal) => return *refusal,
    };
    let authorization = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or(""));
    let certificate = request.extensions().get::<Arc<ClientCertificate>>().cloned();
    let admission = match state.gateway.admit(peer.0.ip(), authorization, certificate).await {
        Ok(admission) => admission,
        Err(reason @ Refused::Token(_)) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge, format!("{reason}\n")).into_response();
        }
        Err(reason @ Refused::TurnedAway(_)) => {
            let later = [(header::RETRY_AFTER, RETRY_AFTER_S)];
            return (StatusCode::TOO_MANY_REQUESTS, later, format!("{reason}\n")).into_response();
        }
    };
    let judgements = request.extensions_mut().remove::<Standing>().map(Standing::judgements);
    let upgraded = hyper::upgrade::on(&mut request);
    state.gateway.serve(admission, judgements, async move { upgraded.await.map(TokioIo::new) });
    let headers =
        [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_ACCEPT, key.as_str())];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

/// Checks the request's headers; returns the key that proves to the client that it was understood.
fn handshake_key(version: Version, headers: &HeaderMap) -> Result<String, Box<Response>> {
    let has_token = |name: HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let refuse = |text: &'static str| Box::new((StatusCode::BAD_REQUEST, text).into_response());
    if !has_token(header::CONNECTION, "upgrade") || !has_token(header::UPGRADE, "websocket") {
        let how = [(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")];
        return Err(Box::new(
            (StatusCode::UPGRADE_REQUIRED, how, "devices connect here by WebSocket\n").into_response(),
        ));
    }
    if version != Version::HTTP_11 {
        return Err(refuse("a WebSocket upgrade needs HTTP/1.1\n"));
    }
    if !has_token(header::SEC_WEBSOCKET_VERSION, "13") {
        let known = [(header::SEC_WEBSOCKET_VERSION, "13")];
        let text = "only WebSocket version 13 is spoken\n";
        return Err(Box::new((StatusCode::UPGRADE_REQUIRED, known, text).into_response()));
    }
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) if is_key(key.as_bytes()) => Ok(derive_accept_key(key.as_bytes())),
        Some(_) => Err(refuse("Sec-WebSocket-Key is not 16 bytes in base64\n")),
        None => Err(refuse("Sec-WebSocket-Key is missing\n")),
    }
}

/// Tells whether a key is 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the status for a request with these headers; 101 for one that is accepted.
    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: u16) {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        let status = match handshake_key(Version::HTTP_11, &headers) {
            Ok(_) => 101,
            Err(refusal) => refusal.status().as_u16(),
        };
        assert_eq!(status, expected, "{headers:?}");
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");
    const UPGRADE: (&str, &str) = ("upgrade", "WebSocket");

    #[test]
    fn the_handshake_is_checked() {
        let connection = ("connection", "keep-alive, Upgrade");
        check(&[connection, UPGRADE, VERSION, KEY], 101);
        check(&[], 426);
        check(&[connection, VERSION, KEY], 426);
        check(&[("connection", "close"), UPGRADE, VERSION, KEY], 426);
        check(&[connection, UPGRADE, ("sec-websocket-version", "8"), KEY], 426);
        check(&[connection, UPGRADE, VERSION], 400);
        check(&[connection, UPGRADE, VERSION, ("sec-websocket-key", "YQ==")], 400);
    }

    #[test]
    fn the_key_is_answered_as_the_standard_says() {
        let headers = [("connection", "upgrade"), UPGRADE, VERSION, KEY];
        let headers: HeaderMap =
            headers.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap())).collect();
        assert_eq!(handshake_key(Version::HTTP_11, &headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
