#!/usr/bin/env python3
"""Sends notices to real receivers: mail servers, NATS, a Modbus device, a modem, a command, and an HTTP endpoint that
holds the bodies against what Slack and PagerDuty document.

    tests/receivers_for_real.py [--andon target/release/andon]

Needs nats-server, and from PyPI aiosmtpd (mail server), pymodbus (Modbus device), nats-py and cryptography. The modem
is a pseudo terminal that answers as a modem does. Each receiver gets an alarm and its end.
"""
import argparse
import asyncio
import datetime
import email
import hashlib
import hmac
import http.client
import http.server
import ipaddress
import json
import os
import pathlib
import pty
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import tty

import nats
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pymodbus.client import ModbusTcpClient

PROBLEMS = []


def check(what, holds, detail=""):
    print(f"{'ok  ' if holds else 'FAIL'} {what} {'' if holds else detail}")
    if not holds:
        PROBLEMS.append(what)


def until(holds, seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def certificate(folder):
    """A certificate for localhost that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName(alternatives), False).sign(key, hashes.SHA256()))
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


class Mailbox:
    """What a mail server took; `refusals` are answered first."""

    def __init__(self):
        self.mails, self.logins, self.refusals = [], [], []

    async def handle_DATA(self, server, session, envelope):
        if self.refusals:
            return self.refusals.pop(0)
        self.mails.append((envelope, bool(session.ssl), email.message_from_bytes(envelope.content)))
        return "250 taken"

    def authenticate(self, server, session, envelope, mechanism, data):
        ok = isinstance(data, LoginPassword) and data.login == b"box" and data.password == b"geheim"
        self.logins.append((mechanism, ok))
        return AuthResult(success=ok)


class CramMailbox(Mailbox):
    """One that lets in by CRAM-MD5 alone."""

    async def auth_CRAM__MD5(self, server, args):
        challenge = f"<{time.time_ns()}@localhost>".encode()
        answer = await server.challenge_auth(challenge)
        user, _, said = (answer if isinstance(answer, bytes) else b"").partition(b" ")
        ok = user == b"box" and said.decode() == hmac.new(b"heimlich", challenge, hashlib.md5).hexdigest()
        self.logins.append(("CRAM-MD5", ok))
        return AuthResult(success=ok, handled=ok)


class Modem(threading.Thread):
    """A pseudo terminal with a modem behind it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.controller, self.line = pty.openpty()
        tty.setraw(self.line)
        self.path = os.ttyname(self.line)
        self.texts, self.commands, self.is_locked = [], [], True
        self.start()

    def say(self, text):
        os.write(self.controller, text.encode("latin-1"))

    def run(self):
        heard, to = b"", None
        while True:
            heard += os.read(self.controller, 256)
            if to is not None:
                if b"\x1a" in heard:
                    text, _, heard = heard.partition(b"\x1a")
                    self.texts.append((to, text.decode("latin-1")))
                    to = None
                    self.say("\r\n+CMGS: 7\r\n\r\nOK\r\n")
                continue
            while b"\r" in heard:
                line, _, heard = heard.partition(b"\r")
                command = line.decode("latin-1").strip("\x1b\n ")
                if not command:
                    continue
                self.commands.append(command)
                if command == "AT+CPIN?":
                    self.say("\r\n+CPIN: " + ("SIM PIN" if self.is_locked else "READY") + "\r\n\r\nOK\r\n")
                elif command.startswith("AT+CPIN="):
                    self.is_locked = command != 'AT+CPIN="1234"'
                    self.say("\r\n+CME ERROR: 16\r\n" if self.is_locked else "\r\nOK\r\n")
                elif command.startswith("AT+CMGS="):
                    to = command.split('"')[1]
                    self.say("\r\n> ")
                else:
                    self.say("\r\nOK\r\n")


class Sink(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.setdefault(self.path, []).append(body)
        status = 202 if self.path == "/pagerduty" else 200
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def settings(folder, ports, modem, sink):
    (folder / "hook.sh").write_text("#!/bin/sh\necho \"$1 $ANDON_STATUS $ANDON_FIRING\" >> \"$2\"\ncat >> \"$2\"\necho >> \"$2\"\n")
    (folder / "hook.sh").chmod(0o755)
    mail = f"{{to: 'Schicht <shift@example.com>, b@example.com', from: box@example.com, tls_config: {{ca_file: cert.pem}}"
    return f"""
host: {{enabled: false}}

rule_packs: []
bus: {{nats: {{servers: ['nats://127.0.0.1:{ports['nats']}']}}}}
notifications:
  global: {{smtp_auth_username: box, smtp_auth_password: geheim}}
  route:
    receiver: all
    group_by: [alertname]
    group_wait: 300ms
    group_interval: 500ms
  receivers:
    - name: all
      per_minute_max: 1000
      email_configs:
        - {mail}, smarthost: 'localhost:{ports['starttls']}', send_resolved: true, headers: {{X-Priority: '1', Subject: 'Störung: {{{{ .GroupLabels.alertname }}}}'}}}}
        - {mail}, smarthost: 'localhost:{ports['tls']}', force_implicit_tls: true, send_resolved: false}}
        - {mail}, smarthost: 'localhost:{ports['cram']}', require_tls: false, auth_secret: heimlich, send_resolved: false}}
      nats_configs:
        - {{subject: 'alerts.{{{{ .GroupLabels.alertname }}}}'}}
        - {{subject: 'acked.alerts', wait_for_answer: true, payload: '{{{{ .Status }}}}', send_resolved: false}}
      command_configs:
        - {{command: {folder}/hook.sh, args: ['$(reboot); {{{{ .GroupLabels.alertname }}}}', {folder}/said]}}
      modbus_configs:
        - address: 127.0.0.1:{ports['modbus']}
          unit: 1
          outputs:
            - {{coil: 3, matchers: [severity=critical]}}
            - {{coil: 4, matchers: [severity=warning]}}
            - {{register: 10, on: 7, off: 1}}
      sms_configs:
        - {{device: {modem.path}, pin: '1234', to: '+491701234567'}}
      slack_configs:
        - {{api_url: 'http://127.0.0.1:{sink.server_port}/slack', channel: '#line', send_resolved: true, fields: [{{title: Line, value: '7', short: true}}]}}
      pagerduty_configs:
        - {{routing_key: key, url: 'http://127.0.0.1:{sink.server_port}/pagerduty', severity: '{{{{ .CommonLabels.severity }}}}'}}
        - {{service_key: key, url: 'http://127.0.0.1:{sink.server_port}/pagerduty1'}}
"""


def request(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {"content-type": "application/json"} if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def alert(port, name, severity, is_over=False):
    now = time.time()
    stamp = lambda at: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    one = {"labels": {"alertname": name, "severity": severity}, "startsAt": stamp(now - 5),
           "annotations": {"summary": f"{name} <ist> heiß & laut"},
           "generatorURL": "http://p/graph?g0.expr=vector(1)"}
    if is_over:
        one["endsAt"] = stamp(now)
    assert request(port, "POST", "/api/v2/alerts", json.dumps([one]))[0] == 200


def parts(mail):
    return {part.get_content_type(): part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()}


def check_mail(starttls, implicit):
    check("mail by STARTTLS and by TLS", until(lambda: len(starttls.mails) >= 1 and len(implicit.mails) >= 1),
          f"{len(starttls.mails)} {len(implicit.mails)}")
    if not starttls.mails:
        return
    envelope, is_tls, mail = starttls.mails[0]
    check("mail is encrypted and logged in", is_tls and starttls.logins and all(ok for _, ok in starttls.logins), starttls.logins)
    check("envelope", envelope.mail_from == "box@example.com" and envelope.rcpt_tos == ["shift@example.com", "b@example.com"],
          f"{envelope.mail_from} {envelope.rcpt_tos}")
    subject = str(email.header.make_header(email.header.decode_header(mail["Subject"])))
    check("headers", subject == "Störung: Hot" and mail["X-Priority"] == "1" and "Schicht" in mail["To"] and mail["Message-ID"],
          f"{subject} {mail.items()}")
    found = parts(mail)
    html, text = found.get("text/html", b"").decode(), found.get("text/plain", b"").decode()
    check("text and HTML, escaped", "Hot <ist> heiß & laut" in text and "Hot &lt;ist&gt; heiß &amp; laut" in html, f"{text}\n{html}")
    chart = found.get("image/png", b"")
    check("a chart of the expression", chart.startswith(b"\x89PNG") and "cid:chart" in html, f"{list(found)} {chart[:30]}")
    check("the mail is small", len(envelope.content) < 40 << 10, len(envelope.content))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--andon", default="target/release/andon", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the first mail's parts")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    context = certificate(folder)
    ports = {name: free_port() for name in ("nats", "starttls", "tls", "cram", "modbus", "http")}
    starttls, implicit, cram, modem, sink = Mailbox(), Mailbox(), CramMailbox(), Modem(), Sink()
    starttls.refusals = ["451 come again"]
    servers = [
        Controller(starttls, "localhost", ports["starttls"], tls_context=context, require_starttls=True,
                   authenticator=starttls.authenticate, auth_required=True),
        Controller(implicit, "localhost", ports["tls"], ssl_context=context, authenticator=implicit.authenticate,
                   auth_require_tls=False),
        Controller(cram, "localhost", ports["cram"], authenticator=cram.authenticate, auth_require_tls=False,
                   auth_required=True, auth_exclude_mechanism=["PLAIN", "LOGIN"]),
    ]
    for server in servers:
        server.start()
    bus = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(ports["nats"])], stderr=subprocess.DEVNULL)
    device = start_device(ports["modbus"])
    heard = listen(ports["nats"])
    (folder / "andon.yml").write_text(settings(folder, ports, modem, sink))
    log = open(folder / "log", "wb")
    box = subprocess.Popen([args.andon.resolve(), "run", "--config", folder / "andon.yml", "--data", folder / "data",
                            "--listen", f"127.0.0.1:{ports['http']}"], stdout=log, stderr=log)
    try:
        def ready():
            try:
                return request(ports["http"], "GET", "/-/ready")[0] == 200
            except OSError:
                return False
        assert until(ready), (folder / "log").read_text()[-3000:]
        time.sleep(2)
        alert(ports["http"], "Hot", "critical")
        check_mail(starttls, implicit)
        check("mail by CRAM-MD5", until(lambda: len(cram.mails) == 1) and cram.logins == [("CRAM-MD5", True)],
              f"{len(cram.mails)} {cram.logins}")
        if args.keep and starttls.mails:
            for kind, content in parts(starttls.mails[0][2]).items():
                (args.keep / ("mail." + kind.split("/")[1].split("+")[0])).write_bytes(content)
        check("NATS", until(lambda: any(s == "alerts.Hot" for s, _ in heard)), heard)
        check("NATS with an answer", until(lambda: ("acked.alerts", b"firing") in heard), heard)
        client = ModbusTcpClient("127.0.0.1", port=ports["modbus"])
        client.connect()
        light = lambda: (client.read_coils(3, count=2).bits[:2], client.read_holding_registers(10, count=1).registers)
        check("lamps on", until(lambda: light() == ([True, False], [7])), light())
        alert(ports["http"], "Warm", "warning")
        check("second lamp on", until(lambda: light() == ([True, True], [7])), light())
        check("SMS with a PIN", until(lambda: modem.texts and modem.texts[0][0] == "+491701234567"), f"{modem.texts} {modem.commands}")
        if modem.texts:
            text = modem.texts[0][1]
            check("SMS in the alphabet of GSM", text.startswith("ALARM: Hot <ist> hei\x1e & laut"), repr(text))
        said = folder / "said"
        check("command, without a shell", until(lambda: said.exists() and "$(reboot); Hot firing 1\n{" in said.read_text()),
              said.read_text() if said.exists() else "nothing")
        alert(ports["http"], "Hot", "critical", True)
        check("first lamp off, the other stays", until(lambda: light() == ([False, True], [7])), light())
        alert(ports["http"], "Warm", "warning", True)
        check("all lamps off", until(lambda: light() == ([False, False], [1])), light())
        check("ends by mail only where they are wanted", until(lambda: len(starttls.mails) == 4) and len(implicit.mails) == 2,
              f"{len(starttls.mails)} {len(implicit.mails)}")
        check("end by SMS", until(lambda: any("OVER: Warm" in t for _, t in modem.texts)), modem.texts)
        check_services(sink)
        status, answer = request(ports["http"], "POST", "/api/v1/receivers/test?receiver=all")
        ways = json.loads(answer)["data"]["ways"]
        check("test of all ways", status == 200 and len(ways) == 11 and all(w["error"] is None for w in ways), answer)
        check("a test leaves the lamps as they are", light() == ([False, False], [1]), light())
    finally:
        box.terminate()
        box.wait()
        bus.terminate()
        device.terminate()
        for server in servers:
            server.stop()
        if PROBLEMS:
            print((folder / "log").read_text()[-4000:])
        shutil.rmtree(folder)
    print(f"{len(PROBLEMS)} problems")
    os._exit(1 if PROBLEMS else 0)


def check_services(sink):
    slack = sink.bodies.get("/slack", [])
    fine = [b for b in slack if b["channel"] == "#line" and isinstance(b["attachments"], list) and len(b["attachments"]) == 1]
    colors = [b["attachments"][0]["color"] for b in fine]
    fields = all(set(f) == {"title", "value", "short"} for b in fine for f in b["attachments"][0]["fields"])
    kinds = all(isinstance(b["attachments"][0][k], str) for b in fine for k in ("title", "title_link", "fallback"))
    check("Slack's documented body", len(fine) == len(slack) == 4 and sorted(colors) == ["danger", "danger", "good", "good"]
          and fields and kinds, slack)
    events = sink.bodies.get("/pagerduty", [])
    actions = sorted(e["event_action"] for e in events)
    right = all(e["routing_key"] == "key" and len(e["dedup_key"]) <= 255 and 0 < len(e["payload"]["summary"]) <= 1024
                and e["payload"]["source"] and e["payload"]["severity"] in ("critical", "error", "warning", "info")
                for e in events)
    pairs = {e["dedup_key"] for e in events if e["event_action"] == "trigger"} == \
        {e["dedup_key"] for e in events if e["event_action"] == "resolve"}
    check("PagerDuty's documented events, v2", actions == ["resolve", "resolve", "trigger", "trigger"] and right and pairs, events)
    old = sink.bodies.get("/pagerduty1", [])
    check("PagerDuty's documented events, v1", len(old) == 4 and all(
        e["service_key"] == "key" and e["event_type"] in ("trigger", "resolve") and e["incident_key"] and e["description"]
        for e in old), old)


def listen(port):
    """Subscribes to everything in a thread; answers what asks for an answer."""
    heard = []

    async def quiet(_):
        """The server ends before this thread does; that is no finding."""

    async def run():
        for _ in range(100):
            try:
                client = await nats.connect(f"nats://127.0.0.1:{port}", error_cb=quiet)
                break
            except Exception:
                await asyncio.sleep(0.1)

        async def take(message):
            heard.append((message.subject, message.data))
            if message.reply and message.subject.startswith("acked."):
                await message.respond(b"+OK")
        await client.subscribe(">", cb=take)
        await asyncio.Event().wait()
    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    return heard


DEVICE = """
import asyncio, sys
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext
try:
    from pymodbus.datastore import ModbusDeviceContext as Context
except ImportError:
    from pymodbus.datastore import ModbusSlaveContext as Context
from pymodbus.server import StartAsyncTcpServer
block = lambda: ModbusSequentialDataBlock(1, [0] * 64)
context = ModbusServerContext(Context(co=block(), hr=block()), single=True)
asyncio.run(StartAsyncTcpServer(context, address=("127.0.0.1", int(sys.argv[1]))))
"""


def start_device(port):
    return subprocess.Popen([sys.executable, "-c", DEVICE, str(port)])


main()
