//! What waits to be written to one device, in order and bounded.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::instruments::Instruments;
use super::protocol::FrameType;
use super::traffic::Traffic;
use crate::bus::Through;

/// Frames and bytes that may wait here; while as many wait, nothing more is taken from the device or from
/// the bus. Behind it lies the bus's own queue: when that is full too, the device is a slow consumer.
const FRAMES_MAX: usize = 64;
const BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    is_unflushed: bool,
    /// Of frames that are written and not flushed.
    written: Vec<Through>,
    traffic: Arc<Traffic>,
    instruments: Arc<Instruments>,
}

#[derive(Debug)]
struct Frame {
    kind: Option<FrameType>,
    message: Message,
    /// Is told when it is written.
    through: Option<Through>,
}

/// What the socket has to say.
#[derive(Debug)]
pub(super) enum Event {
    /// A message came, the socket broke, or (nothing) it ended.
    Incoming(Option<Result<Message, Error>>),
    /// There is room in the outbox again.
    Drained,
}

impl Outbox {
    pub(super) fn new(traffic: Arc<Traffic>, instruments: Arc<Instruments>) -> Self {
        Outbox { frames: VecDeque::new(), bytes: 0, is_unflushed: false, written: Vec::new(), traffic, instruments }
    }

    /// Adds a frame; `kind` is what it counts as when it is written. The caller asks [`Outbox::has_room`]
    /// before it takes in more, so a frame or two may go over the bound.
    pub(super) fn push(&mut self, kind: Option<FrameType>, message: Message) {
        self.bytes += message.len();
        self.frames.push_back(Frame { kind, message, through: None });
    }

    /// Adds a frame for somebody who wants to know when it is written.
    pub(super) fn push_for(&mut self, kind: FrameType, message: Message, through: Through) {
        self.bytes += message.len();
        self.frames.push_back(Frame { kind: Some(kind), message, through: Some(through) });
    }

    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < FRAMES_MAX && self.bytes < BYTES_MAX
    }

    /// Writes what the socket takes. Ready when all is written and flushed. Nothing is lost if it is not
    /// polled to its end.
    pub(super) fn poll_send<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut socket = Pin::new(socket);
        while !self.frames.is_empty() {
            std::task::ready!(socket.as_mut().poll_ready(cx))?;
            if let Some(Frame { kind, message, through }) = self.frames.pop_front() {
                self.count(kind, &message);
                self.bytes -= message.len();
                self.is_unflushed = true;
                self.written.extend(through);
                socket.as_mut().start_send(message)?;
            }
        }
        // Most devices hear little: room for the next frames is not kept.
        self.frames = VecDeque::new();
        if self.is_unflushed {
            std::task::ready!(socket.poll_flush(cx))?;
            self.is_unflushed = false;
            self.written.drain(..).for_each(Through::done);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the socket takes and, if it `reads` and there is room for answers, reads.
    pub(super) fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        reads: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Event> {
        let had_room = self.has_room();
        if let Poll::Ready(Err(error)) = self.poll_send(socket, cx) {
            return Poll::Ready(Event::Incoming(Some(Err(error))));
        }
        match (had_room, self.has_room()) {
            (false, true) => Poll::Ready(Event::Drained),
            (_, true) if reads => Pin::new(socket).poll_next(cx).map(Event::Incoming),
            _ => Poll::Pending,
        }
    }

    fn count(&self, kind: Option<FrameType>, message: &Message) {
        let Some(kind) = kind else { return };
        self.traffic.note_sent();
        #[expect(clippy::cast_precision_loss, reason = "a message is far smaller than 2^53 bytes")]
        self.instruments.size_sent.observe(message.len() as f64);
        if let Some(counter) = self.instruments.sent(kind) {
            counter.inc();
        }
    }
}
