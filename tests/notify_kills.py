#!/usr/bin/env python3
"""Kills Andon at random moments of the life of a group of alarms and looks at what a receiver was told.

    tests/notify_kills.py [--andon target/release/andon] [--kills 50] [--seed 1]

Each round raises an alarm over Alertmanager's API, or ends it, and kills the process (SIGKILL) some time between the
answer and two seconds later; sometimes while the receiver has the request and has not answered. Then it is started
again. Fails if the begin or the end of an alarm is not told, if one is told more than twice, or if one is told twice
whose first telling was answered more than a second before the kill.
"""
import argparse
import http.client
import http.server
import json
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time


class Sink(http.server.ThreadingHTTPServer):
    """A receiver that takes its time and remembers what it was told and when it answered."""

    daemon_threads = True

    def __init__(self, slow):
        super().__init__(("127.0.0.1", 0), Handler)
        self.slow = slow
        self.told = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        entry = {"body": body, "came": time.monotonic(), "answered": None}
        with self.server.lock:
            self.server.told.append(entry)
        time.sleep(self.server.slow())
        entry["answered"] = time.monotonic()
        try:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
        except OSError:
            entry["answered"] = None

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Box:
    def __init__(self, andon, folder, sink):
        self.andon, self.folder, self.port = andon, folder, free_port()
        (folder / "andon.yml").write_text(f"""
host: {{enabled: false}}

rule_packs: []
notifications:
  route: {{receiver: hook, group_by: [alertname], group_wait: 400ms, group_interval: 800ms, repeat_interval: 4h}}
  receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{sink.server_port}/'}}]}}]
""")
        self.process = None

    def start(self):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [self.andon, "run", "--config", self.folder / "andon.yml", "--data", self.folder / "data",
             "--listen", f"127.0.0.1:{self.port}"], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if self.request("GET", "/-/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("not ready within a minute")

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"content-type": "application/json"} if body else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, None

    def alert(self, name, is_over):
        now = time.time()
        stamp = lambda at: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        one = {"labels": {"alertname": name, "severity": "critical"}, "startsAt": stamp(now - 1)}
        if is_over:
            one["endsAt"] = stamp(now)
        status, _ = self.request("POST", "/api/v2/alerts", json.dumps([one]))
        assert status == 200, status

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return time.monotonic()


def tellings(sink, name, status):
    with sink.lock:
        return [t for t in sink.told if any(
            a["labels"]["alertname"] == name and a["status"] == status for a in t["body"]["alerts"])]


def wait_for(sink, name, status, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(t["answered"] for t in tellings(sink, name, status)):
            return True
        time.sleep(0.02)
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--andon", default="target/release/andon", type=pathlib.Path)
    parser.add_argument("--kills", default=50, type=int)
    parser.add_argument("--seed", default=1, type=int)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    lazy = random.Random(args.seed + 1)
    sink = Sink(lambda: lazy.choice([0, 0.02, 0.3]))
    problems, repeats, kills = [], 0, []
    with tempfile.TemporaryDirectory() as folder:
        box = Box(args.andon.resolve(), pathlib.Path(folder), sink)
        box.start()
        for round_ in range(args.kills):
            name, is_over = f"A{round_ // 2}", round_ % 2 == 1
            box.alert(name, is_over)
            moment = chance.uniform(0, 1.6)
            time.sleep(moment)
            kills.append(box.kill())
            time.sleep(chance.choice([0, 0.3]))
            box.start()
            status = "resolved" if is_over else "firing"
            if not wait_for(sink, name, status):
                problems.append(f"round {round_}: {name} {status} was not told (killed after {moment:.3f} s)")
        time.sleep(3)
        box.kill()
    for alarm in range((args.kills + 1) // 2):
        for status in ("firing", "resolved"):
            told = tellings(sink, f"A{alarm}", status)
            if len(told) > 1:
                repeats += 1
                first = told[0]
                between = [k for k in kills if first["came"] < k < told[1]["came"]]
                known_for = between[0] - first["answered"] if between and first["answered"] else 0
                if len(told) > 2 or not between or known_for > 1:
                    problems.append(f"A{alarm} {status} was told {len(told)} times, known for {known_for:.3f} s")
    for line in problems:
        print(line)
    print(f"{args.kills} kills, {len(sink.told)} notices, {repeats} told twice, {len(problems)} problems")
    raise SystemExit(1 if problems else 0)


main()
