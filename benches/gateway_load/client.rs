//! A device as a bare socket, in TLS or not: frames of WebSocket with a mask of zeros, which costs nothing.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// The half that sends.
pub(crate) struct Device(Mutex<WriteHalf>);

/// The half that hears.
pub(crate) struct Reader(BufReader<ReadHalf>);

const TEXT: u8 = 0x81;

/// Connects, in TLS if there is a connector, and upgrades; what the system reads ahead may be small.
pub(crate) async fn connect(
    address: &str,
    secure: Option<&TlsConnector>,
    read_ahead_bytes: Option<u32>,
) -> (Device, Reader) {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = read_ahead_bytes {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let stream = socket.connect(address.parse().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (read, mut write): (ReadHalf, WriteHalf) = match secure {
        None => {
            let (read, write) = stream.into_split();
            (Box::new(read), Box::new(write))
        }
        Some(secure) => {
            let name = ServerName::try_from("localhost").unwrap();
            let (read, write) = tokio::io::split(secure.connect(name, stream).await.unwrap());
            (Box::new(read), Box::new(write))
        }
    };
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    write.write_all(request.as_bytes()).await.unwrap();
    write.flush().await.unwrap();
    let mut reader = BufReader::with_capacity(512, read);
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 101"), "{line}");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).await.unwrap();
    }
    (Device(Mutex::new(write)), Reader(reader))
}

impl Device {
    /// Sends a text; a connection that is gone is no matter.
    pub(crate) async fn send(&self, text: &[u8]) {
        let _ = self.try_send(text).await;
    }

    /// Sends a text; returns whether the connection is there.
    pub(crate) async fn try_send(&self, text: &[u8]) -> bool {
        let mut frame = Vec::with_capacity(text.len() + 14);
        frame.push(TEXT);
        match text.len() {
            length @ 0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            length => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text);
        let mut socket = self.0.lock().await;
        socket.write_all(&frame).await.is_ok() && socket.flush().await.is_ok()
    }
}

impl Reader {
    /// Returns the next text or control frame; nothing at the end. Pings are not answered: the bench is short.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).await.ok()?;
        let length = match head[1] & 0x7f {
            126 => usize::from(self.0.read_u16().await.ok()?),
            127 => usize::try_from(self.0.read_u64().await.ok()?).ok()?,
            length => usize::from(length),
        };
        let mut frame = vec![0; length];
        self.0.read_exact(&mut frame).await.ok()?;
        Some(frame)
    }
}
