#!/usr/bin/env python3
"""Publishes of devices while nats-server and Andon are killed again and again: what was acknowledged against what is there.

    tests/nats_kills.py [--andon target/release/andon] [--kills 20] [--devices 200] [--rate 1000] [--seed 1] [--keep]
    tests/nats_kills.py --embedded ...          without NATS: the box keeps the stream itself, and only Andon is killed

Starts nats-server with JetStream and Andon with one stream on loopback. Devices publish at the rate with `ack` and a
`messageId`, send again after each reconnect what was not acknowledged, and go on. Meanwhile nats-server and Andon are
killed with SIGKILL in turn, each so many times, and started again after a moment of chance. At the end the stream is
read by a client of its own. Fails where it is not so:
  1. every publish that was acknowledged to its device is in the stream: lost 0;
  2. nothing is there twice under one id, or twice with one device and number: repeats 0;
  3. of each device the numbers rise: out of order 0;
  4. Andon says that nothing waits and nothing was dropped.
With --embedded the stream is read at the end by a device that replays all of it, and all the time by one that goes on
at its place after each kill: it too hears everything and in order; what it hears again is counted (the last seconds).
Prints figures. Only Python's standard library; needs nats-server, but for --embedded.
"""
import argparse
import asyncio
import base64
import collections
import json
import os
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request

SUBJECT = "factory.kills.{}.reading"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    all = []

    def __init__(self, command, log):
        self.command, self.log, self.process, self.cpu_s = [str(c) for c in command], open(log, "ab"), None, 0.0

    def start(self):
        if self not in Process.all:
            Process.all.append(self)
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def kill(self):
        self.note_cpu()
        self.process.kill()
        self.process.wait()

    def note_cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        self.cpu_s += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Socket:
    """One WebSocket, text frames only."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @staticmethod
    async def connect(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(f"GET /ws HTTP/1.1\r\nHost: box\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        if b" 101 " not in head.split(b"\r\n")[0]:
            writer.close()
            raise ConnectionError(head[:80])
        return Socket(reader, writer)

    def send(self, value, opcode=1):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        mask = os.urandom(4)
        length = struct.pack("!B", 0x80 | len(data)) if len(data) < 126 else struct.pack("!BH", 0x80 | 126, len(data))
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.writer.write(bytes([0x80 | opcode]) + length + mask + masked)

    async def receive(self):
        while True:
            head = await self.reader.readexactly(2)
            length = head[1] & 0x7F
            if length == 126:
                length, = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                length, = struct.unpack("!Q", await self.reader.readexactly(8))
            data = await self.reader.readexactly(length)
            opcode = head[0] & 15
            if opcode == 1:
                return json.loads(data)
            if opcode == 8:
                raise ConnectionError("closed")
            if opcode == 9:
                self.send(data, 10)


class Device:
    def __init__(self, name, token, port):
        self.name, self.token, self.port = name, token, port
        self.boot = "%08x" % random.getrandbits(32)
        self.next, self.waiting, self.acked = 1, collections.OrderedDict(), {}
        self.sent, self.again, self.errors, self.latencies = 0, 0, collections.Counter(), []
        self.socket, self.is_over = None, False

    def frame(self, n):
        return {"type": 0, "subject": SUBJECT.format(self.name), "payload": {"n": n, "value": 20 + n % 17, "unit": "C"},
                "messageId": f"{self.boot}-{n}", "ack": True}

    def produce(self):
        """One more publish: at once if connected, else when it is again."""
        n, self.next = self.next, self.next + 1
        self.waiting[n] = time.monotonic()
        if self.socket:
            self.sent += 1
            self.socket.send(self.frame(n))

    async def live(self):
        wait = 0.05
        while not self.is_over:
            try:
                ws = await asyncio.wait_for(Socket.connect(self.port), 15)
                ws.send({"type": 8, "payload": {"deviceId": self.name, "token": self.token}})
                answer = await asyncio.wait_for(ws.receive(), 15)
                if not answer["payload"].get("success"):
                    raise ConnectionError(answer)
                wait = 0.05
                for n in self.waiting:
                    self.sent, self.again = self.sent + 1, self.again + 1
                    ws.send(self.frame(n))
                self.socket = ws
                while True:
                    self.hear(await ws.receive())
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError, EOFError):
                pass
            if self.socket:
                self.socket.writer.close()
            self.socket = None
            await asyncio.sleep(wait * random.uniform(0.75, 1.25))
            wait = min(wait * 2, 2)

    def hear(self, frame):
        if frame["type"] == 6:
            if frame["payload"].get("durable") is not True:
                self.errors["not durable"] += 1
            n = int(frame["payload"]["messageId"].rsplit("-", 1)[1])
            began = self.waiting.pop(n, None)
            if began is not None:
                self.latencies.append(time.monotonic() - began)
                self.acked[n] = True
        elif frame["type"] == 7:
            self.errors[frame["payload"]["code"]] += 1


class Reader:
    """A device that reads the stream from its place on, and comes back after each kill."""

    def __init__(self, name, token, port):
        self.name, self.token, self.port = name, token, port
        self.heard, self.again, self.backwards, self.last, self.is_over = {}, 0, 0, 0, False

    async def live(self):
        while not self.is_over:
            try:
                ws = await asyncio.wait_for(Socket.connect(self.port), 15)
                ws.send({"type": 8, "payload": {"deviceId": self.name, "token": self.token}})
                answer = await asyncio.wait_for(ws.receive(), 15)
                if not answer["payload"].get("success"):
                    raise ConnectionError(answer)
                ws.send({"type": 1, "subject": "factory.kills.>", "replay": "all"})
                self.last = 0
                while True:
                    frame = await ws.receive()
                    if frame["type"] == 7:
                        raise SystemExit(f"FAILED: {frame}")
                    if frame["type"] == 3:
                        sequence = frame["sequence"]
                        # Within one connection sequences rise; a new one may begin a little before.
                        self.backwards += sequence <= self.last
                        self.last = sequence
                        self.again += sequence in self.heard
                        self.heard[sequence] = (frame["deviceId"], frame["payload"]["n"])
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError, EOFError):
                pass
            await asyncio.sleep(0.2)

    async def hears(self, count, within=120):
        end = time.monotonic() + within
        while len(self.heard) < count and time.monotonic() < end:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)


class Nats:
    """As much of a client as reading a stream needs."""

    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port), 10)
        self.f = self.s.makefile("rb")
        self.f.readline()
        self.s.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nPING\r\n')
        while self.f.readline() != b"PONG\r\n":
            pass

    def message(self):
        while True:
            line = self.f.readline()
            if line == b"PING\r\n":
                self.s.sendall(b"PONG\r\n")
                continue
            parts = line.split()
            if parts and parts[0] in (b"MSG", b"HMSG"):
                total = int(parts[-1])
                body = self.f.read(total + 2)[:-2]
                head = int(parts[-2]) if parts[0] == b"HMSG" else 0
                return parts[1].decode(), body[:head].decode(), body[head:]
            if line.startswith(b"-ERR") or not line:
                raise SystemExit(f"FAILED: NATS says {line}")

    def ask(self, subject, value):
        self.s.sendall(b"SUB ask 1\r\nUNSUB 1 1\r\n")
        data = json.dumps(value).encode()
        self.s.sendall(f"PUB {subject} ask {len(data)}\r\n".encode() + data + b"\r\n")
        return json.loads(self.message()[2])

    def read_all(self, stream):
        count = self.ask(f"$JS.API.STREAM.INFO.{stream}", {})["state"]["messages"]
        made = self.ask(f"$JS.API.CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": {
            "deliver_subject": "all", "deliver_policy": "all", "ack_policy": "none"}})
        if "error" in made:
            raise SystemExit(f"FAILED: {made}")
        # It waits for somebody who listens.
        self.s.sendall(b"SUB all 2\r\n")
        return [self.message() for _ in range(count)]


def metrics(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    found = collections.defaultdict(float)
    for line in text.splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            found[series.split("{")[0]] += float(value)
            found[series] = float(value)
    return found


async def up(port, path, within=60):
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}{path}", timeout=2)
            return
        except OSError:
            await asyncio.sleep(0.05)
    raise SystemExit(f"FAILED: port {port} does not answer within {within} s")


def add(andon, data, name, *rights):
    """Registers a device; returns its token."""
    command = [andon, "device", "add", name, "--data", data, *rights]
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(f"FAILED: {out.stderr}")
    return re.search(r"[A-Za-z0-9_-]{32,}", out.stdout).group(0)


async def produce(devices, rate, over):
    began, made = time.monotonic(), 0
    while not over.is_set():
        due = int((time.monotonic() - began) * rate)
        while made < due:
            devices[made % len(devices)].produce()
            made += 1
        await asyncio.sleep(0.005)
    return made, time.monotonic() - began


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--andon", default="target/release/andon")
    parser.add_argument("--kills", type=int, default=20, help="of nats-server, and as many of Andon")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--embedded", action="store_true", help="no NATS: the box keeps the stream itself")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nats_kills."))
    nats_port, http_port = free_port(), free_port()
    (folder / "andon.yml").write_text(f"""host: {{enabled: false}}
rule_packs: []
gateway: {{messages_per_second: 100000, connections_per_address_limit: 1000, unauthenticated_per_address_limit: 1000}}
bus:
  streams:
    - {{name: KILLS, subjects: ["factory.kills.>"]}}
""" + ("" if args.embedded else f"""  nats: {{servers: ["nats://127.0.0.1:{nats_port}"]}}
"""))
    data = folder / "data"
    data.mkdir()
    tokens = {}
    common = ["--config", folder / "andon.yml", "--data", data]
    for i in range(args.devices):
        name = f"d{i:03}"
        tokens[name] = add(args.andon, data, name, "--publish", SUBJECT.format(name))
    readers = [Reader(name, add(args.andon, data, name, "--subscribe", "factory.kills.>"), http_port)
               for name in ("follower", "auditor") if args.embedded]
    nats = Process(["nats-server", "-a", "127.0.0.1", "-p", nats_port, "-js", "-sd", folder / "js"], folder / "nats.log")
    andon = Process([args.andon, "run", "--listen", f"127.0.0.1:{http_port}", *common], folder / "andon.log")
    if not args.embedded:
        nats.start()
    andon.start()
    await up(http_port, "/api/v1/status/buildinfo")
    devices = [Device(name, token, http_port) for name, token in tokens.items()]
    lives = [asyncio.create_task(device.live()) for device in devices]
    lives += [asyncio.create_task(reader.live()) for reader in readers[:1]]
    while not all(device.socket for device in devices):
        await asyncio.sleep(0.1)
    over = asyncio.Event()
    producer = asyncio.create_task(produce(devices, args.rate, over))
    await asyncio.sleep(2)
    dropped = written = 0
    away = collections.Counter()
    lost_of, cause = ("spool", "bus_spool") if not args.embedded else ("stream", "bus_streams")
    for n in range(args.kills if args.embedded else 2 * args.kills):
        who, name = (nats, "nats-server") if n % 2 == 0 and not args.embedded else (andon, "andon")
        if name == "andon":
            now = await asyncio.to_thread(metrics, http_port)
            dropped += now[f"andon_bus_{lost_of}_dropped_total"]
            written += now[f'andon_storage_written_bytes_total{{cause="{cause}"}}']
        who.kill()
        pause = chance.uniform(0.05, 2.5)
        away[name] += pause
        await asyncio.sleep(pause)
        who.start()
        if name == "andon":
            await up(http_port, "/api/v1/status/buildinfo")
        # Sometimes the other is killed before all is well again.
        await asyncio.sleep(chance.uniform(0.2, 3))
    over.set()
    made, took = await producer
    end = time.monotonic() + 120
    while any(device.waiting for device in devices) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    while (now := await asyncio.to_thread(metrics, http_port))["andon_bus_spool_messages"] and time.monotonic() < end:
        await asyncio.sleep(0.5)
    if args.embedded:
        lives.append(asyncio.create_task(readers[1].live()))
        for reader in readers:
            await reader.hears(made)
        now = await asyncio.to_thread(metrics, http_port)
    dropped += now[f"andon_bus_{lost_of}_dropped_total"]
    written += now[f'andon_storage_written_bytes_total{{cause="{cause}"}}']
    for device in devices + readers:
        device.is_over = True
    for life in lives:
        life.cancel()
    if args.embedded:
        read = sorted(readers[1].heard.items())
        stored = [(SUBJECT.format(name), f"Nats-Msg-Id: {sequence}\r\n", json.dumps({"n": n})) for sequence, (name, n) in read]
    else:
        stored = await asyncio.to_thread(lambda: Nats(nats_port).read_all("KILLS"))
        nats.note_cpu()
    andon.note_cpu()

    seen, ids, backwards, twice = collections.defaultdict(list), collections.Counter(), 0, 0
    for subject, head, body in stored:
        numbers = seen[subject.split(".")[2]]
        n = json.loads(body)["n"]
        backwards += bool(numbers) and n < numbers[-1]
        numbers.append(n)
        ids[re.search(r"Nats-Msg-Id: ?(.*)\r\n", head).group(1)] += 1
    repeats = sum(count - 1 for count in ids.values())
    acked = sum(len(device.acked) for device in devices)
    lost = sum(n not in have for device in devices for have in [set(seen[device.name])] for n in device.acked)
    twice = sum(len(numbers) - len(set(numbers)) for numbers in seen.values())
    waiting = sum(len(device.waiting) for device in devices)
    latencies = sorted(latency for device in devices for latency in device.latencies)
    errors = sum((device.errors for device in devices), collections.Counter())
    of_nats = "" if args.embedded else f"{args.kills} kills of nats-server ({away['nats-server']:.0f} s away) and "
    print(f"{args.devices} devices, {made} publishes in {took:.0f} s ({made / took:.0f} a second); "
          f"{of_nats}{args.kills} kills of Andon ({away['andon']:.0f} s away)")
    print(f"frames sent {sum(device.sent for device in devices)}, again {sum(device.again for device in devices)}, errors {dict(errors)}")
    print(f"acknowledged {acked}, never acknowledged {waiting}, in the stream {len(stored)}")
    print(f"lost {lost}, repeats by id {repeats}, by device and number {twice}, out of order {backwards}, dropped {dropped:.0f}, "
          f"still in the spool {now['andon_bus_spool_messages']:.0f}")
    print("ack after " + ", ".join(f"p{p} {latencies[int(len(latencies) * p / 100)] * 1000:.1f} ms" for p in (50, 90, 99)))
    print(f"{lost_of}: {written:.0f} bytes written, {written / max(made, 1):.1f} a publish; "
          f"CPU: Andon {andon.cpu_s:.1f} s, {andon.cpu_s / made * 1e6:.0f} us a publish; nats-server {nats.cpu_s:.1f} s")
    for reader in readers:
        print(f"{reader.name}: heard {len(reader.heard)}, again {reader.again}, backwards {reader.backwards}")
    andon.kill()
    if not args.embedded:
        nats.kill()
    if args.keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    bad = {"lost": lost, "repeats": repeats, "twice": twice, "out of order": backwards, "dropped": dropped,
           "not heard by the follower": sum(len(r.heard) != len(stored) for r in readers),
           "backwards for a reader": sum(r.backwards for r in readers), "waiting": waiting, "in the spool": now["andon_bus_spool_messages"], "not acked in time": made - acked}
    if any(bad.values()):
        raise SystemExit(f"FAILED: { {k: v for k, v in bad.items() if v} }")
    print("ok")


try:
    asyncio.run(main())
finally:
    for process in Process.all:
        process.process.kill()
        process.process.wait()
