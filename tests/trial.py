#!/usr/bin/env python3
"""The real run: a box with seven devices beside a real nats-server, node_exporter and Prometheus as its centre.

    tests/trial.py [--andon target/release/andon] [--outage 180] [--settle 60] [--keep]

Shows, and fails where it is not so:
  1. a NATS client that is not ours sees what the devices publish;
  2. node_exporter's series answer host rules with the values of a Prometheus that scrapes the same target;
  3. the centre holds the samples; after an outage of the centre with a kill -9 of Andon in the middle of it,
     the centre has no gap: as many samples per series as Andon;
  4. stopping nats-server makes the NATS alert fire at a webhook within its `for` plus two evaluations, and resolve.

Needs the Debian packages nats-server, prometheus and prometheus-node-exporter. Everything stays on loopback, in a
temporary folder, and is ended by its process id.
"""
import argparse
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

STEP = 5  # seconds between scrapes and between evaluations
FOR = 15  # seconds that the NATS rule waits


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=20):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def ask(base, query, at=None):
    """Instant query: {labels without the centre's own: value}."""
    parameters = {"query": query}
    if at is not None:
        parameters["time"] = f"{at:.3f}"
    body = json.loads(get(f"{base}/api/v1/query?{urllib.parse.urlencode(parameters)}"))
    found = {}
    for series in body["data"]["result"]:
        labels = {k: v for k, v in series["metric"].items() if k not in ("box", "monitor")}
        found[tuple(sorted(labels.items()))] = float(series["value"][1])
    return found


def eventually(what, check, within):
    started = time.monotonic()
    while time.monotonic() - started < within:
        try:
            found = check()
            if found:
                return found
        except (OSError, urllib.error.URLError, KeyError, ValueError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"FAILED: {what}: not within {within:.0f} s")


class Process:
    """One program of the trial, with its output in a file."""

    def __init__(self, name, folder, *command):
        self.name, self.command, self.log = name, [str(c) for c in command], folder / f"{name}.log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        return self

    def end(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)


class NatsListener(threading.Thread):
    """A NATS client of another make: a socket, and the text protocol as it stands in NATS's documentation."""

    def __init__(self, port, subject):
        super().__init__(daemon=True)
        self.subjects, self.errors = {}, []
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"lang":"python","name":"trial"}\r\n')
        self.socket.sendall(f"SUB {subject} 1\r\nPING\r\n".encode())
        self.socket.settimeout(None)
        self.start()

    def run(self):
        stream = self.socket.makefile("rb")
        try:
            while line := stream.readline():
                words = line.split()
                if not words:
                    continue
                if words[0] in (b"MSG", b"HMSG"):
                    subject, size = words[1].decode(), int(words[-1])
                    body = stream.read(size + 2)[:-2]
                    self.subjects.setdefault(subject, []).append(body)
                elif words[0] == b"PING":
                    self.socket.sendall(b"PONG\r\n")
                elif words[0] == b"-ERR":
                    self.errors.append(line)
        except OSError:
            pass


class Webhook(threading.Thread):
    """Receives notices."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.notices = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.notices.append((time.time(), json.loads(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.start()

    def run(self):
        self.server.serve_forever()

    def first(self, alertname, status, after):
        for at, notice in list(self.notices):
            for alert in notice["alerts"]:
                if at >= after and alert["labels"].get("alertname") == alertname and alert["status"] == status:
                    return at
        return None


HOST_RULES = {
    "001 HighCPUUsage": '100 - (avg by(instance) (rate(node_cpu_seconds_total{job="node",mode="idle"}[1m])) * 100)',
    "001 HighMemoryUsage": '(1 - (node_memory_MemAvailable_bytes{job="node"} / node_memory_MemTotal_bytes{job="node"})) * 100',
    "001 HighDiskUsage": '(1 - (node_filesystem_avail_bytes{job="node",fstype!="tmpfs",fstype!="overlay"} / node_filesystem_size_bytes{job="node",fstype!="tmpfs",fstype!="overlay"})) * 100',
    "004 HighCPUUsage": '100 - (avg by(instance) (irate(node_cpu_seconds_total{job="node",mode="idle"}[5m])) * 100)',
    "004 HighMemoryUsage": '(node_memory_MemTotal_bytes{job="node"} - node_memory_MemAvailable_bytes{job="node"}) / node_memory_MemTotal_bytes{job="node"} * 100',
    "004 LowDiskSpace": '(node_filesystem_avail_bytes{job="node",mountpoint="/"} / node_filesystem_size_bytes{job="node",mountpoint="/"}) * 100',
}

RULES = f"""
groups:
  - name: nats-critical
    rules:
      - alert: NATSDown
        expr: up{{job="nats"}} == 0
        for: {FOR}s
        labels: {{severity: critical}}
        annotations: {{summary: "NATS server {{{{ $labels.instance }}}} is down"}}
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--andon", default="target/release/andon")
    arguments.add_argument("--outage", type=float, default=180, help="seconds that the centre is away")
    arguments.add_argument("--settle", type=float, default=60, help="seconds of data before and after the outage")
    arguments.add_argument("--keep", action="store_true", help="leave the folder with logs and data")
    options = arguments.parse_args()
    andon = pathlib.Path(options.andon).resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="andon-trial-"))
    ports = {name: free_port() for name in ("nats", "monitor", "node", "centre", "reference", "andon", "hook")}
    local = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    (folder / "rules.yml").write_text(RULES)
    scrape = f"""
global: {{scrape_interval: {STEP}s, evaluation_interval: {STEP}s, external_labels: {{box: trial}}}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["{local['node']}"]}}]
"""
    (folder / "reference.yml").write_text(scrape)
    # A device that lost its connection hands in what it kept, late: a centre takes that only with a window for it.
    (folder / "centre.yml").write_text(
        "global: {external_labels: {monitor: centre}}\nstorage: {tsdb: {out_of_order_time_window: 30m}}\n")
    (folder / "andon.yml").write_text(scrape + f"""
rule_files: ["{folder}/rules.yml"]
remote_write: [{{url: "http://{local['centre']}/api/v1/write"}}]
bus: {{nats: {{servers: ["nats://{local['nats']}"]}}}}
nats_monitoring: {{servers: ["http://{local['monitor']}"], interval: {STEP}s}}
notifications:
  route: {{receiver: hook, group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
  receivers: [{{name: hook, webhook_configs: [{{url: "http://{local['hook']}/"}}]}}]
""")
    (folder / "nats.conf").write_text(
        f'host: 127.0.0.1\nport: {ports["nats"]}\nhttp: "{local["monitor"]}"\njetstream {{store_dir: "{folder}/js"}}\n')
    nats = Process("nats", folder, "nats-server", "-c", folder / "nats.conf")
    node = Process("node", folder, "prometheus-node-exporter", f"--web.listen-address={local['node']}")

    def prometheus(name, *more):
        return Process(name, folder, "prometheus", f"--config.file={folder}/{name}.yml",
                       f"--storage.tsdb.path={folder}/{name}", f"--web.listen-address={local[name]}", *more)

    centre, reference = prometheus("centre", "--web.enable-remote-write-receiver"), prometheus("reference")
    box = Process("andon", folder, andon, "demo", "--config", folder / "andon.yml", "--data", folder / "data",
                  "--listen", local["andon"])
    processes = [nats, node, centre, reference, box]
    here, there, judge = (f"http://{local[n]}" for n in ("andon", "centre", "reference"))
    try:
        hook = Webhook(ports["hook"])
        for process in (nats, node, centre, reference):
            process.start()
        eventually("nats-server listens", lambda: socket.create_connection(("127.0.0.1", ports["nats"]), 1), 10)
        listener = NatsListener(ports["nats"], ">")
        for name in ("centre", "reference"):
            eventually(f"{name} is ready", lambda n=name: get(f"http://{local[n]}/-/ready"), 30)
        box.start()
        eventually("Andon is ready", lambda: get(f"{here}/-/ready"), 30)
        started = time.time()

        eventually("devices publish", lambda: len(listener.subjects) >= 8, 60)
        eventually("a minute of scrapes", lambda: len(ask(judge, 'count_over_time(up{job="node"}[2m]) >= 12')) == 1, 120)
        compare_rules(here, judge)
        time.sleep(options.settle)

        print(f"-- the centre goes away for {options.outage:.0f} s; Andon is killed in the middle")
        centre.end()
        time.sleep(options.outage / 2)
        box.end(signal.SIGKILL)
        box.start()
        eventually("Andon is ready again", lambda: get(f"{here}/-/ready"), 30)
        time.sleep(options.outage / 2)
        centre.start()
        eventually("the centre is ready again", lambda: get(f"{there}/-/ready"), 30)
        time.sleep(options.settle)
        compare_counts(here, there, started, time.time() - 30)

        seen = {subject: len(bodies) for subject, bodies in sorted(listener.subjects.items())}
        print(f"ok: a NATS client of another make saw {sum(seen.values())} messages on {len(seen)} subjects; "
              f"first ones: {', '.join(list(seen)[:6])}")
        if listener.errors:
            raise SystemExit(f"FAILED: NATS errors: {listener.errors}")
        stop_nats(nats, hook)
    finally:
        for process in reversed(processes):
            process.end()
        if options.keep:
            print(f"left in {folder}")
        else:
            subprocess.run(["rm", "-rf", str(folder)], check=False)
    print("the real run: all well")


def compare_rules(here, judge):
    """Both scrape the same target at other moments, so readings that move are compared with a tolerance."""
    at = time.time() - 10
    for name, query in HOST_RULES.items():
        ours, theirs = ask(here, query, at), ask(judge, query, at)
        if set(ours) != set(theirs) or not theirs:
            raise SystemExit(f"FAILED: {name}: series differ: {sorted(ours)} and {sorted(theirs)}")
        worst = max(abs(ours[k] - theirs[k]) for k in ours)
        limit = 25 if "CPU" in name else 5
        if worst > limit:
            raise SystemExit(f"FAILED: {name}: {worst:.3f} apart: {ours} and {theirs}")
        print(f"ok: {name}: {len(ours)} series, at most {worst:.4f} percentage points apart")


def compare_counts(here, there, start, end):
    """Samples per series in the whole window, here and at the centre."""
    window = int(end - start)
    query = f'count_over_time({{__name__=~".+"}}[{window}s])'
    ours = by_name(here, window, end)
    theirs = by_name(there, window, end)
    # What a device handed in late follows behind the newer samples, once its minute is over.
    deadline = time.monotonic() + 120
    while any(theirs.get(k, 0) < v for k, v in ours.items()) and time.monotonic() < deadline:
        time.sleep(10)
        ours, theirs = by_name(here, window, end), by_name(there, window, end)
    missing = {k: v for k, v in ours.items() if theirs.get(k, 0) < v}
    more = {k: v for k, v in theirs.items() if v > ours.get(k, 0)}
    total = sum(ours.values())
    print(f"{'ok' if not missing else 'FAILED'}: {len(ours)} series with {int(total)} samples in {window} s; "
          f"at the centre {len(theirs)} series with {int(sum(theirs.values()))}; "
          f"{len(missing)} series with a gap, {len(more)} with more than here ({query})")
    if missing:
        for key, count in list(missing.items())[:20]:
            print("  ", dict(key), int(count), "here,", int(theirs.get(key, 0)), "there")
        raise SystemExit("FAILED: the centre has gaps")


def by_name(base, window, end):
    """Raw samples through a range selector, because count_over_time drops the metric name."""
    names = json.loads(get(f"{base}/api/v1/label/__name__/values"))["data"]
    found = {}
    for name in names:
        query = urllib.parse.urlencode({"query": f'{{__name__="{name}"}}[{window}s]', "time": f"{end:.3f}"})
        for series in json.loads(get(f"{base}/api/v1/query?{query}"))["data"]["result"]:
            labels = {k: v for k, v in series["metric"].items() if k not in ("box", "monitor")}
            found[tuple(sorted(labels.items()))] = len(series["values"])
    return found


def stop_nats(nats, hook):
    stopped = time.time()
    nats.end()
    limit = FOR + 2 * STEP + STEP  # `for`, two evaluations, and the poll that notices
    fired = eventually("NATSDown fires at the webhook", lambda: hook.first("NATSDown", "firing", stopped), limit + 5)
    print(f"ok: NATSDown fired {fired - stopped:.1f} s after nats-server stopped (for {FOR} s, evaluated every {STEP} s)")
    if fired - stopped > limit:
        raise SystemExit(f"FAILED: later than {limit} s")
    nats.start()
    back = time.time()
    resolved = eventually("NATSDown resolves", lambda: hook.first("NATSDown", "resolved", back), 60)
    print(f"ok: NATSDown resolved {resolved - back:.1f} s after nats-server was back")


if __name__ == "__main__":
    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    sys.exit(main())
