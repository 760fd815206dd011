#!/usr/bin/env python3
"""How soon a crossing is told, what many rules cost, and that a restart tells nothing.

    tests/alarm_speed.py [--andon target/release/andon] [--crossings 200] [--rules 2000] [--series 50000] [--minutes 3]

1. Latency: a rule with `for: 0s` evaluated each second, told by webhook without waiting for a group. A sample that
   crosses the limit is pushed, and the time from sending it to the webhook's request is taken. Prints p50, p99, most.
2. Restart: five alarms fire and are told. The box is killed, stays away, starts again with the same data: nothing may
   be told, neither that they are over nor that they are new, for two minutes of samples and evaluations.
3. Many rules: rules over many series, pushed and evaluated every 15 s. Prints the share of one CPU with and without the
   rules, how long evaluations take, and ticks that were left out.
Fails if 2 or 3 is not as it should be. Only Python's standard library; loopback only.
"""
import argparse
import http.client
import http.server
import json
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


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def prepared(labels):
    """The labels of a series as remote write 1.0 has them."""
    return b"".join(field(1, field(1, n.encode()) + field(2, v.encode())) for n, v in sorted(labels.items()))


def request(samples):
    """A request of (labels as prepared, milliseconds, value)."""
    return b"".join(field(1, pairs + field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + varint(t)))
                    for pairs, t, v in samples)


def snappy(body):
    """The block format, with literals only."""
    out = bytearray(varint(len(body)))
    for start in range(0, len(body), 1 << 16):
        piece = body[start:start + (1 << 16)]
        out += b"\xf4" + struct.pack("<H", len(piece) - 1) + piece
    return bytes(out)


class Hook(http.server.ThreadingHTTPServer):
    """Takes webhooks and notes when each alert was told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Take)
        self.told = []
        self.news = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait_for(self, wanted, seconds):
        until = time.time() + seconds
        with self.news:
            while True:
                found = [t for t in self.told if wanted(t)]
                if found or time.time() > until:
                    return found
                self.news.wait(0.5)


class Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        at = time.time()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.news:
            for alert in body["alerts"]:
                self.server.told.append((at, alert["status"], alert["labels"]))
            self.server.news.notify_all()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Box:
    """The running program."""

    def __init__(self, andon, folder, rules, hook):
        self.folder = folder
        (folder / "rules.yml").write_text(rules)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        settings = folder / "andon.yml"
        settings.write_text(
            "host: {enabled: false}\nrule_packs: []\nrule_files: [rules.yml]\nnotifications:\n"
            "  route: {receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}\n"
            "  receivers:\n  - name: hook\n    webhook_configs:\n"
            f"    - url: http://127.0.0.1:{hook.server_address[1]}/\n      send_resolved: true\n")
        self.command = [str(andon), "run", "--listen", f"127.0.0.1:{self.port}", "--config", str(settings), "--data",
                        str(folder / "data")]
        self.start()

    def start(self):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while self.ask("GET", "/-/ready")[0] != 200:
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"not ready; see {self.folder}/log")
            time.sleep(0.05)

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(30)

    def ask(self, method, path, body=b"", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def push(self, samples):
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        status, body = self.ask("POST", "/api/v1/write", snappy(request(samples)), headers)
        if status // 100 != 2:
            raise SystemExit(f"a push was refused: {status} {body[:300]!r}")

    def alarms(self):
        return json.loads(self.ask("GET", "/api/v1/alarms")[1])["data"]["alarms"]

    def metric(self, name):
        text = self.ask("GET", "/metrics")[1].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def now_ms():
    return int(time.time() * 1000)


def latency(args, folder, hook):
    rules = ("groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Hot\n    expr: temp > 80\n    for: 0s\n"
             "    labels: {severity: critical}\n")
    box = Box(args.andon, folder, rules, hook)
    took = []
    for n in range(args.crossings):
        name = f"m{n:04}"
        pairs = prepared({"__name__": "temp", "machine": name})
        box.push([(pairs, now_ms(), 20.0)])
        # Anywhere between two evaluations.
        time.sleep(random.random())
        sent = time.time()
        box.push([(pairs, now_ms(), 90.0)])
        told = hook.wait_for(lambda t: t[2].get("machine") == name and t[1] == "firing", 20)
        if not told:
            raise SystemExit(f"{name} was never told")
        took.append(told[0][0] - sent)
        box.push([(pairs, now_ms(), 20.0)])
    box.end()
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1000
    print(f"latency over {len(took)} crossings: p50 {at(0.5):.0f} ms, p90 {at(0.9):.0f} ms, p99 {at(0.99):.0f} ms, "
          f"most {took[-1] * 1000:.0f} ms")


def restart(args, folder, hook):
    rules = ("groups:\n- name: g\n  interval: 5s\n  rules:\n  - alert: Hot\n    expr: temp > 80\n    for: 5s\n"
             "  - alert: Slow\n    expr: rate(parts_total[1m]) < 1\n    for: 5s\n")
    box = Box(args.andon, folder, rules, hook)
    hot = [prepared({"__name__": "temp", "machine": f"m{n}"}) for n in range(4)]
    parts = prepared({"__name__": "parts_total", "machine": "m9"})
    count = [0]

    def push():
        count[0] += 1
        box.push([(pairs, now_ms(), 90.0) for pairs in hot] + [(parts, now_ms(), count[0] * 0.1)])

    hook.told.clear()
    until = time.time() + 90
    while len({json.dumps(t[2], sort_keys=True) for t in hook.told if t[1] == "firing"}) < 5:
        if time.time() > until:
            raise SystemExit(f"five alarms did not fire: {hook.told}")
        push()
        time.sleep(2)
    time.sleep(2)
    for how, away in ((signal.SIGTERM, 5), (signal.SIGKILL, 20), (signal.SIGKILL, args.away)):
        hook.told.clear()
        box.end(how)
        time.sleep(away)
        box.start()
        # The first samples come late: devices are slower than the box.
        time.sleep(15)
        for _ in range(30):
            push()
            time.sleep(2)
        active = [a for a in box.alarms() if a["state"] == "active"]
        print(f"restart by {how.name}, away {away} s: {len(active)} active, {len(hook.told)} notices")
        if len(active) != 5 or hook.told:
            raise SystemExit(f"a restart was told: {hook.told}, {active}")
    box.end()


def many(args, folder, hook, with_rules):
    per_group = 20
    groups = []
    for g in range(args.rules // per_group if with_rules else 0):
        rules = "".join(
            f"  - alert: R{g}_{r}\n    expr: avg by (machine) (rate(m{(g * per_group + r) % 100}_total{{part=\"p{(g + r) % 10}\"}}[1m])) > 1000\n"
            "    for: 1m\n    annotations: {summary: '{{ $labels.machine }}: {{ $value | humanize }}'}\n"
            for r in range(per_group))
        groups.append(f"- name: g{g}\n  interval: 15s\n  rules:\n{rules}")
    text = "groups:\n" + "".join(groups) if groups else "groups: []\n"
    box = Box(args.andon, folder, text, hook)
    machines = args.series // 1000
    pairs = [prepared({"__name__": f"m{n}_total", "part": f"p{p}", "machine": f"x{m}"})
             for n in range(100) for p in range(10) for m in range(machines)]
    value = 0
    started, cpu, missed = None, 0.0, 0.0
    rounds = int(args.minutes * 4) + 8
    for n in range(rounds):
        begun = time.time()
        value += 15
        at = now_ms()
        for i in range(0, len(pairs), 5000):
            box.push([(p, at, float(value)) for p in pairs[i:i + 5000]])
        if n == 8:
            started, cpu, missed = time.time(), box.cpu_seconds(), box.metric("andon_rule_group_iterations_missed_total")
        time.sleep(max(0.0, 15 - (time.time() - begun)))
    share = (box.cpu_seconds() - cpu) / (time.time() - started)
    left_out = box.metric("andon_rule_group_iterations_missed_total") - missed
    failures = box.metric("andon_rule_evaluation_failures_total")
    longest = 0.0
    for line in box.ask("GET", "/metrics")[1].decode().splitlines():
        if line.startswith("andon_rule_group_last_duration_seconds"):
            longest = max(longest, float(line.rsplit(" ", 1)[1]))
    done = box.metric("andon_rule_evaluations_total")
    print(f"{len(pairs)} series every 15 s, {args.rules if with_rules else 0} rules: {share * 100:.1f} % of one CPU, "
          f"{left_out:.0f} ticks left out, {failures:.0f} failures, {done:.0f} evaluations, longest group {longest * 1000:.0f} ms")
    box.end()
    if left_out or failures:
        raise SystemExit("ticks were left out or failed")
    return share


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--andon", type=pathlib.Path, default=pathlib.Path("target/release/andon"))
    parser.add_argument("--crossings", type=int, default=200)
    parser.add_argument("--rules", type=int, default=2000)
    parser.add_argument("--series", type=int, default=50000)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--away", type=int, default=60)
    parser.add_argument("--only", choices=["latency", "restart", "many"])
    args = parser.parse_args()
    hook = Hook()
    scenes = {
        "latency": lambda folder: latency(args, folder, hook),
        "restart": lambda folder: restart(args, folder, hook),
        "many": lambda folder: many(args, folder, hook, True),
        "none": lambda folder: many(args, folder, hook, False),
    }
    for name, scene in scenes.items():
        if args.only and name != args.only and not (name == "none" and args.only == "many"):
            continue
        folder = pathlib.Path(tempfile.mkdtemp(prefix="andon-alarms-"))
        try:
            scene(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
