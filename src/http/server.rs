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
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::patient::Patient;
use super::{AppState, Config, Error, Result, guard};
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

/// A port that is taken, not yet served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
}

/// Opens a listener that shows the starting page; cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    router: Arc<OnceLock<Router>>,
    progress: watch::Sender<String>,
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
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// [`Error::Unprotected`], [`Error::PortTaken`], [`Error::Listen`].
    pub async fn bind(config: Config) -> Result<Server> {
        let address = config.listen;
        if !address.ip().is_loopback() && !config.unprotected {
            return Err(Error::Unprotected { address });
        }
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => Error::PortTaken { address },
            _ => Error::Listen { address, source },
        })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
        Ok(Server { listener, address, config })
    }

    /// Returns the address with the port that was taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until the intake ends; open requests are finished after that.
    #[must_use]
    pub fn serve(self, tasks: &Tasks) -> Door {
        let door = Door {
            router: Arc::default(),
            progress: watch::channel("opening the data folder".to_owned()).0,
            body_bytes_max: self.config.body_bytes_max,
        };
        let accepting = accept(self, tasks.clone(), door.clone());
        tasks.spawn("http listener", OnPanic::StopBox, accepting);
        door
    }
}

async fn accept(server: Server, tasks: Tasks, door: Door) {
    let places = Arc::new(Semaphore::new(server.config.connections_max));
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let end = tasks.token(Phase::Intake);
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = server.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match waiting.clone().try_acquire_owned() {
                Ok(turn) => {
                    let (places, header_timeout) = (places.clone(), server.config.header_timeout);
                    let (door, end) = (door.clone(), end.clone());
                    tasks.spawn(format!("http connection {peer}"), OnPanic::EndTask, async move {
                        let place = tokio::time::timeout(WAITS_MAX, places.acquire_owned());
                        let place = tokio::select! {
                            place = place => place,
                            () = end.cancelled() => return,
                        };
                        drop(turn);
                        match place {
                            Ok(Ok(place)) => {
                                serve_connection(stream, Peer(peer), place, header_timeout, door, end).await;
                            }
                            _ => refuse(stream).await,
                        }
                    });
                }
                Err(_) => {
                    tasks.spawn(format!("http refusal {peer}"), OnPanic::EndTask, refuse(stream));
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

async fn serve_connection(
    stream: TcpStream,
    peer: Peer,
    place: OwnedSemaphorePermit,
    header_timeout: Duration,
    door: Door,
    end: CancellationToken,
) {
    let _place = place;
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let door = door.clone();
        async move { Ok::<_, Infallible>(answer(&door, request.map(Body::new)).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
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

async fn answer(door: &Door, request: Request<Body>) -> Response {
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
