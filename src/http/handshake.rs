//! One TLS handshake: bounded in time and in number, with an answer for who speaks plain HTTP.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::{Standing, Tls};
use crate::gateway::ClientCertificate;

/// Handshakes at once. Each holds some 20 KiB and takes a millisecond or two of a small box's CPU.
pub(super) const AT_ONCE_MAX: usize = 256;

/// How long a handshake may take, the wait for its turn included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long somebody who does not speak TLS has to take the answer, and how much of the request is read away.
const FAREWELL: Duration = Duration::from_secs(1);
const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// With this a TLS client begins: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 22;

/// What a client is told that speaks plain HTTP.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 48\r\n\r\nthis port speaks TLS: use https:// here, or wss\n";

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) certificate: Option<ClientCertificate>,
    pub(super) standing: Standing,
}

/// Why a handshake failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// As metrics have it.
    pub(super) reason: &'static str,
    pub(super) text: String,
}

/// Makes the handshake by `tls`, which is the newest that `rules` have seen.
pub(super) async fn secure(
    stream: TcpStream,
    tls: &Tls,
    rules: watch::Receiver<Option<Tls>>,
    turns: &Semaphore,
) -> Result<Secured, Failure> {
    let failure = |reason, text: &str| Failure { reason, text: text.to_owned() };
    let mut is_waiting = true;
    let made = tokio::time::timeout(TIMEOUT, async {
        let _turn = turns.acquire().await;
        is_waiting = false;
        make(stream, tls, rules).await
    });
    match made.await {
        Ok(made) => made,
        Err(_) if is_waiting => Err(failure("crowded", "no turn within 10 s")),
        Err(_) => Err(failure("timeout", "not done within 10 s")),
    }
}

/// Answers who does not speak TLS; what was said is read away, so that closing does not become a reset.
async fn tell(mut stream: TcpStream) {
    let told = async {
        let _ = stream.write_all(SPEAK_TLS).await;
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream.take(REQUEST_BYTES_MAX), &mut tokio::io::sink()).await;
    };
    let _ = tokio::time::timeout(FAREWELL, told).await;
}

async fn make(stream: TcpStream, tls: &Tls, rules: watch::Receiver<Option<Tls>>) -> Result<Secured, Failure> {
    let failure = |reason, error: std::io::Error| Failure { reason, text: error.to_string() };
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Err(Failure { reason: "closed", text: "closed before it began".to_owned() }),
        Ok(_) if first != [HANDSHAKE_RECORD] => {
            tell(stream).await;
            return Err(Failure { reason: "plain_http", text: "the client does not speak TLS".to_owned() });
        }
        Ok(_) => {}
        Err(error) => return Err(failure("closed", error)),
    }
    let stream = TlsAcceptor::from(tls.server.clone()).accept(stream).await.map_err(|error| {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let reason = match cause {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => "certificate",
            Some(_) => "protocol",
            None => "closed",
        };
        failure(reason, error)
    })?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let (certificate, standing) = (tls.shown(chain), Standing::new(chain, rules));
    Ok(Secured { stream, certificate, standing })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::Clock;
    use crate::http::tls::load;
    use crate::http::{ClientAuth, TlsConfig, Versions};

    fn tls() -> Tls {
        let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name);
        let config = TlsConfig {
            cert_file: file("server.pem"),
            key_file: file("server.key"),
            client_ca_file: None,
            client_crl_file: None,
            client_auth: ClientAuth::None,
            client_allowed_sans: Vec::new(),
            versions: Versions::Both,
        };
        load(&config, &Clock::system()).unwrap()
    }

    /// Returns why the handshake failed with a client that says this and nothing more.
    async fn failure(said: &[u8], turns: &Semaphore) -> &'static str {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(said).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, (_keeper, rules)) = (tls(), watch::channel(None));
        let failure = secure(stream, &tls, rules, turns).await.unwrap_err().reason;
        drop(client);
        failure
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_does_not_end_is_cut_off() {
        let turns = Semaphore::new(1);
        assert_eq!(failure(b"", &turns).await, "timeout");
        assert_eq!(failure(&[HANDSHAKE_RECORD, 3, 1, 2, 0, 1], &turns).await, "timeout");
        let _taken = turns.acquire().await.unwrap();
        assert_eq!(failure(b"", &turns).await, "crowded");
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_told_apart() {
        let turns = Semaphore::new(1);
        assert_eq!(failure(b"GET / HTTP/1.1\r\n\r\n", &turns).await, "plain_http");
        assert_eq!(failure(&[HANDSHAKE_RECORD, 3, 1, 0, 4, 9, 9, 9, 9], &turns).await, "protocol");
    }
}
