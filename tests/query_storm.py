#!/usr/bin/env python3
"""A thousand questions at once, two hundred of them hopeless, while samples come in.

    tests/query_storm.py [--andon target/release/andon] [--hours 24] [--memory 256MB] [--keep]

Starts Andon on loopback with a day of a small factory pushed by remote write, goes on pushing every second, and sends
800 good requests (panels, tables, labels) and 200 hopeless ones (regex bombs, 10^9 steps, 10 000 brackets, cross joins,
everything over days, clients that go away or never read) from as many connections at once. Fails where it is not so:
  1. every good request is answered 200, or at most --refused percent of them 503 with Retry-After;
  2. no hopeless one is answered otherwise than with 200, 400, 413, 422, 499 or 503, and the box lives;
  3. memory stays below the limit that the settings give;
  4. every pushed sample was taken at once and is there afterwards.
Prints figures. Only Python's standard library.
"""
import argparse
import asyncio
import http.client
import json
import math
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse

STEP = 30  # seconds between the samples of the past
PATIENCE = 300  # seconds that a client waits
FORM = "application/x-www-form-urlencoded"


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def series(labels, samples):
    """A TimeSeries of remote write 1.0 with its tag and length."""
    pairs = b"".join(field(1, field(1, n.encode()) + field(2, v.encode())) for n, v in sorted(labels.items()))
    return field(1, pairs + b"".join(field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + varint(t)) for t, v in samples))


def snappy(body):
    """The block format, with literals only."""
    out = bytearray(varint(len(body)))
    for start in range(0, len(body), 1 << 16):
        piece = body[start:start + (1 << 16)]
        out += b"\xf4" + struct.pack("<H", len(piece) - 1) + piece
    return bytes(out)


def factory():
    """Label sets of forty machines."""
    names = [f"machine_{what}" for what in ("temperature_celsius", "pressure_bars", "vibration_mm", "power_watts", "speed_ratio",
                                             "parts_total", "scrap_total", "energy_joules_total", "state", "torque_nm")]
    all_labels = [{"__name__": name, "machine": f"m{m:02}", "line": f"l{m % 5}"} for name in names for m in range(40)]
    for m in range(40):
        for le in ("0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"):
            all_labels.append({"__name__": "cycle_seconds_bucket", "machine": f"m{m:02}", "line": f"l{m % 5}", "le": le})
    return all_labels


def value(labels, i):
    if labels["__name__"].endswith(("_total", "_bucket")):
        return float(i * (1 + hash(labels["machine"]) % 3))
    return round(50 + 20 * math.sin(i / 40) + random.random(), 2)


class Box:
    """The running program."""

    def __init__(self, andon, folder, memory):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        settings = folder / "andon.yml"
        settings.write_text(f"host: {{enabled: false}}\nrule_packs: []\nmemory: {{limit: {memory}}}\n")
        self.log = open(folder / "log", "ab")
        command = [andon, "run", "--listen", f"127.0.0.1:{self.port}", "--config", settings, "--data", folder / "data"]
        self.process = subprocess.Popen([str(c) for c in command], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while self.ask("GET", "/-/ready")[0] != 200:
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"not ready; see {folder}/log")
            time.sleep(0.1)

    def ask(self, method, path, body=b"", kind=FORM, encoding=""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"Content-Type": kind} | ({"Content-Encoding": encoding} if encoding else {})
            connection.request(method, path, body or None, headers if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def push(self, body):
        return self.ask("POST", "/api/v1/write", snappy(body), "application/x-protobuf", "snappy")[0]

    def query(self, expression):
        status, body = self.ask("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        if status != 200:
            print(f"{expression}: {status} {body[:300]!r}")
            return 0.0
        result = json.loads(body)["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def memory(self, what):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(what):
                return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


class Pusher(threading.Thread):
    """Goes on pushing a hundred series, once a second."""

    def __init__(self, box):
        super().__init__(daemon=True)
        self.box, self.sent, self.refused, self.longest, self.over = box, 0, 0, 0.0, threading.Event()
        self.labels = [{"__name__": "live", "n": f"{n:03}"} for n in range(100)]

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            now = int(time.time() * 1000)
            status = self.box.push(b"".join(series(labels, [(now, 1.0)]) for labels in self.labels))
            self.longest = max(self.longest, time.monotonic() - began)
            if status == 204:
                self.sent += len(self.labels)
            else:
                self.refused += 1
            self.over.wait(max(0.0, 1 - (time.monotonic() - began)))


def good(now):
    """Endless good requests: (kind, path, parameters)."""
    lines = [f"l{n}" for n in range(5)]
    q, r = "/api/v1/query", "/api/v1/query_range"
    while True:
        line, machine = random.choice(lines), f"m{random.randrange(40):02}"
        hours = random.choice([1, 3, 6])
        window = {"start": now - hours * 3600, "end": now, "step": random.choice([30, 60, 120])}
        yield "instant", q, {"query": f'machine_temperature_celsius{{line="{line}"}}', "time": now}
        yield "instant", q, {"query": "sum by (line) (rate(machine_parts_total[5m]))", "time": now}
        yield "range", r, {"query": f'machine_power_watts{{machine="{machine}"}}', **window}
        yield "range", r, {"query": "avg by (line) (machine_temperature_celsius)", **window}
        yield "range", r, {"query": f'sum(rate(machine_parts_total{{line="{line}"}}[5m]))', **window}
        yield "range", r, {"query": f'histogram_quantile(0.9, sum by (le) (rate(cycle_seconds_bucket{{line="{line}"}}[5m])))', **window}
        yield "range", r, {"query": f'machine_scrap_total{{line="{line}"}} / on (machine) machine_parts_total', **window}
        yield "labels", "/api/v1/label/machine/values", {"match[]": f'machine_state{{line="{line}"}}', "start": now - 3600, "end": now}
        yield "labels", "/api/v1/labels", {"start": now - 3600, "end": now}
        yield "series", "/api/v1/series", {"match[]": f'{{machine="{machine}"}}', "start": now - 3600, "end": now}
        yield "other", "/api/v1/status/buildinfo", {}
        yield "other", "/api/v1/rules", {}


def hopeless(now):
    """Endless hopeless requests, kind by kind."""
    q, r = "/api/v1/query", "/api/v1/query_range"
    everything = '{__name__=~".+"}'
    days = {"start": now - 86_400, "end": now, "step": 8}
    while True:
        yield "regex bomb", q, {"query": 'machine_state{machine=~"((a{1000}){1000}){1000}"}'}
        yield "regex bomb", q, {"query": 'machine_state{machine=~"(.*.*.*.*.*.*.*.*.*.*)*x(x+x+)+y"}'}
        yield "regex bomb", q, {"query": f'machine_state{{machine=~"{"|".join("m" * n + ".*" for n in range(1, 300))}"}}'}
        yield "10^9 steps", r, {"query": "1", "start": 0, "end": 1e9, "step": 1}
        yield "10^9 steps", q, {"query": "sum_over_time(vector(1)[1000000000s:1s])"}
        yield "brackets", q, {"query": "(" * 10_000 + "1" + ")" * 10_000}
        yield "brackets", q, {"query": "-" * 100_000 + "1"}
        yield "long", q, {"query": "1" + "+1" * 100_000}
        yield "long", q, {"query": "a" * 5_000_000}
        yield "cross join", r, {"query": f"{everything} * on (line) group_left () {everything}", **days}
        yield "cross join", r, {"query": "machine_state * on () group_left () machine_parts_total", **days}
        yield "cross join", r, {"query": "machine_state or machine_parts_total or machine_torque_nm or cycle_seconds_bucket", **days}
        yield "count_values", r, {"query": f'count_values("v", {everything})', **days}
        yield "count_values", r, {"query": 'count_values("v", machine_temperature_celsius * 1.000001 ^ time())', **days}
        yield "everything", r, {"query": everything, **days}
        yield "everything", q, {"query": f"{everything}[7d]"}
        yield "everything", r, {"query": f"sum(rate({everything}[1d]))", **days}
        yield "everything", r, {"query": f"quantile_over_time(0.9, {everything}[1d])", **days}
        yield "everything", r, {"query": f"sort_desc(stddev_over_time({everything}[6h]))", **days}
        yield "subqueries", q, {"query": f"max_over_time(sum({everything})[1d:1s])"}
        yield "subqueries", r, {"query": f"max_over_time(max_over_time(max_over_time({everything}[1h:1s])[1h:1s])[1d:1s])", **days}
        yield "label values", q, {"query": f'label_replace({everything}, "x", "$1$1$1$1$1$1$1$1", "machine", "(.*)")'}
        yield "series", "/api/v1/series", {"match[]": [everything] * 200}
        yield "federate", "/federate", {"match[]": [everything] * 50}
        yield "never reads", r, {"query": everything, "start": now - 3600 * 2, "end": now, "step": 15}
        yield "goes away", r, {"query": f"quantile_over_time(0.9, {everything}[1d])", **days}


async def send(port, kind, path, parameters, outcomes):
    """Sends one request on a connection of its own; notes kind, status, seconds, bytes, whether to come again."""
    body = urllib.parse.urlencode(parameters, doseq=True).encode()
    began = time.monotonic()
    status, size, retry, writer = 0, 0, False, None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if path.startswith(("/api/v1/query", "/api/v1/series")) and kind != "federate":
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
            else:
                writer.write(f"GET {path}?{body.decode()} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            if kind == "goes away":
                await asyncio.sleep(1)
                status = -1
                return
            if kind == "never reads":
                await asyncio.sleep(20)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            retry = b"retry-after:" in head.lower()
            while piece := await reader.read(1 << 16):
                size += len(piece)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        pass
    finally:
        outcomes.append((kind, status, time.monotonic() - began, size, retry))
        if writer:
            writer.close()


async def storm(port, now, count, share):
    """Sends all at once, mixed; returns the outcomes of good and hopeless ones."""
    good_ones, hopeless_ones = good(now), hopeless(now)
    kinds = ["hopeless"] * int(count * share) + ["good"] * (count - int(count * share))
    random.shuffle(kinds)
    outcomes = {"good": [], "hopeless": []}
    tasks = []
    for kind in kinds:
        name, path, parameters = next(good_ones if kind == "good" else hopeless_ones)
        tasks.append(asyncio.create_task(send(port, name, path, parameters, outcomes[kind])))
    await asyncio.gather(*tasks)
    return outcomes


def table(title, outcomes):
    print(f"{title}:")
    for kind in sorted({o[0] for o in outcomes}):
        rows = [o for o in outcomes if o[0] == kind]
        times = sorted(o[2] for o in rows)
        statuses = ", ".join(f"{s if s > 0 else 'gone' if s < 0 else 'none'}: {sum(o[1] == s for o in rows)}" for s in sorted({o[1] for o in rows}))
        print(f"  {kind:14} {len(rows):4}  {statuses:34} p50 {times[len(times) // 2]:6.2f} s  longest {times[-1]:6.2f} s  {sum(o[3] for o in rows) / 1e6:8.1f} MB")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--andon", default="target/release/andon")
    arguments.add_argument("--hours", type=int, default=24, help="hours of the past that are pushed")
    arguments.add_argument("--memory", default="256MB", help="the limit in the settings")
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--refused", type=float, default=0, help="percent of the good ones that may be told to come again")
    arguments.add_argument("--keep", action="store_true", help="leave the folder with log and data")
    options = arguments.parse_args()
    random.seed(1)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="andon-storm-"))
    failures = []
    box = Box(options.andon, folder, options.memory)
    try:
        now = int(time.time())
        total = 0
        all_labels = factory()
        for begin in range(0, len(all_labels), 40):
            body = b""
            for labels in all_labels[begin:begin + 40]:
                count = options.hours * 3600 // STEP
                body += series(labels, [((now - (count - i) * STEP) * 1000, value(labels, i)) for i in range(count)])
                total += count
            status = box.push(body)
            if status != 204:
                raise SystemExit(f"the past was not taken: {status}; see {folder}/log")
        pusher = Pusher(box)
        pusher.start()
        time.sleep(3)
        print(f"{len(all_labels)} series, {total} samples of the past, {box.memory('VmRSS:') >> 20} MiB of {options.memory}")
        began, cpu = time.monotonic(), box.cpu_seconds()
        outcomes = asyncio.run(storm(box.port, now, options.count, 0.2))
        took = time.monotonic() - began
        table("good", outcomes["good"])
        table("hopeless", outcomes["hopeless"])
        bad = [o for o in outcomes["good"] if o[1] != 200]
        if any(o[1] != 503 or not o[4] for o in bad) or len(bad) * 100 > options.refused * len(outcomes["good"]):
            failures.append(f"{len(bad)} good requests were not answered 200")
        odd = [o for o in outcomes["hopeless"] if o[1] not in (-1, 200, 400, 413, 422, 499, 503) and not (o[1] == 0 and o[0] == "never reads")]
        if odd:
            failures.append(f"{len(odd)} hopeless requests ended oddly: {sorted({(o[0], o[1]) for o in odd})}")
        time.sleep(2)
        pusher.over.set()
        pusher.join()
        found = box.query("sum(count_over_time(live[1h]))")
        names = sorted({labels["__name__"] for labels in all_labels})
        past = sum(box.query(f"sum(count_over_time({name}[{options.hours + 1}h]))") for name in names)
        peak, limit = box.memory("VmHWM:"), int(options.memory.removesuffix("MB")) << 20
        print(f"{options.count} requests in {took:.1f} s, {box.cpu_seconds() - cpu:.1f} s of CPU; memory at most {peak >> 20} MiB of {limit >> 20}, now {box.memory('VmRSS:') >> 20}")
        print(f"pushed meanwhile {pusher.sent} samples, {pusher.refused} requests refused, the longest took {pusher.longest:.2f} s; found {found:.0f}; of the past {past:.0f} of {total}")
        if pusher.refused or found != pusher.sent or past != total:
            failures.append("samples are missing")
        if peak > limit:
            failures.append(f"memory went to {peak >> 20} MiB")
        if box.process.poll() is not None:
            failures.append("the box ended")
    finally:
        box.process.send_signal(signal.SIGTERM)
        box.process.wait(60)
        if not options.keep and not failures:
            shutil.rmtree(folder)
    for failure in failures:
        print(f"FAILED: {failure}; see {folder}")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
