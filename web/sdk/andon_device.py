"""The device's end of Andon's wire, in Python 3.9 or newer, with the standard library only.

    from andon_device import Device

    device = Device("ws://box:26366/ws", "press-1", "andon_device_...")
    device.subscribe("commands.press-1.>", lambda message: print(message.subject, message.payload))
    device.publish("telemetry.press-1.temp", {"value": 21.5, "unit": "celsius"})
    device.publish("events.press-1.done", {"batch": 7}, ack=True).result(timeout=60)   # kept by the box
    print(device.request("service.recipe", {"batch": 7}, timeout=5))
    print(device.stats())
    device.close()

A `Device` keeps one WebSocket to the gateway from a thread of its own: it shows who it is, subscribes again after each
reconnect, waits longer after each failure (1 s doubled up to 30 s, a quarter more or less by chance), and keeps a
bounded number of publishes while it is away. A publish with `ack=True` is sent again, under the same id, until the
box says that it is kept. With `buffer_file` all publishes are such, and wait in a file: they survive the program's end
and go on with its next start. `subscribe(..., replay="all")` reads the stream that keeps a subject, with what was
missed; the box keeps the device's place in it. Handlers run one after the other on a second thread. Every 15 s the
client's own counts are published on `devices.{id}.stats` and become the `device_*` series of the box.
"""

from __future__ import annotations

import base64
import collections
import hashlib
import json
import os
import queue
import random
import select
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout  # the built-in one from Python 3.11 on
from dataclasses import dataclass
from typing import Any, Callable, Deque, Dict, List, Optional, TextIO, Tuple, Union

__all__ = ["Device", "DeviceError", "Message"]
__version__ = "1.0.0"

PUBLISH, SUBSCRIBE, UNSUBSCRIBE, MESSAGE, REQUEST, REPLY, ACK, ERROR, AUTH, PING, PONG = range(11)
JITTER = 0.25
SUBJECTS_MAX = 64  # told apart in the statistics; the others count as "other"
AGAIN = ("RATE_LIMIT", "NOT_KEPT")  # a publish with an ack is sent again after these, a second later
INCOMING_MAX = 1000  # messages that wait for the handlers; beyond it the newest are lost and counted
REQUESTS_MAX = 64
MESSAGE_BYTES_MAX = 16 << 20
JOURNAL_GONE_MAX = 1 << 20  # of a buffer file: what is no longer needed, before it is written anew
WINDOW_BYTES = 64 << 10  # handed to the socket ahead of what it has taken


class DeviceError(Exception):
    """What the gateway refused, or what cannot be done; `code` is its word, as `NOT_AUTHORIZED` or `CLOSED`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Message:
    """A message from the gateway."""

    subject: str
    payload: Any
    device_id: Optional[str]
    """Who published it, if it was a device."""
    correlation_id: Optional[str]
    """Of a request: what `Device.reply` needs."""
    sequence: Optional[int] = None
    """Its place in the stream, if it was read out of one."""


@dataclass
class _Outgoing:
    frame: Dict[str, Any]
    text: str
    ack: Optional["Future[Dict[str, Any]]"] = None


Handler = Callable[[Message], None]
Replay = Union[str, Dict[str, Any]]
EventHandler = Callable[[str, Dict[str, Any]], None]


class Device:
    """One device's connection. Safe to use from any thread.

    `on_event(name, details)` hears of: connected, disconnected, reconnecting, refused, error, published, received,
    subscribed, unsubscribed, buffered, buffer_overflow, ping, pong. It runs on the connection's thread: be quick.

    For `wss://`, `tls` says whom to believe, and by which certificate the device shows who it is; it needs no token then:

        tls = ssl.create_default_context(cafile="plant-ca.pem")
        tls.load_cert_chain("press-1.pem", "press-1.key")
        device = Device("wss://box:26366/ws", "press-1", tls=tls)
    """

    def __init__(
        self,
        url: str,
        device_id: str,
        token: str = "",
        *,
        device_type: str = "",
        tls: Optional[ssl.SSLContext] = None,
        connect_timeout: float = 10.0,
        ping_interval: float = 15.0,
        dead_after: float = 45.0,
        backoff_min: float = 1.0,
        backoff_max: float = 30.0,
        buffer_messages: int = 1000,
        buffer_bytes: int = 4 << 20,
        buffer_file: Optional[str] = None,
        stats_interval: Optional[float] = 15.0,
        on_event: Optional[EventHandler] = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"not the URL of a gateway: {url!r}; write it like ws://box:26366/ws")
        self.device_id = device_id
        self._url, self._token, self._type = parts, token, device_type
        self._tls = tls
        self._connect_timeout, self._ping_interval, self._dead_after = connect_timeout, ping_interval, dead_after
        self._backoff = (backoff_min, backoff_max)
        self._buffer_messages, self._buffer_bytes = buffer_messages, buffer_bytes
        self._stats_interval, self._on_event = stats_interval, on_event
        self._lock = threading.Condition()
        self._buffer: Deque[_Outgoing] = collections.deque()
        self._unacked: "collections.OrderedDict[str, _Outgoing]" = collections.OrderedDict()
        self._held_bytes = 0
        self._control: Deque[Dict[str, Any]] = collections.deque()  # subscribe, unsubscribe, request, reply: not kept
        self._handlers: Dict[str, Tuple[Handler, Dict[str, Any]]] = {}  # with the frame that asks for the messages
        self._requests: Dict[str, "Future[Any]"] = {}
        self._boot, self._next = f"{random.getrandbits(48):012x}", 1
        self._connected, self._closing, self._refused = False, False, ""
        self._pause_until = 0.0
        self._stats: Dict[str, Any] = {
            "connections": 0, "disconnections": 0, "reconnectAttempts": 0, "errors": 0, "bytesPublished": 0,
            "bytesReceived": 0, "bufferOverflows": 0, "incomingOverflows": 0, "handlerErrors": 0,
        }
        self._published: Dict[str, int] = {}
        self._received: Dict[str, int] = {}
        self._latency: Optional[float] = None
        self._journal = None if buffer_file is None else _Journal(buffer_file)
        for text in self._journal.held.values() if self._journal else ():
            self._buffer.append(_Outgoing(json.loads(text), text, Future()))
            self._held_bytes += len(text)
        self._incoming: "queue.Queue[Optional[Tuple[Handler, Message]]]" = queue.Queue(INCOMING_MAX)
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._dispatcher = threading.Thread(target=self._dispatch, name=f"andon {device_id} handlers", daemon=True)
        self._thread = threading.Thread(target=self._run, name=f"andon {device_id}", daemon=True)
        self._dispatcher.start()
        self._thread.start()

    # What a program does with it.

    def publish(self, subject: str, payload: Any, *, ack: bool = False) -> Optional["Future[Dict[str, Any]]"]:
        """Publishes: at once if connected, else as soon as it is again; never waits. If too many wait, the oldest are
        lost and counted. With `ack` returns a future: the box's answer (`durable` says whether it survives everything)
        or `DeviceError`; until then it is sent again after each reconnect, under one id. With `buffer_file` all are."""
        frame: Dict[str, Any] = {"type": PUBLISH, "subject": subject, "payload": payload}
        with self._lock:
            if self._closing:
                raise DeviceError("CLOSED", "the client was closed")
            future: Optional["Future[Dict[str, Any]]"] = None
            if ack or self._journal is not None:
                future = Future()
                message_id = f"{self._boot}-{self._next}"
                self._next += 1
                frame.update(messageId=message_id, ack=True, correlationId=f"p-{message_id}")
            self._keep(_Outgoing(frame, json.dumps(frame, separators=(",", ":")), future))
        self._wake()
        return future

    def subscribe(self, pattern: str, handler: Handler, *, replay: Optional[Replay] = None) -> None:
        """Calls `handler` for messages on a pattern, now and after each reconnect. With `replay` they come out of the
        stream that keeps the subject: "new", "all", "last" (of each subject), {"sequence": 17} or
        {"time": "2026-01-31T12:00:00Z"} says where a device begins that has no place in it yet."""
        frame: Dict[str, Any] = {"type": SUBSCRIBE, "subject": pattern}
        if replay is not None:
            frame["replay"] = replay
        with self._lock:
            self._handlers[pattern] = (handler, frame)
            self._control.append(frame)
        self._wake()
        self._tell("subscribed", pattern=pattern)

    def unsubscribe(self, pattern: str) -> None:
        """Ends a subscription, exactly as it was made."""
        with self._lock:
            if self._handlers.pop(pattern, None) is None:
                return
            self._control.append({"type": UNSUBSCRIBE, "subject": pattern})
        self._wake()
        self._tell("unsubscribed", pattern=pattern)

    def request(self, subject: str, payload: Any, timeout: float = 5.0) -> Any:
        """Asks whoever listens on a subject and returns the first answer. Not from `on_event`."""
        future: "Future[Any]" = Future()
        with self._lock:
            if not self._connected:
                raise DeviceError("LOST", "there is no connection")
            if len(self._requests) >= REQUESTS_MAX:
                raise DeviceError("RATE_LIMIT", f"no more than {REQUESTS_MAX} open requests")
            correlation_id = f"q-{self._boot}-{self._next}"
            self._next += 1
            self._requests[correlation_id] = future
            frame = {"type": REQUEST, "subject": subject, "payload": payload, "correlationId": correlation_id}
            self._control.append(frame)
        self._wake()
        try:
            return future.result(timeout)
        except FutureTimeout:
            raise DeviceError("REQUEST_TIMEOUT", f"no answer within {timeout} s") from None
        finally:
            with self._lock:
                self._requests.pop(correlation_id, None)

    def reply(self, message: Message, payload: Any) -> None:
        """Answers a request that came as a message."""
        if message.correlation_id is None:
            raise ValueError("nobody waits for a reply to this message")
        with self._lock:
            frame = {"type": REPLY, "subject": "", "correlationId": message.correlation_id, "payload": payload}
            self._control.append(frame)
        self._wake()

    def connected(self, timeout: float = 0.0) -> bool:
        """Waits until the gateway has let the device in; returns whether it has."""
        with self._lock:
            return self._lock.wait_for(lambda: self._connected or self._closing, timeout) and self._connected

    @property
    def refused(self) -> str:
        """Why the gateway did not let the device in at the last attempt; empty if it did."""
        return self._refused

    def hang_up(self, pause: float) -> None:
        """Hangs up and stays away for so many seconds; publishes wait meanwhile."""
        self._pause_until = time.monotonic() + pause
        self._wake()

    def stats(self) -> Dict[str, Any]:
        """What the client has counted, in the form in which it is published."""
        with self._lock:
            stats = dict(self._stats)
            stats.update(
                messagesPublished=sum(self._published.values()),
                messagesReceived=sum(self._received.values()),
                published=dict(self._published),
                received=dict(self._received),
                bufferSize=len(self._buffer) + len(self._unacked),
            )
            if self._latency is not None:
                stats["latencySeconds"] = self._latency
        return stats

    def close(self, timeout: float = 5.0) -> None:
        """Sends what waits, as far as that goes in the time, and ends the connection for good."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._lock.wait_for(lambda: not (self._connected and (self._buffer or self._unacked)), timeout)
            self._closing = True
            self._lock.notify_all()
        self._wake()
        self._thread.join(max(0.1, deadline - time.monotonic()))
        try:
            self._incoming.put_nowait(None)
        except queue.Full:
            pass

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The buffer.

    def _keep(self, out: _Outgoing) -> None:
        self._buffer.append(out)
        self._held_bytes += len(out.text)
        if self._journal is not None:
            self._journal.add(out.frame["messageId"], out.text)
        lost = 0
        while len(self._buffer) + len(self._unacked) > self._buffer_messages or (
            self._held_bytes > self._buffer_bytes and len(self._buffer) + len(self._unacked) > 1
        ):
            oldest = self._unacked.popitem(last=False)[1] if self._unacked else self._buffer.popleft()
            self._held_bytes -= len(oldest.text)
            lost += 1
            if self._journal is not None:
                self._journal.remove(oldest.frame["messageId"])
            if oldest.ack is not None:
                oldest.ack.set_exception(DeviceError("BUFFER_FULL", "too many publishes wait"))
        self._stats["bufferOverflows"] += lost
        if lost:
            self._tell("buffer_overflow", lost=lost)
        if not self._connected:
            self._tell("buffered", size=len(self._buffer), max=self._buffer_messages)

    def _settle(self, frame: Dict[str, Any], error: Optional[DeviceError]) -> bool:
        """Takes the box's word on a publish; tells whether the frame was one."""
        correlation_id = frame.get("correlationId") or ""
        with self._lock:
            out = self._unacked.pop(correlation_id[2:], None) if correlation_id.startswith("p-") else None
            if out is None:
                return False
            self._held_bytes -= len(out.text)
            if self._journal is not None:
                self._journal.remove(out.frame["messageId"])
            self._lock.notify_all()
        if out.ack is not None and not out.ack.done():
            if error is None:
                out.ack.set_result(frame.get("payload") or {})
            else:
                out.ack.set_exception(error)
        return True

    # The connection's thread.

    def _run(self) -> None:
        failures = 0
        while not self._closing:
            wire: Optional[_Wire] = None
            reason = "lost"
            try:
                wire = self._enter()
                failures = 0
                reason = self._serve(wire)
            except DeviceError as error:
                self._refused = error.message
                self._tell("refused", code=error.code, message=error.message)
            except (OSError, ValueError) as error:
                reason = str(error)
            finally:
                if wire is not None:
                    wire.close()
            with self._lock:
                was_connected, self._connected = self._connected, False
                requests, self._requests = self._requests, {}
                self._lock.notify_all()
            for future in requests.values():
                future.set_exception(DeviceError("LOST", "the connection was lost"))
            if was_connected:
                self._stats["disconnections"] += 1
                self._tell("disconnected", reason=reason)
            if self._closing:
                break
            pause = self._pause_until - time.monotonic()
            if pause <= 0:
                pause = min(self._backoff[1], self._backoff[0] * 2 ** min(failures, 30))
                pause *= 1 + JITTER * (2 * random.random() - 1)
                failures += 1
            self._tell("reconnecting", attempt=self._stats["reconnectAttempts"] + 1, delay=pause)
            with self._lock:
                self._lock.wait_for(lambda: self._closing, pause)
            self._stats["reconnectAttempts"] += 1
        with self._lock:
            left = [out for out in [*self._unacked.values(), *self._buffer] if out.ack is not None]
        for out in left:
            if not out.ack.done():
                out.ack.set_exception(DeviceError("CLOSED", "the client was closed"))
        if self._journal is not None:
            self._journal.close()

    def _enter(self) -> "_Wire":
        """Connects and shows who the device is."""
        deadline = time.monotonic() + self._connect_timeout
        wire = _Wire(self._url, self._tls, self._connect_timeout)
        try:
            if self._token:
                payload = {"deviceId": self.device_id, "token": self._token, "deviceType": self._type}
                wire.send(json.dumps({"type": AUTH, "payload": payload}))
            while True:
                for text in wire.turn(None, max(0.0, deadline - time.monotonic())):
                    frame = json.loads(text)
                    if frame.get("type") != AUTH:
                        continue
                    answer = frame.get("payload") or {}
                    if not answer.get("success"):
                        raise DeviceError(answer.get("code") or "AUTH_FAILED", answer.get("message") or "not let in")
                    with self._lock:
                        self._begin()
                    self._tell("connected", url=urllib.parse.urlunsplit(self._url))
                    return wire
                if time.monotonic() >= deadline:
                    raise OSError("the gateway does not answer")
        except BaseException:
            wire.close()
            raise

    def _begin(self) -> None:
        self._connected, self._refused = True, ""
        self._stats["connections"] += 1
        # What was asked for on another connection is asked for anew; what was not acknowledged is sent first.
        self._control = collections.deque(frame for _, frame in self._handlers.values())
        self._buffer.extendleft(reversed(self._unacked.values()))
        self._unacked.clear()
        self._lock.notify_all()

    def _serve(self, wire: "_Wire") -> str:
        now = time.monotonic()
        heard_at, ping_at, stats_at = now, now, now
        pinged_at: Optional[float] = None
        while True:
            now = time.monotonic()
            if self._closing:
                wire.end()
                return "closed"
            if self._pause_until > now:
                wire.end()
                return "on purpose"
            if now - heard_at > self._dead_after:
                return "nothing was heard of the gateway"
            if now >= ping_at:
                ping_at, pinged_at = now + self._ping_interval, now
                wire.send('{"type":9}')
                self._tell("ping")
            if self._stats_interval is not None and now >= stats_at:
                stats_at = now + self._stats_interval
                wire.send(json.dumps(
                    {"type": PUBLISH, "subject": f"devices.{self.device_id}.stats", "payload": self.stats()}
                ))
            self._fill(wire)
            until = min(ping_at, heard_at + self._dead_after, stats_at if self._stats_interval is not None else ping_at)
            for text in wire.turn(self._woken, max(0.0, until - now)):
                self._stats["bytesReceived"] += len(text)
                frame = json.loads(text)
                if frame.get("type") == PONG and pinged_at is not None:
                    self._latency, pinged_at = time.monotonic() - pinged_at, None
                    self._tell("pong", seconds=self._latency)
                else:
                    self._take(frame)
            if wire.heard:
                heard_at, wire.heard = time.monotonic(), False

    def _fill(self, wire: "_Wire") -> None:
        """Hands over what the socket has room for, so that what is not sent survives a lost connection."""
        while wire.waiting() < WINDOW_BYTES:
            with self._lock:
                if self._control:
                    text = json.dumps(self._control.popleft())
                    out = None
                elif self._buffer:
                    out = self._buffer.popleft()
                    text = out.text
                    if out.ack is not None:
                        self._unacked[out.frame["messageId"]] = out
                    else:
                        self._held_bytes -= len(text)
                    self._stats["bytesPublished"] += len(text)
                    _count(self._published, out.frame["subject"])
                    self._lock.notify_all()
                else:
                    return
            wire.send(text)
            if out is not None:
                self._tell("published", subject=out.frame["subject"], bytes=len(text))

    def _take(self, frame: Dict[str, Any]) -> None:
        kind, correlation_id, payload = frame.get("type"), frame.get("correlationId"), frame.get("payload")
        if kind == MESSAGE:
            subject, sequence = frame.get("subject") or "", frame.get("sequence")
            message = Message(subject, payload, frame.get("deviceId"), correlation_id, sequence)
            with self._lock:
                _count(self._received, message.subject)
                handlers = [h for pattern, (h, _) in self._handlers.items() if matches(pattern, message.subject)]
            for handler in handlers:
                try:
                    self._incoming.put_nowait((handler, message))
                except queue.Full:
                    self._stats["incomingOverflows"] += 1
            self._tell("received", subject=message.subject)
        elif kind == REPLY:
            self._answer(correlation_id, payload, None)
        elif kind == ACK:
            self._settle(frame, None)
        elif kind == ERROR:
            details = payload if isinstance(payload, dict) else {}
            error = DeviceError(details.get("code") or "ERROR", details.get("message") or details.get("error") or "")
            self._stats["errors"] += 1
            with self._lock:
                goes_again = error.code in AGAIN and (correlation_id or "")[2:] in self._unacked
            if goes_again:
                self._pause_until = time.monotonic() + 1.0
            elif not self._settle(frame, error):
                self._answer(correlation_id, None, error)
            self._tell("error", code=error.code, message=error.message, subject=frame.get("subject") or "")

    def _answer(self, correlation_id: Optional[str], payload: Any, error: Optional[DeviceError]) -> None:
        with self._lock:
            future = self._requests.pop(correlation_id or "", None)
        if future is None:
            return
        if error is None:
            future.set_result(payload)
        else:
            future.set_exception(error)

    def _dispatch(self) -> None:
        while True:
            item = self._incoming.get()
            if item is None:
                return
            try:
                item[0](item[1])
            except Exception as error:  # a handler's mistake must not end the others
                self._stats["handlerErrors"] += 1
                self._tell("error", code="HANDLER", message=repr(error), subject=item[1].subject)

    def _tell(self, event: str, **details: Any) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event, details)
        except Exception:  # a listener's mistake must not end the connection
            self._stats["handlerErrors"] += 1

    def _wake(self) -> None:
        try:
            self._waker.send(b"x")
        except OSError:
            pass  # it is woken already, or gone


class _Journal:
    """Publishes in a file: a line `+ID FRAME` for each that waits, `-ID` for each that does no longer. What is written
    survives the program's end; a power cut may take what the system has not written yet."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.held: "collections.OrderedDict[str, str]" = collections.OrderedDict()
        try:
            with open(path, encoding="utf-8", errors="replace", newline="\n") as lines:
                for line in lines:
                    self._read(line)
        except FileNotFoundError:
            pass
        self._file: TextIO = self._rewritten()

    def _read(self, line: str) -> None:
        message_id, _, text = line[1:].rstrip("\n").partition(" ")
        if not line.endswith("\n"):
            return  # torn
        if line[0] == "-":
            self.held.pop(message_id, None)
            return
        try:
            is_whole = json.loads(text)["messageId"] == message_id
        except (ValueError, KeyError, TypeError):
            return
        if line[0] == "+" and is_whole:
            self.held[message_id] = text

    def _rewritten(self) -> TextIO:
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"+{message_id} {text}\n" for message_id, text in self.held.items())
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._path)
        self._gone = 0
        return open(self._path, "a", encoding="utf-8", newline="\n")

    def add(self, message_id: str, text: str) -> None:
        self.held[message_id] = text
        self._file.write(f"+{message_id} {text}\n")
        self._file.flush()

    def remove(self, message_id: str) -> None:
        text = self.held.pop(message_id, None)
        if text is None:
            return
        self._gone += len(text)
        if self._gone >= JOURNAL_GONE_MAX or not self.held and self._gone >= JOURNAL_GONE_MAX // 16:
            self._file.close()
            self._file = self._rewritten()
        else:
            self._file.write(f"-{message_id}\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def _count(by_subject: Dict[str, int], subject: str) -> None:
    name = subject if subject in by_subject or len(by_subject) < SUBJECTS_MAX else "other"
    by_subject[name] = by_subject.get(name, 0) + 1


def matches(pattern: str, subject: str) -> bool:
    """Tells whether a pattern stands for a subject: `*` for one token, a last `>` for the rest."""
    tokens = subject.split(".")
    wanted = pattern.split(".")
    for at, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > at
        if at >= len(tokens) or token not in ("*", tokens[at]):
            return False
    return len(tokens) == len(wanted)


class _Wire:
    """A WebSocket of RFC 6455: text in, text out, over one socket that never blocks."""

    def __init__(self, url: urllib.parse.SplitResult, tls: Optional[ssl.SSLContext], timeout: float) -> None:
        host, port = url.hostname or "", url.port or (443 if url.scheme == "wss" else 80)
        raw = socket.create_connection((host, port), timeout)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if url.scheme == "wss":
                raw = (tls or ssl.create_default_context()).wrap_socket(raw, server_hostname=host)
            self._socket = raw
            self._in, self._out = bytearray(), bytearray()
            self._message = bytearray()
            self._is_text = False
            self.heard = False
            self._shake_hands(url, host, port, timeout)
            raw.setblocking(False)
        except BaseException:
            raw.close()
            raise

    def _shake_hands(self, url: urllib.parse.SplitResult, host: str, port: int, timeout: float) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        name = f"[{host}]" if ":" in host else host
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {name}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        deadline = time.monotonic() + timeout
        while b"\r\n\r\n" not in self._in:
            if len(self._in) > 16384 or time.monotonic() > deadline:
                raise OSError("the gateway does not answer the handshake")
            data = self._socket.recv(4096)
            if not data:
                raise OSError("the connection was closed in the handshake")
            self._in += data
        head, _, rest = bytes(self._in).partition(b"\r\n\r\n")
        self._in = bytearray(rest)
        lines = head.decode("latin-1").split("\r\n")
        if lines[0].split(" ")[1:2] != ["101"]:
            raise OSError(f"the gateway answers: {lines[0]}")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        proof = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if headers.get("sec-websocket-accept") != base64.b64encode(proof).decode():
            raise OSError("the answer to the handshake is not that of a WebSocket")

    def waiting(self) -> int:
        return len(self._out)

    def send(self, text: str) -> None:
        self._frame(1, text.encode())

    def _frame(self, opcode: int, body: bytes) -> None:
        mask = os.urandom(4)
        size = len(body)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += struct.pack("!BH", 0x80 | 126, size)
        else:
            head += struct.pack("!BQ", 0x80 | 127, size)
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        self._out += head + mask + (int.from_bytes(body, "big") ^ key).to_bytes(size, "big")

    def turn(self, waker: Optional[socket.socket], timeout: float) -> List[str]:
        """Writes and reads what there is, waiting for it; returns the messages that came. Ends early if woken."""
        readers: List[Any] = [self._socket] + ([waker] if waker is not None else [])
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0
        ready, _, _ = select.select(readers, [self._socket] if self._out else [], [], 0 if pending else timeout)
        if waker is not None and waker in ready:
            waker.recv(4096)
        self._write()
        while True:
            try:
                data = self._socket.recv(65536)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            if not data:
                raise OSError("the gateway closed the connection")
            self.heard = True
            self._in += data
            if len(self._in) > MESSAGE_BYTES_MAX:
                break
        return self._messages()

    def _write(self) -> None:
        while self._out:
            try:
                sent = self._socket.send(self._out[:WINDOW_BYTES])
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            del self._out[:sent]

    def _messages(self) -> List[str]:
        found: List[str] = []
        while True:
            frame = self._next_frame()
            if frame is None:
                return found
            is_last, opcode, body = frame
            if opcode == 8:
                code = struct.unpack("!H", body[:2])[0] if len(body) >= 2 else 1005
                self._frame(8, body[:2])
                self._write()
                raise OSError(f"the gateway closed the connection: {code} {body[2:].decode(errors='replace')}".rstrip())
            if opcode == 9:
                self._frame(10, body)
            elif opcode in (0, 1, 2):
                if opcode:
                    self._message, self._is_text = bytearray(), opcode == 1
                self._message += body
                if len(self._message) > MESSAGE_BYTES_MAX:
                    raise OSError("a message is too large")
                if is_last and self._is_text:
                    found.append(self._message.decode())

    def _next_frame(self) -> Optional[Tuple[bool, int, bytes]]:
        data = self._in
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        if size == 126:
            at = 4
        elif size == 127:
            at = 10
        if len(data) < at:
            return None
        if at > 2:
            size = int.from_bytes(data[2:at], "big")
        if data[1] & 0x80 or size > MESSAGE_BYTES_MAX:
            raise OSError("a frame is masked or too large")
        if len(data) < at + size:
            return None
        frame = (bool(data[0] & 0x80), data[0] & 0x0F, bytes(data[at : at + size]))
        del data[: at + size]
        return frame

    def end(self) -> None:
        """Says goodbye, and gives what waits a moment to be written."""
        self._frame(8, struct.pack("!H", 1000))
        deadline = time.monotonic() + 2
        try:
            while self._out and time.monotonic() < deadline:
                select.select([], [self._socket], [], 0.1)
                self._write()
        except OSError:
            pass

    def close(self) -> None:
        self._socket.close()
