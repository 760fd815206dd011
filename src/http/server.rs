//! Listening, serving, draining.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::handshake::{self, Secured};
use super::instruments::Instruments;
use super::patient::Patient;
use super::tls::{self, Keeper, Standing, Tls, TlsConfig};
use super::{AppState, Config, Error, Result, guard};
use crate::clock::Clock;
use crate::gateway::ClientCertificate;
use crate::instrument::Registry;
use crate::task::{OnPanic, Phase, Tasks};

/// What one connection too many is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\n\
    content-type: text/plain\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

/// Connections that may wait for a place; one more is refused at once.
const WAITING_MAX: usize = 256;

/// How long one may wait: longer than an idle connection keeps its place.
const WAITS_MAX: Duration = Duration::from_secs(15);

/// How long the listener rests after the system refused a connection (no more file handles, for example).
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// Bytes of a request's head, at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where a request comes from; an extension of every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Ports that are taken, not yet served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    plain: Option<TcpListener>,
    address: SocketAddr,
    config: Config,
    tls: Option<Tls>,
    clock: Clock,
}

/// Opens a listener that shows the starting page; cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    router: Arc<OnceLock<Router>>,
    progress: watch::Sender<String>,
    tls: watch::Sender<Option<TlsConfig>>,
    body_bytes_max: usize,
}

impl Door {
    /// Answers requests with the router from now on. A second call changes nothing.
    pub fn open(&self, state: AppState) {
        let _ = self.router.set(super::router(state, self.body_bytes_max));
    }

    /// Says on the starting page what is being done, for example `replaying the write-ahead log, 40 %`.
    pub fn progress(&self, text: &str) {
        self.progress.send_replace(text.to_owned());
    }

    /// Takes new settings of TLS and reads their files again, for handshakes to come; open connections go on. What is
    /// wrong with the files is told in the log and changes nothing.
    pub fn reload_tls(&self, settings: Option<TlsConfig>) {
        self.tls.send_replace(settings);
    }
}

impl Server {
    /// Takes the ports and reads the certificate.
    ///
    /// # Errors
    /// [`Error::Unprotected`], [`Error::PortTaken`], [`Error::Listen`], [`Error::TlsFile`], [`Error::Tls`].
    pub async fn bind(config: Config, clock: Clock) -> Result<Server> {
        let address = config.listen;
        if !address.ip().is_loopback() && !config.unprotected {
            return Err(Error::Unprotected { address });
        }
        let tls = config.tls.as_ref().map(|settings| tls::load(settings, &clock)).transpose()?;
        let (listener, address) = take(address).await?;
        let plain = match config.plain_listen {
            Some(address) => Some(take(address).await?.0),
            None => None,
        };
        Ok(Server { listener, plain, address, config, tls, clock })
    }

    /// Returns the address with the port that was taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of the plain port, if there is one, with the port that was taken.
    #[must_use]
    pub fn plain_addr(&self) -> Option<SocketAddr> {
        self.plain.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Accepts connections until the intake ends; open requests are finished after that.
    #[must_use]
    pub fn serve(self, tasks: &Tasks, registry: &Registry) -> Door {
        let Server { listener, plain, config, tls, clock, .. } = self;
        let (settings, new_settings) = watch::channel(config.tls.clone());
        let door = Door {
            router: Arc::default(),
            progress: watch::channel("opening the data folder".to_owned()).0,
            tls: settings,
            body_bytes_max: config.body_bytes_max,
        };
        let instruments = Instruments::new(registry);
        let (tls, current) = watch::channel(tls);
        let keeper = Keeper { settings: new_settings, tls, clock, instruments: instruments.clone() };
        tasks.spawn("http certificates", OnPanic::EndTask, keeper.run(tasks.clone()));
        let hall = Arc::new(Hall {
            places: Arc::new(Semaphore::new(config.connections_max)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            handshakes: Semaphore::new(handshake::AT_ONCE_MAX),
            header_timeout: config.header_timeout,
            tls: current,
            instruments,
            door: door.clone(),
            tasks: tasks.clone(),
        });
        tasks.spawn("http listener", OnPanic::StopBox, accept(listener, Port::Main, hall.clone()));
        if let Some(plain) = plain {
            tasks.spawn("http plain listener", OnPanic::StopBox, accept(plain, Port::Plain, hall));
        }
        door
    }
}

async fn take(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortTaken { address },
        _ => Error::Listen { address, source },
    })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
    Ok((listener, address))
}

/// Which port a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// In TLS, if there is a certificate.
    Main,
    /// Never in TLS.
    Plain,
}

/// What connections share.
#[derive(Debug)]
struct Hall {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    handshakes: Semaphore,
    header_timeout: Duration,
    tls: watch::Receiver<Option<Tls>>,
    instruments: Instruments,
    door: Door,
    tasks: Tasks,
}

async fn accept(listener: TcpListener, port: Port, hall: Arc<Hall>) {
    let end = hall.tasks.token(Phase::Intake);
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match hall.waiting.clone().try_acquire_owned() {
                Ok(turn) => {
                    let (hall_of_it, end) = (hall.clone(), end.clone());
                    hall.tasks.spawn(format!("http connection {peer}"), OnPanic::EndTask, async move {
                        let hall = hall_of_it;
                        let place = tokio::time::timeout(WAITS_MAX, hall.places.clone().acquire_owned());
                        let place = tokio::select! {
                            place = place => place,
                            () = end.cancelled() => return,
                        };
                        drop(turn);
                        match place {
                            Ok(Ok(_place)) => hall.receive(stream, Peer(peer), port, end).await,
                            _ => refuse(stream).await,
                        }
                    });
                }
                Err(_) => {
                    hall.tasks.spawn(format!("http refusal {peer}"), OnPanic::EndTask, refuse(stream));
                }
            },
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REST_AFTER_REFUSAL).await;
            }
        }
    }
}

/// Tells a client that there is no place; gives up on one that does not listen.
async fn refuse(mut stream: TcpStream) {
    let answer = async {
        let _ = stream.write_all(FULL).await;
        let _ = stream.shutdown().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
}

impl Hall {
    /// Serves a connection that has a place, after the handshake if there has to be one.
    async fn receive(&self, stream: TcpStream, peer: Peer, port: Port, end: CancellationToken) {
        let _ = stream.set_nodelay(true);
        let mut rules = self.tls.clone();
        let tls = match port {
            Port::Main => rules.borrow_and_update().clone(),
            Port::Plain => None,
        };
        let Some(tls) = tls else {
            let visitor = Visitor { peer, certificate: None, standing: None, is_narrow: is_narrow(port, peer) };
            return self.serve(stream, visitor, end).await;
        };
        let secured = tokio::select! {
            secured = handshake::secure(stream, &tls, rules, &self.handshakes) => secured,
            () = end.cancelled() => return,
        };
        match secured {
            Ok(Secured { stream, certificate, standing }) => {
                let certificate = certificate.map(Arc::new);
                let visitor = Visitor { peer, certificate, standing: Some(standing.clone()), is_narrow: false };
                // Its certificates and keys are not needed any more.
                drop(tls);
                let mut standing = standing;
                tokio::select! {
                    () = self.serve(stream, visitor, end) => {}
                    () = standing.refused() => {
                        self.instruments.cut_off.inc();
                        debug!(peer = %peer.0, "the certificate of a connection is not accepted any more");
                    }
                }
            }
            Err(failure) => {
                self.instruments.handshake_failures.with(&[failure.reason]).inc();
                debug!(peer = %peer.0, reason = failure.reason, error = %failure.text, "a TLS handshake failed");
            }
        }
    }

    async fn serve<S>(&self, stream: S, visitor: Visitor, end: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let door = self.door.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (door, visitor) = (door.clone(), visitor.clone());
            async move { Ok::<_, Infallible>(answer(&door, request.map(Body::new), visitor).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream)), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = end.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            debug!(%error, "connection ended");
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
struct Visitor {
    peer: Peer,
    certificate: Option<Arc<ClientCertificate>>,
    /// In TLS.
    standing: Option<Standing>,
    /// Whether it reaches only what devices need.
    is_narrow: bool,
}

/// Tells whether somebody reaches only what devices need: another machine at the plain port.
fn is_narrow(port: Port, peer: Peer) -> bool {
    port == Port::Plain && !peer.0.ip().to_canonical().is_loopback()
}

async fn answer(door: &Door, mut request: Request<Body>, visitor: Visitor) -> Response {
    if visitor.is_narrow && !guard::is_for_devices(request.uri().path()) {
        let words = "this port is for devices: pages and APIs are at the other one, see http.listen\n";
        return guard::headers((StatusCode::FORBIDDEN, words).into_response());
    }
    request.extensions_mut().insert(visitor.peer);
    if let Some(certificate) = visitor.certificate {
        request.extensions_mut().insert(certificate);
    }
    if let Some(standing) = visitor.standing {
        request.extensions_mut().insert(standing);
    }
    match door.router.get() {
        Some(router) => match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => guard::headers(starting(request.uri().path(), &door.progress.borrow())),
    }
}

/// Answers while the stores are being opened: healthy, but not ready.
fn starting(path: &str, progress: &str) -> Response {
    if path == "/-/healthy" {
        return (StatusCode::OK, "Andon is healthy.\n").into_response();
    }
    let headers = [(header::RETRY_AFTER, "1"), (header::REFRESH, "2")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, format!("Andon is starting: {progress}.\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_than_this_machine_reach_only_what_devices_need_at_the_plain_port() {
        let narrow = |port, peer: &str| is_narrow(port, Peer(format!("{peer}:5000").parse().unwrap()));
        assert!(narrow(Port::Plain, "10.0.0.7") && narrow(Port::Plain, "[fe80::1]"));
        assert!(!narrow(Port::Plain, "127.0.0.1") && !narrow(Port::Plain, "[::1]"));
        assert!(!narrow(Port::Plain, "[::ffff:127.0.0.1]"));
        assert!(!narrow(Port::Main, "10.0.0.7"));
        for (path, is_open) in [("/ws", true), ("/sdk/andon_device.py", true), ("/-/healthy", true), ("/", false)] {
            assert_eq!(guard::is_for_devices(path), is_open, "{path}");
        }
        assert!(!guard::is_for_devices("/ws/../api/v1/devices") && !guard::is_for_devices("/sdk"));
    }
}
