#!/usr/bin/env python3
"""Asks Andon and a real Prometheus the same and compares status, headers and the shape of each answer.

    tests/api_beside_prometheus.py [--andon target/release/andon] [--all]

Both scrape the same targets and have the same rules. What differs must stand in `ON_PURPOSE` with its reason; all
else fails. `--all` prints each request with both answers. Needs Debian's prometheus and prometheus-node-exporter.
"""
import argparse
import gzip
import http.client
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

FORM = "application/x-www-form-urlencoded"

# What is otherwise than in Prometheus 2.42, and why: (expression for the request's name, one for the difference, why).
ON_PURPOSE = [
    # Prometheus 3.
    (r"query_range", r"error: 'invalid parameter \"query\": ", "3.x names the parameter here too"),
    (r"^(labels|values) wrong match|^labels empty match|^exemplars", r"error: ", "3.x names the parameter here too"),
    (r"limit|lookback", r"status 400 here, 200|\.(data|error|errorType): (missing|only here)|\.warnings: only here|\.data: nothing here",
     "limit and lookback_delta came with 3.x"),
    (r"^rules", r"\.data\.groups|\.groupNextToken|status 400 here, 200|\.(data|error|errorType): (missing|only here)", "its filters came with 3.x"),
    (r"^targets", r"droppedTargetCounts|droppedTargets\[\]\.scrapePool", "came with 3.x"),
    (r"^(parse|notifications|features|status/tsdb/blocks)", r"status 200 here, 404|content-type|JSON", "came with 3.x"),
    (r"^status/(runtimeinfo|buildinfo)", r"GOMEMLIMIT|hostname|serverTime|application: only here", "the first three came with 3.x; the last is Andon's"),
    (r"^values bad name", r".", "any name may be asked for in 3.x"),
    (r"^series DELETE", r".", "gone in 3.x"),
    # Andon.
    (r".", r"error: .*parse error: .*parse error: ", "the parser's own words and places, which name what was expected"),
    (r".", r"error: .*error converting|error: .*unable to parse boolean", "Go's own words"),
    (r"^series (one )?empty|^labels empty match|^series no selector", r"error: ", "the parser says it, with the place"),
    (r"timeout 0|timeout short|timeout negative", r"error: 'query timed out in expression evaluation' here, 'query timed out in query", "where the time ran out is chance"),
    (r"^query time inf", r".", "there is no such time"),
    (r"^bad UTF-8", r".", "what is no UTF-8 is read as the sign for it"),
    (r"^rules", r"\.data\.mistakes", "Andon's: what is wrong in rule files"),
    (r"HEAD", r".", "HEAD is answered as GET is, without a body"),
    (r".", r"^allow: ", "HEAD is allowed, OPTIONS not named"),
    (r"deflate", r".", "zstd and gzip only"),
    (r"^exemplars no selector", r".", "an empty list, where upstream has no answer at all"),
    (r"^federate (wrong|empty)", r".", "a selector that passes everything is refused as in queries"),
    (r"stats all", r"totalQueryableSamplesPerStep", "behind a flag there"),
    (r"^quit", r".", "there is no such path"),
    (r"^values of up", r".", "Andon's own jobs are there"),
]

# As ON_PURPOSE, but not in every run.
BY_CHANCE = [
    (r"^(series|labels) turned round", r".", "a time that ends before it starts has nothing; there it has, while the head is young"),
    (r"timeout (0|short|negative)", r"error: ", "where the time ran out"),
]

RULES = """
groups:
  - name: one
    interval: 2s
    rules:
      - {record: "job:up:sum", expr: "sum by (job) (up)", labels: {team: a}}
      - {alert: Always, expr: "vector(1)", labels: {severity: page, team: a}, annotations: {summary: "on {{ $labels.severity }}"}}
      - {alert: Waits, expr: "up == 1", for: 1h, labels: {severity: info}}
  - name: two
    interval: 2s
    rules:
      - {record: "up:count", expr: "count(up)"}
      - {alert: Never, expr: "vector(1) > 2"}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers}, body
        encoding = self.headers.get("content-encoding", "")
        if encoding == "gzip":
            body = gzip.decompress(body)
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None
        self.text = body.decode("utf-8", "replace")


def send(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


def shape(value):
    """The kinds of a JSON value: keys with what they hold, lists by all that their items are."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        kinds = []
        for item in value:
            kind = shape(item)
            if kind not in kinds:
                kinds.append(kind)
        return kinds
    return {str: "text", bool: "bool", int: "number", float: "number", type(None): "null"}[type(value)]


def merged(shapes):
    """One shape for all items of a list: keys of all, so that two lists of unlike length compare."""
    keys = {}
    for one in shapes:
        if isinstance(one, dict):
            for key, kind in one.items():
                keys.setdefault(key, []).append(kind)
    return keys


def compare(here, there, place, found):
    """Notes where two shapes differ. `here` is Andon's."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(there.keys() - here.keys()):
            found.append(f"{place}.{key}: missing")
        for key in sorted(here.keys() - there.keys()):
            found.append(f"{place}.{key}: only here")
        for key in sorted(here.keys() & there.keys()):
            compare(here[key], there[key], f"{place}.{key}", found)
    elif isinstance(here, list) and isinstance(there, list):
        if bool(here) != bool(there):
            found.append(f"{place}: {'nothing' if not here else 'something'} here, {'nothing' if not there else 'something'} there")
        elif here and isinstance(here[0], dict) and isinstance(there[0], dict):
            mine, theirs = merged(here), merged(there)
            compare({k: v[0] for k, v in mine.items()}, {k: v[0] for k, v in theirs.items()}, f"{place}[]", found)
        elif here and place.endswith(("value", "values[]")):
            if here != there:
                found.append(f"{place}: {here} here, {there} there")
    elif here != there:
        found.append(f"{place}: {json.dumps(here)[:80]} here, {json.dumps(there)[:80]} there")


# Objects whose keys are data.
FREE = ("metric", "labels", "discoveredLabels", "annotations", "target")


def without_data(value):
    if isinstance(value, dict):
        return {k: ({} if k in FREE and isinstance(v, dict) else without_data(v)) for k, v in value.items()}
    if isinstance(value, list):
        return [without_data(item) for item in value]
    return value


def differences(mine, theirs, kind):
    found = []
    if mine.status != theirs.status:
        found.append(f"status {mine.status} here, {theirs.status} there")
    for name in ("content-type", "content-encoding", "allow"):
        here, there = mine.headers.get(name, ""), theirs.headers.get(name, "")
        if name == "content-type":
            here, there = (t.replace(" ", "").lower() for t in (here, there))
        if here != there:
            found.append(f"{name}: {here!r} here, {there!r} there")
    if (mine.json is None) != (theirs.json is None):
        found.append(f"JSON: {mine.text[:90]!r} here, {theirs.text[:90]!r} there")
    elif mine.json is None:
        if kind != "text" and mine.text != theirs.text:
            found.append(f"text: {mine.text[:120]!r} here, {theirs.text[:120]!r} there")
    elif isinstance(mine.json, dict) and mine.json.get("status") == "error" and theirs.json.get("status") == "error":
        for key in ("errorType", "error"):
            if mine.json.get(key) != theirs.json.get(key):
                found.append(f"{key}: {mine.json.get(key)!r} here, {theirs.json.get(key)!r} there")
    else:
        here, there = without_data(mine.json), without_data(theirs.json)
        if kind == "keyed":
            for one in (here, there):
                one["data"] = list(one.get("data", {}).values())
        if kind == "same":
            if mine.json != theirs.json:
                found.append(f"{json.dumps(mine.json)[:200]} here, {json.dumps(theirs.json)[:200]} there")
        else:
            compare(shape(here), shape(there), "", found)
    return found


def requests(now):
    """(name, method, path, parameters, headers, kind) of all requests; parameters go into the address, or with POST
    into a form."""
    start, end = now - 8, now
    window = [("start", start), ("end", end), ("step", "2")]
    asked = []

    def ask(name, path, parameters=(), method="GET", headers=None, kind=""):
        asked.append((name, method, path, list(parameters), headers or {}, kind))

    def both(name, path, parameters=(), kind=""):
        ask(name, path, parameters, kind=kind)
        ask(f"{name} by form", path, parameters, "POST", kind=kind)

    q, r = "/api/v1/query", "/api/v1/query_range"
    for name, query in {"vector": "up", "scalar": "1", "string": '"a"', "matrix": "up[4s]", "nothing": "nosuch",
                        "bad": "sum(", "unknown function": "nosuch(up)", "type": "sum(1)", "duplicates": "up + on() up",
                        "empty selector": '{a=""}', "bad regex": 'up{job=~"("}'}.items():
        both(f"query {name}", q, [("query", query), ("time", now)])
        both(f"query_range {name}", r, [("query", query), *window])
    both("query without query", q)
    both("query empty query", q, [("query", "")])
    both("query same", q, [("query", "vector(1.5)"), ("time", "1435781451.781")], kind="same")
    for name, more in {"time": ("time", "x"), "time inf": ("time", "Inf"), "time rfc": ("time", "2015-07-01T20:10:51.781Z"), "timeout": ("timeout", "x"),
                       "timeout 0": ("timeout", "0"), "timeout short": ("timeout", "1ns"), "timeout negative": ("timeout", "-1"), "limit": ("limit", "x"), "limit negative": ("limit", "-1"),
                       "limit 1": ("limit", "1"), "lookback": ("lookback_delta", "x"), "lookback 1s": ("lookback_delta", "1s"), "lookback 0": ("lookback_delta", "0"),
                       "lookback negative": ("lookback_delta", "-5"),
                       "stats": ("stats", "true"), "stats all": ("stats", "all")}.items():
        ask(f"query {name}", q, [("query", "up"), more])
        if not name.startswith("time ") and name != "time":
            ask(f"query_range {name}", r, [("query", "up"), *window, more])
    for name, parameters in {
        "nothing": [], "no start": [("query", "up"), ("end", end), ("step", 2)], "no end": [("query", "up"), ("start", start), ("step", 2)],
        "no step": [("query", "up"), ("start", start), ("end", end)], "bad start": [("query", "up"), ("start", "x"), ("end", end), ("step", 2)],
        "bad end": [("query", "up"), ("start", start), ("end", "y"), ("step", 2)], "bad step": [("query", "up"), ("start", start), ("end", end), ("step", "z")],
        "turned round": [("query", "up"), ("start", end), ("end", start), ("step", 2)],
        "step 0": [("query", "up"), ("start", start), ("end", end), ("step", 0)], "step negative": [("query", "up"), ("start", start), ("end", end), ("step", -1)],
        "step tiny": [("query", "up"), ("start", start), ("end", end), ("step", "0.0001")],
        "step huge": [("query", "up"), ("start", start), ("end", end), ("step", "1e30")], "step 1e9": [("query", "up"), ("start", start), ("end", end), ("step", "1e9")],
        "step words": [("query", "up"), ("start", start), ("end", end), ("step", "1m30s")],
        "11 000 steps": [("query", "vector(1)"), ("start", 0), ("end", 11_000), ("step", 1)],
        "11 001 steps": [("query", "vector(1)"), ("start", 0), ("end", 11_001), ("step", 1)],
        "wrong and too many": [("query", "sum("), ("start", 0), ("end", 11_001), ("step", 1)],
        "far times": [("query", "vector(1)"), ("start", "-9223372036854775.808"), ("end", "-9223372036854775.808"), ("step", 1)],
    }.items():
        ask(f"query_range {name}", r, parameters)
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        ask(f"query {method}", f"{q}?query=1", method=method)
    ask("OPTIONS anywhere", "/api/v1/nosuch", method="OPTIONS")
    ask("query from elsewhere", q, [("query", "1")], headers={"Origin": "http://elsewhere.example"})
    ask("query gzip", q, [("query", "up")], headers={"Accept-Encoding": "gzip"})
    ask("labels gzip", "/api/v1/label/__name__/values", headers={"Accept-Encoding": "gzip"})
    ask("labels deflate", "/api/v1/label/__name__/values", headers={"Accept-Encoding": "deflate, gzip;q=0"})
    ask("bad form", q, method="POST", headers={"Content-Type": FORM, "X-Body": "query=%zz"})
    ask("bad address", f"{q}?query=%zz")
    ask("bad UTF-8", f"{q}?query=up%7Bjob%3D%22%ff%22%7D")
    both("exemplars", "/api/v1/query_exemplars", [("query", "up"), ("start", start), ("end", end)])
    ask("exemplars without query", "/api/v1/query_exemplars")
    ask("exemplars turned round", "/api/v1/query_exemplars", [("query", "up"), ("start", end), ("end", start)])
    ask("exemplars wrong", "/api/v1/query_exemplars", [("query", "sum(")])
    ask("exemplars no selector", "/api/v1/query_exemplars", [("query", "1")])
    both("format", "/api/v1/format_query", [("query", "sum(up)by(job)")], kind="same")
    ask("format wrong", "/api/v1/format_query", [("query", "sum(")])
    ask("format empty", "/api/v1/format_query")
    both("parse", "/api/v1/parse_query", [("query", "sum(up)by(job)")])

    both("series", "/api/v1/series", [("match[]", "up"), ("match[]", '{job="node"}'), ("start", start), ("end", end)])
    ask("series without match", "/api/v1/series")
    ask("series wrong match", "/api/v1/series", [("match[]", "up{")])
    ask("series no selector", "/api/v1/series", [("match[]", "sum(up)")])
    ask("series empty match", "/api/v1/series", [("match[]", '{a=""}')])
    ask("series empty text", "/api/v1/series", [("match[]", "")])
    ask("series one empty of two", "/api/v1/series", [("match[]", '{a=~".*"}'), ("match[]", "up")])
    ask("series turned round", "/api/v1/series", [("match[]", "up"), ("start", end), ("end", start)])
    ask("series bad start", "/api/v1/series", [("match[]", "up"), ("start", "x")])
    ask("series bad end", "/api/v1/series", [("match[]", "up"), ("end", "x")])
    ask("series far", "/api/v1/series", [("match[]", "up"), ("start", "-292273086-05-16T16:47:06Z"), ("end", "292277025-08-18T07:12:54.999999999Z")])
    ask("series DELETE", "/api/v1/series?match[]=up", method="DELETE")
    ask("series limit", "/api/v1/series", [("match[]", "up"), ("limit", 1)])
    ask("series bad limit", "/api/v1/series", [("match[]", "up"), ("limit", "x")])
    both("labels", "/api/v1/labels")
    both("labels of up", "/api/v1/labels", [("match[]", "up")], kind="same")
    ask("labels wrong match", "/api/v1/labels", [("match[]", "up{")])
    ask("labels empty match", "/api/v1/labels", [("match[]", "{}")])
    ask("labels bad start", "/api/v1/labels", [("start", "x")])
    ask("labels turned round", "/api/v1/labels", [("start", end), ("end", start)])
    ask("labels past", "/api/v1/labels", [("start", 1), ("end", 2)])
    v = "/api/v1/label/job/values"
    ask("values", v)
    ask("values of up", v, [("match[]", "up")], kind="same")
    ask("values none", "/api/v1/label/nosuch/values")
    ask("values bad name", "/api/v1/label/a-b/values")
    ask("values POST", v, method="POST")
    ask("values wrong match", v, [("match[]", "up{")])
    ask("values bad end", v, [("end", "x")])
    ask("values past", v, [("start", 1), ("end", 2)])
    ask("metadata", "/api/v1/metadata", kind="keyed")
    ask("metadata one", "/api/v1/metadata", [("metric", "go_goroutines")], kind="same")
    ask("metadata none", "/api/v1/metadata", [("metric", "nosuch")], kind="same")
    ask("metadata limit", "/api/v1/metadata", [("limit", 2)], kind="keyed")
    ask("metadata limit 0", "/api/v1/metadata", [("limit", 0)], kind="keyed")
    ask("metadata limit -1", "/api/v1/metadata", [("limit", -1)], kind="keyed")
    ask("metadata limit per metric", "/api/v1/metadata", [("limit_per_metric", 1)], kind="keyed")
    ask("metadata bad limit", "/api/v1/metadata", [("limit", "x")])

    t = "/api/v1/targets"
    ask("targets", t)
    for state in ("active", "dropped", "any", "nosuch"):
        ask(f"targets {state}", t, [("state", state)])
    ask("targets pool", t, [("scrapePool", "node")])
    ask("targets/metadata", f"{t}/metadata", [("match_target", '{job="node"}'), ("limit", 3)])
    ask("targets/metadata of one", f"{t}/metadata", [("metric", "go_goroutines")])
    ask("targets/metadata bad limit", f"{t}/metadata", [("limit", "x")])
    ask("targets/metadata bad match", f"{t}/metadata", [("match_target", "{")])
    ask("scrape_pools", "/api/v1/scrape_pools")
    ask("rules", "/api/v1/rules")
    for name, parameters in {"alert": [("type", "alert")], "record": [("type", "record")], "bad type": [("type", "x")],
                             "names": [("rule_name[]", "Always")], "groups": [("rule_group[]", "two")], "no group": [("rule_group[]", "x")],
                             "without alerts": [("exclude_alerts", "true")], "bad exclude": [("exclude_alerts", "x")],
                             "match": [("match[]", '{severity="page"}')], "bad match": [("match[]", "{")],
                             "limit": [("group_limit", 1)], "bad limit": [("group_limit", "x")], "limit 0": [("group_limit", 0)],
                             "token": [("group_next_token", "x")], "bad token": [("group_limit", 1), ("group_next_token", "x")]}.items():
        ask(f"rules {name}", "/api/v1/rules", parameters)
    ask("alerts", "/api/v1/alerts")
    ask("alertmanagers", "/api/v1/alertmanagers")
    for path in ("config", "flags", "runtimeinfo", "buildinfo", "tsdb", "walreplay", "tsdb/blocks", "self_metrics"):
        ask(f"status/{path}", f"/api/v1/status/{path}", kind="keyed" if path == "flags" else "")
    ask("status/tsdb limit", "/api/v1/status/tsdb", [("limit", 1)])
    ask("status/tsdb bad limit", "/api/v1/status/tsdb", [("limit", "x")])
    ask("notifications", "/api/v1/notifications")
    ask("features", "/api/v1/features")
    ask("federate", "/federate", [("match[]", "up")], kind="text")
    ask("federate none", "/federate")
    ask("federate wrong", "/federate", [("match[]", "up{")])
    ask("federate empty", "/federate", [("match[]", "{}")])
    ask("federate POST", "/federate", [("match[]", "up")], "POST")
    for path in ("delete_series", "clean_tombstones", "snapshot"):
        ask(f"admin {path} GET", f"/api/v1/admin/tsdb/{path}")
    a = "/api/v1/admin/tsdb"
    ask("delete without match", f"{a}/delete_series", method="POST")
    ask("delete wrong match", f"{a}/delete_series", [("match[]", "{")], "POST")
    ask("delete bad start", f"{a}/delete_series", [("match[]", "nosuch"), ("start", "x")], "POST")
    ask("delete", f"{a}/delete_series", [("match[]", "nosuch")], "POST")
    ask("delete PUT", f"{a}/delete_series?match[]=nosuch", method="PUT")
    ask("clean", f"{a}/clean_tombstones", method="POST")
    ask("snapshot", f"{a}/snapshot", method="POST")
    ask("snapshot bad", f"{a}/snapshot?skip_head=x", method="POST")
    for path in ("write", "read"):
        ask(f"{path} GET", f"/api/v1/{path}")
        ask(f"{path} nonsense", f"/api/v1/{path}", method="POST", headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Body": "nonsense"}, kind="text")
        ask(f"{path} empty", f"/api/v1/{path}", method="POST", headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}, kind="text")
    ask("no path", "/api/v1/nosuch")
    ask("no version", "/api/v2/nosuch")
    ask("healthy", "/-/healthy", kind="text")
    ask("ready", "/-/ready", kind="text")
    ask("healthy HEAD", "/-/healthy", method="HEAD")
    ask("reload GET", "/-/reload", kind="text")
    ask("quit", "/-/quit", kind="text")
    ask("metrics", "/metrics", kind="text")
    return asked


def ask_one(port, method, path, parameters, headers):
    headers = dict(headers)
    body = headers.pop("X-Body", None)
    text = urllib.parse.urlencode(parameters)
    if method == "POST" and parameters:
        headers["Content-Type"], body = FORM, text
    elif text:
        path = f"{path}?{text}"
    try:
        return send(port, method, path, body, headers)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, [], repr(error).encode())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--andon", default="target/release/andon")
    arguments.add_argument("--all", action="store_true", help="print all answers")
    options = arguments.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="andon-beside-"))
    ports = {name: free_port() for name in ("andon", "prometheus", "node")}
    (folder / "rules.yml").write_text(RULES)
    settings = f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{box: a}}}}
rule_files: ["{folder}/rules.yml"]
scrape_configs:
  - job_name: prometheus
    static_configs: [{{targets: ["127.0.0.1:{ports['prometheus']}"]}}]
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{ports['node']}", "127.0.0.1:1"]}}]
    relabel_configs: [{{source_labels: [__address__], regex: "127.0.0.1:1", action: drop}}]
"""
    (folder / "prometheus.yml").write_text(settings)
    (folder / "andon.yml").write_text(settings + "host: {enabled: false}\nrule_packs: []\nhttp: {admin_api: true}\n")
    node = shutil.which("prometheus-node-exporter") or "node_exporter"
    commands = [
        [node, f"--web.listen-address=127.0.0.1:{ports['node']}"],
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus", "--web.enable-admin-api",
         f"--web.listen-address=127.0.0.1:{ports['prometheus']}", "--web.enable-remote-write-receiver", "--web.enable-lifecycle"],
        [options.andon, "run", "--listen", f"127.0.0.1:{ports['andon']}", "--config", folder / "andon.yml", "--data", folder / "data"],
    ]
    log = open(folder / "log", "ab")
    processes = [subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL) for command in commands]
    failed = on_purpose = 0
    try:
        for name in ("prometheus", "andon"):
            until = time.monotonic() + 60
            while True:
                try:
                    found = json.loads(send(ports[name], "GET", "/api/v1/query?query=sum(up)%3E1").text)
                    if len(found["data"]["result"]) and found["status"] == "success":
                        break
                except (OSError, ValueError, KeyError):
                    pass
                if time.monotonic() > until:
                    raise SystemExit(f"{name} is not ready; see {folder}/log")
                time.sleep(0.2)
        time.sleep(8)
        used = set()
        asked = requests(time.time())
        for name, method, path, parameters, headers, kind in asked:
            mine, theirs = (ask_one(ports[who], method, path, parameters, headers) for who in ("andon", "prometheus"))
            found = differences(mine, theirs, kind)
            if options.all:
                print(f"-- {name}: {method} {path} {parameters}\n   andon      {mine.status} {mine.text[:300]!r}\n   prometheus {theirs.status} {theirs.text[:300]!r}")
            other = []
            for line in found:
                reason = next((r for r in ON_PURPOSE + BY_CHANCE if re.search(r[0], name) and re.search(r[1], line)), None)
                used.add(reason)
                if reason is None:
                    other.append(line)
            on_purpose += bool(found) and not other
            failed += bool(other)
            if other:
                print(f"{name}: {method} {path} {parameters}")
                for line in other:
                    print(f"    {line}")
        for reason in ON_PURPOSE:
            if reason not in used:
                failed += 1
                print(f"said to differ, but does not: {reason}")
        print(f"{len(asked)} requests, {on_purpose} differ on purpose, {failed} otherwise")
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)
        log.close()
        if not failed:
            shutil.rmtree(folder)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
