#!/usr/bin/env python3
"""The same rules and series in a Prometheus with an Alertmanager and in Andon: the same webhook notifications?

    tests/alerts_beside_prometheus.py [--andon target/release/andon] [--scale 1] [--keep FILE]

A target serves series that a script makes go wrong and right again: an hour of faults with all intervals compressed
(evaluation 1 s, `for` 0 to 6 s, groups wait 4 s and 8 s). Debian's prometheus scrapes it and sends alerts to Debian's
prometheus-alertmanager; Andon scrapes the same. Both have the same rule file and the same routes, inhibition and
receivers. Compared are the sets of what was told: receiver, labels and key of the group, status, alerts with labels,
annotations and status. What differs must stand in ON_PURPOSE. `--scale 2` doubles all times on a busy machine.
"""
import argparse
import http.client
import http.server
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

# What is otherwise than in Alertmanager 0.25 with Prometheus 2.42, and why. Each takes what a side was told and gives
# what of it is compared.
ON_PURPOSE = [
    "an end that was told is not told again: there Prometheus sends it for 15 minutes, and each time the group has "
    "other news it is in the notice once more",
    "how often the same is told again (repeat_interval) is held against the clock of each side: compared is that it is, "
    "not how often",
]

RULES = """
groups:
  - name: line
    interval: {second}s
    rules:
      - record: line:temp:max
        expr: max by (line) (temp)
      - alert: Hot
        expr: temp > 80
        for: {for_}s
        labels: {{severity: warning, service: oven}}
        annotations: {{summary: '{{{{ $labels.device }}}} of {{{{ $labels.line }}}} is at {{{{ $value | printf "%.0f" }}}}'}}
      - alert: VeryHot
        expr: temp > 95
        labels: {{severity: critical, service: oven}}
      - alert: LineDown
        expr: running == 0
        labels: {{severity: critical, service: line}}
        annotations: {{summary: '{{{{ $labels.line }}}} stands at {{{{ $externalLabels.site }}}}'}}
      - alert: SlowLine
        expr: speed < 10
        labels: {{severity: warning, service: line}}
      - alert: SecurityDoorOpen
        expr: door == 1
        labels: {{severity: info}}
      - alert: Held
        expr: held > 0
        labels: {{severity: info, team: night}}
      - alert: MaxHigh
        expr: line:temp:max > 90
        labels: {{severity: info, service: oven}}
"""

ROUTES = """
route:
  receiver: default
  group_by: [alertname, line]
  group_wait: {wait}s
  group_interval: {interval}s
  repeat_interval: {repeat}s
  routes:
    - match: {{severity: critical}}
      receiver: critical
      group_by: [service]
      continue: true
    - matchers: [severity="warning", service=~"oven|line"]
      receiver: warning
    - match_re: {{alertname: 'Security.*'}}
      receiver: security
      group_by: ['...']
    - match: {{team: night}}
      receiver: quiet
inhibit_rules:
  - source_match: {{alertname: LineDown}}
    target_match: {{alertname: SlowLine}}
    equal: [line]
receivers:
  - name: default
    webhook_configs: [{{url: '{url}/default'}}]
  - name: critical
    webhook_configs: [{{url: '{url}/critical'}}]
  - name: warning
    webhook_configs: [{{url: '{url}/warning'}}]
  - name: security
    webhook_configs: [{{url: '{url}/security'}}]
  - name: quiet
    webhook_configs: [{{url: '{url}/quiet', send_resolved: false}}]
"""

# Faults: when (in group intervals), which series, its new value.
SCRIPT = [
    (1, {"temp a 1": 85}), (3, {"temp a 2": 99, "temp b 1": 84}), (5, {"temp a 1": 70, "speed a": 5}),
    (7, {"running a": 0, "door x": 1}), (9, {"temp a 2": 60, "door x": 0, "held h": 1}),
    (11, {"running a": 1, "held h": 0, "temp b 1": 97}), (13, {"held h": 1, "speed a": 20, "door y": 1}),
    (15, {"temp b 1": 20, "held h": 0, "temp a 1": 91, "temp a 2": 92}), (17, {"temp a 1": 20, "door y": 0}),
    (19, {"temp a 2": 20, "running b": 0, "speed b": 1}), (22, {"running b": 1}), (24, {"speed b": 30}),
]
END = 27


class Series:
    def __init__(self):
        self.values = {f"temp {line} {device}": 20 for line in "ab" for device in "12"}
        self.values |= {f"running {line}": 1 for line in "ab"} | {f"speed {line}": 20 for line in "ab"}
        self.values |= {"door x": 0, "door y": 0, "held h": 0}

    def text(self):
        lines = []
        for name, value in sorted(self.values.items()):
            metric, first, *rest = name.split()
            labels = {"temp": f'line="{first}",device="{"".join(rest)}"', "running": f'line="{first}"',
                      "speed": f'line="{first}"', "door": f'door="{first}"', "held": f'what="{first}"'}[metric]
            lines.append(f"{metric}{{{labels}}} {value}\n")
        return "".join(lines).encode()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.series, self.told = Series(), {"there": [], "here": []}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.series.text()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        side = self.path.split("/")[1]
        self.server.told[side].append((time.monotonic(), body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ready(port, path):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"nobody is ready on {port}")


def start(folder, andon, server, scale):
    ports = {name: free_port() for name in ("prometheus", "alertmanager", "andon")}
    times = {"wait": 4 * scale, "interval": 8 * scale, "repeat": 60 * scale}
    rules = RULES.format(second=scale, for_=6 * scale)
    (folder / "rules.yml").write_text(rules)
    sides = {side: ROUTES.format(url=f"http://127.0.0.1:{server.server_port}/{side}", **times) for side in server.told}
    (folder / "alertmanager.yml").write_text(sides["there"])
    (folder / "here.yml").write_text(sides["here"])
    common = f"""
global: {{scrape_interval: {scale}s, evaluation_interval: {scale}s, external_labels: {{site: north}}}}
rule_files: [rules.yml]
scrape_configs: [{{job_name: line, static_configs: [{{targets: ['127.0.0.1:{server.server_port}']}}]}}]
"""
    (folder / "prometheus.yml").write_text(
        common + f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{ports['alertmanager']}']}}]}}]}}\n")
    (folder / "andon.yml").write_text(
        common + "host: {enabled: false}\nrule_packs: []\nnotifications: {config_file: here.yml}\n")
    commands = {
        "alertmanager": ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
                         f"--storage.path={folder}/am", f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
                         "--cluster.listen-address="],
        "prometheus": ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prom",
                       f"--web.listen-address=127.0.0.1:{ports['prometheus']}"],
        "andon": [andon, "run", "--config", folder / "andon.yml", "--data", folder / "andon",
                  "--listen", f"127.0.0.1:{ports['andon']}"],
    }
    running = {}
    for name, command in commands.items():
        log = open(folder / f"{name}.log", "wb")
        running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    for name in commands:
        ready(ports[name], "/-/ready")
    return running


def notices(told):
    """What a side was told, without repeats and without ends that were told before; with when it came."""
    found, over = [], set()
    for at, body in told:
        group = (body["receiver"], body["groupKey"], json.dumps(body["groupLabels"], sort_keys=True))
        alerts = []
        for alert in body["alerts"]:
            name = (group, json.dumps(alert["labels"], sort_keys=True))
            if alert["status"] == "resolved":
                if name in over:
                    continue
                over.add(name)
            else:
                over.discard(name)
            # The value of an alert that is over is that of whoever asked last.
            annotations = alert["annotations"] if alert["status"] == "firing" else {}
            alerts.append((alert["status"], name[1], json.dumps(annotations, sort_keys=True)))
        if alerts:
            found.append((at, (group, body["status"], tuple(sorted(alerts)))))
    return found


def show(notice):
    (receiver, key, labels), status, alerts = notice
    lines = [f"  {receiver} {labels} {status} ({key})"]
    return "\n".join(lines + [f"      {s} {l} {a}" for s, l, a in alerts])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--andon", default="target/release/andon", type=pathlib.Path)
    parser.add_argument("--scale", default=1, type=int)
    parser.add_argument("--keep", type=pathlib.Path)
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    server = Server()
    running = start(folder, args.andon.resolve(), server, args.scale)
    unit = 8 * args.scale
    begin = time.monotonic()
    try:
        for when, values in SCRIPT:
            time.sleep(max(0, begin + when * unit - time.monotonic()))
            server.series.values |= values
        time.sleep(max(0, begin + END * unit - time.monotonic()))
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            process.wait()
    sides = {side: notices(told) for side, told in server.told.items()}
    there, here = ({n for _, n in sides[side]} for side in ("there", "here"))
    for what, only in (("only there", there - here), ("only here", here - there)):
        for notice in sorted(only):
            at = next(at for at, n in sides["there" if what == "only there" else "here"] if n == notice)
            print(f"{what}, {at - begin:.1f} s\n{show(notice)}")
    if args.keep:
        args.keep.write_text(json.dumps(server.told, indent=1))
    print(f"{len(server.told['there'])} notices there, {len(server.told['here'])} here; {len(there)} and {len(here)} "
          f"different ones, {len(there & here)} the same")
    shutil.rmtree(folder)
    raise SystemExit(0 if there == here and there else 1)


main()
