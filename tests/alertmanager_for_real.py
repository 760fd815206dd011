#!/usr/bin/env python3
"""Debian's prometheus, prometheus-alertmanager and amtool with Andon, each in the place it has in the field.

    tests/alertmanager_for_real.py [--andon target/release/andon] [--only amtool|prometheus|forwarding]

amtool: what it adds, asks, silences and expires on Andon. prometheus: a Prometheus sends its alerts to Andon, which shows
them with labels and the Prometheus's own link, tells a webhook with that link, and takes their end. forwarding: Andon hands
its alarms on to Alertmanagers, one of the settings and one of a file that comes later: what fires, what is over, and what
happens while one is away and when it is back. Fails if anything is not as it should be.
"""
import argparse
import atexit
import http.client
import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROBLEMS = []


def check(what, holds, detail=""):
    print(f"{'ok  ' if holds else 'FAIL'} {what} {'' if holds else detail}", flush=True)
    if not holds:
        PROBLEMS.append(what)


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, path, method="GET", body=None):
    """The answer's JSON; None if nobody answers or it is none."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"content-type": "application/json"} if text else {})
        answer = connection.getresponse()
        said = answer.read()
        return json.loads(said) if answer.status == 200 and said else answer.status
    except (OSError, ValueError, http.client.HTTPException):
        return None


def status(port, path):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None


class Program:
    """A program that runs until it is ended; its own folder, its own port."""

    def __init__(self, folder, name, command):
        self.folder, self.name, self.command, self.port = folder / name, name, command, free_port()
        self.folder.mkdir()
        self.process = None
        # Nothing stays behind, however the script ends.
        atexit.register(self.stop)

    def start(self, ready):
        log = open(self.folder / "log", "ab")
        command = [str(part).replace("PORT", str(self.port)) for part in self.command(self.folder)]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        if not until(lambda: status(self.port, ready) == 200, 60):
            sys.exit(f"{self.name} does not answer: {(self.folder / 'log').read_text()[-2000:]}")
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None


class Sink(http.server.ThreadingHTTPServer):
    """A webhook that keeps what it is told, and a target whose series can be set."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.told, self.series = [], {"temp": 20}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body=b""):
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer("".join(f'{name}{{line="7"}} {value}\n' for name, value in self.server.series.items()).encode())

    def do_POST(self):
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.answer()

    def log_message(self, *_):
        pass


RULES = """
groups:
  - name: oven
    interval: 1s
    rules:
      - alert: Hot
        expr: temp > 80
        labels: {severity: critical}
        annotations: {summary: 'line {{ $labels.line }} is at {{ $value }}'}
"""


def andon(program, folder, settings):
    def command(own):
        (own / "andon.yml").write_text(settings(own))
        return [program, "run", "--config", own / "andon.yml", "--data", own / "data", "--listen", "127.0.0.1:PORT"]
    return Program(folder, "andon", command).start("/-/ready")


def alertmanager(folder, name):
    def command(own):
        (own / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
        return ["prometheus-alertmanager", "--config.file", own / "am.yml", "--storage.path", own / "data",
                "--web.listen-address", "127.0.0.1:PORT", "--cluster.listen-address="]
    return Program(folder, name, command)


def with_amtool(program, folder):
    box = andon(program, folder, lambda own: """
host: {enabled: false}
rule_packs: []
notifications:
  route:
    receiver: team
    routes: [{match: {severity: critical}, receiver: pager}]
  receivers: [{name: team}, {name: pager}]
""")

    def amtool(*arguments):
        done = subprocess.run(["amtool", f"--alertmanager.url=http://127.0.0.1:{box.port}", *arguments],
                              capture_output=True, text=True, timeout=60, check=False)
        # That the versions differ is said on standard error.
        return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr

    code, said = amtool("alert", "add", "Hot", "line=7", "severity=critical", "--annotation=summary=too hot",
                        "--generator-url=http://elsewhere:9090/graph?g0.expr=temp+%3E+80")
    check("amtool alert add", code == 0, said)
    code, said = amtool("alert", "add", "Cold", "line=8", "severity=info")
    code, said = amtool("alert", "query")
    check("amtool alert query", code == 0 and "Hot" in said and "too hot" in said and "Cold" in said, said)
    code, said = amtool("alert", "query", "line=~7|9")
    check("amtool alert query with a matcher", code == 0 and "Hot" in said and "Cold" not in said, said)
    code, said = amtool("alert", "query", "-o", "json", "Hot")
    found = json.loads(said) if code == 0 else []
    check("amtool alert query as JSON has labels, link and receiver",
          [(a["labels"], a["generatorURL"], [r["name"] for r in a["receivers"]]) for a in found]
          == [({"alertname": "Hot", "line": "7", "severity": "critical"},
               "http://elsewhere:9090/graph?g0.expr=temp+%3E+80", ["pager"])], said)
    code, said = amtool("silence", "add", "line=7", "--comment=jam", "--author=eva", "--duration=2h")
    silence = said.strip()
    check("amtool silence add", code == 0 and len(silence) == 36, said)
    code, said = amtool("silence", "query")
    check("amtool silence query", code == 0 and silence in said and "eva" in said and "jam" in said, said)
    code, said = amtool("alert", "query")
    check("a silenced alert is hidden", code == 0 and "Hot" not in said and "Cold" in said, said)
    code, said = amtool("alert", "query", "--silenced")
    check("and shown when asked for", code == 0 and "Hot" in said, said)
    code, said = amtool("silence", "update", silence, "--comment=longer", "--duration=4h")
    check("amtool silence update", code == 0, said)
    code, said = amtool("silence", "query", "-q")
    ids = said.split()
    check("it is still one", code == 0 and len(ids) == 1, said)
    code, said = amtool("silence", "expire", *ids)
    check("amtool silence expire", code == 0, said)
    code, said = amtool("silence", "query")
    check("then there is none", code == 0 and ids[0] not in said, said)
    code, said = amtool("silence", "query", "--expired", "-q")
    check("but among those that are over", code == 0 and ids[0] in said, said)
    code, said = amtool("alert", "query")
    check("the alert is back", code == 0 and "Hot" in said, said)
    code, said = amtool("config", "show")
    check("amtool config show", code == 0 and "pager" in said, said)
    code, said = amtool("config", "routes", "test", "severity=critical")
    check("amtool config routes test asks the box", code == 0 and said.strip() == "pager", said)
    code, said = amtool("alert", "add", "Hot", "line=7", "severity=critical", "--end=2020-01-01T00:00:00Z",
                        "--start=2019-01-01T00:00:00Z")
    gone = until(lambda: "Hot" not in amtool("alert", "query")[1], 10)
    check("an end that has come ends it", code == 0 and gone, said)
    box.stop()


def with_prometheus(program, folder):
    sink = Sink()
    box = andon(program, folder, lambda own: f"""
host: {{enabled: false}}
rule_packs: []
notifications:
  route: {{receiver: hook, group_by: [alertname], group_wait: 500ms, group_interval: 1s}}
  receivers: [{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{sink.server_port}/'}}]}}]
""")

    def command(own):
        (own / "rules.yml").write_text(RULES)
        (own / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{site: north}}}}
rule_files: [rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{box.port}']}}]}}]}}
scrape_configs: [{{job_name: oven, static_configs: [{{targets: ['127.0.0.1:{sink.server_port}']}}]}}]
""")
        return ["prometheus", "--config.file", own / "prometheus.yml", "--storage.tsdb.path", own / "data",
                "--web.listen-address", "127.0.0.1:PORT", "--rules.alert.resend-delay=2s",
                "--web.external-url=http://prom.example:9090/"]
    prometheus = Program(folder, "prometheus", command).start("/-/ready")
    sink.series["temp"] = 95
    alerts = lambda: ask(box.port, "/api/v2/alerts") or []
    check("its alert is here", until(lambda: len(alerts()) == 1), alerts())
    alert = alerts()[0] if alerts() else {}
    check("with all labels", alert.get("labels") == {
        "alertname": "Hot", "severity": "critical", "line": "7", "job": "oven", "site": "north",
        "instance": f"127.0.0.1:{sink.server_port}"}, alert)
    check("and annotations", alert.get("annotations") == {"summary": "line 7 is at 95"}, alert)
    link = "http://prom.example:9090/graph?g0.expr=temp+%3E+80&g0.tab=1"
    check("and its own link", alert.get("generatorURL") == link, alert)
    board = (ask(box.port, "/api/v1/alarms") or {}).get("data", {}).get("alarms", [{}])
    check("the board knows expression and link", (board[0].get("expression"), board[0].get("sourceUrl"))
          == ("temp > 80", link), board)
    check("a webhook is told", until(lambda: len(sink.told) >= 1), sink.told)
    check("with the link", sink.told and sink.told[0]["alerts"][0]["generatorURL"] == link, sink.told)
    told = (ask(prometheus.port, "/api/v1/alertmanagers") or {}).get("data", {}).get("activeAlertmanagers", [])
    check("the Prometheus counts this box as its Alertmanager",
          [t["url"] for t in told] == [f"http://127.0.0.1:{box.port}/api/v2/alerts"], told)
    # The box away and back: the alert is still here, nobody is told again.
    box.stop()
    box.start("/-/ready")
    check("after a restart it is still here", until(lambda: len(alerts()) == 1), alerts())
    time.sleep(4)
    check("and nobody is told again", len(sink.told) == 1, sink.told)
    sink.series["temp"] = 20
    check("its end is here", until(lambda: alerts() == []), alerts())
    check("and told", until(lambda: [t["status"] for t in sink.told] == ["firing", "resolved"]), sink.told)
    prometheus.stop()
    box.stop()
    sink.shutdown()


def with_forwarding(program, folder):
    sink = Sink()
    first, second = alertmanager(folder, "first").start("/-/ready"), alertmanager(folder, "second").start("/-/ready")
    discovered = folder / "discovered.json"
    discovered.write_text("[]")

    def settings(own):
        (own / "rules.yml").write_text(RULES)
        return f"""
host: {{enabled: false}}
rule_packs: []
http: {{external_url: 'http://box.example'}}
global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{site: north}}}}
rule_files: [rules.yml]
scrape_configs: [{{job_name: oven, static_configs: [{{targets: ['127.0.0.1:{sink.server_port}']}}]}}]
alerting:
  alert_relabel_configs: [{{regex: instance, action: labeldrop}}]
  alertmanagers:
    - static_configs: [{{targets: ['127.0.0.1:{first.port}']}}]
    - file_sd_configs: [{{files: ['{discovered}']}}]
"""
    box = andon(program, folder, settings)
    alerts = lambda there: ask(there.port, "/api/v2/alerts") or []
    names = lambda there: sorted(a["labels"]["alertname"] for a in alerts(there))
    sink.series["temp"] = 95
    check("what fires is at the Alertmanager of the settings", until(lambda: names(first) == ["Hot"]), alerts(first))
    alert = alerts(first)[0] if alerts(first) else {}
    check("with labels of the box, relabelled",
          alert.get("labels") == {"alertname": "Hot", "severity": "critical", "line": "7", "job": "oven", "site": "north"},
          alert)
    check("and this box's link", str(alert.get("generatorURL")).startswith("http://box.example/graph?g0.expr=temp"), alert)
    check("nothing at the other yet", alerts(second) == [], alerts(second))
    discovered.write_text(json.dumps([{"targets": [f"127.0.0.1:{second.port}"], "labels": {}}]))
    check("one of a file is found while running and told", until(lambda: names(second) == ["Hot"]), alerts(second))
    active = (ask(box.port, "/api/v1/alertmanagers") or {}).get("data", {}).get("activeAlertmanagers", [])
    check("both are shown", len(active) == 2, active)
    # An Alertmanager that loses what it knows: it has it again with the next round.
    first.stop()
    shutil.rmtree(first.folder / "data", ignore_errors=True)
    sink.series["temp"] = 20
    check("its end is told to the one that is there", until(lambda: alerts(second) == []), alerts(second))
    sink.series["temp"] = 99
    check("and that it came again", until(lambda: names(second) == ["Hot"]), alerts(second))
    first.start("/-/ready")
    check("one that was away knows it when it is back", until(lambda: names(first) == ["Hot"], 90), alerts(first))
    sink.series["temp"] = 20
    check("both hear of the end", until(lambda: alerts(first) == [] and alerts(second) == []),
          (alerts(first), alerts(second)))
    # Alertmanager's API of the box itself shows its own alarms as the others see them.
    sink.series["temp"] = 98
    amtool = lambda *arguments: subprocess.run(
        ["amtool", f"--alertmanager.url=http://127.0.0.1:{box.port}", *arguments], capture_output=True, text=True, check=False)
    check("amtool finds own alarms by an external label", until(lambda: "Hot" in amtool("alert", "query", "site=north").stdout))
    amtool("silence", "add", "site=north", "--comment=outing", "--author=eva")
    check("and silences them", "Hot" not in amtool("alert", "query", "site=north").stdout
          and "Hot" in amtool("alert", "query", "--silenced", "site=north").stdout)
    history = lambda: [t["event"] for t in ask(box.port, "/api/v1/alarms/history?limit=1")["data"]["transitions"]]
    check("which the journal has", until(lambda: history() == ["silenced"], 10), history())
    discovered.write_text("[]")
    gone = lambda: len((ask(box.port, "/api/v1/alertmanagers") or {}).get("data", {}).get("activeAlertmanagers", [])) == 1
    check("one that left the file is let go", until(gone))
    for program_ in (box, first, second):
        program_.stop()
    sink.shutdown()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--andon", default="target/release/andon")
    arguments.add_argument("--only", choices=["amtool", "prometheus", "forwarding"])
    options = arguments.parse_args()
    program = pathlib.Path(options.andon).resolve()
    for name, part in [("amtool", with_amtool), ("prometheus", with_prometheus), ("forwarding", with_forwarding)]:
        if options.only in (None, name):
            print(f"-- {name}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                part(program, pathlib.Path(folder))
    sys.exit(f"{len(PROBLEMS)} are not as they should be" if PROBLEMS else 0)


if __name__ == "__main__":
    main()
