"""Lets the Python client do everything a device does, against a running box:

    exercise.py FOLDER-OF-THE-CLIENT ws://HOST:PORT/ws DEVICE TOKEN PEER TOKEN

Both devices may publish and subscribe on `lab.>`; the first also on `telemetry.{device}.>` and `devices.{device}.>`.
Prints what it saw as one line of JSON; a step that fails ends it.
"""

import json
import os
import sys
import tempfile
import threading

sys.path.insert(0, sys.argv[1])
from andon_device import Device, DeviceError, matches  # noqa: E402

url, own, token, other, other_token = sys.argv[2:7]
SOON = 10.0
events = []
device = Device(url, own, token, backoff_min=0.05, stats_interval=0.5, on_event=lambda name, _: events.append(name))
peer = Device(url, other, other_token, backoff_min=0.05)
assert device.connected(SOON) and peer.connected(SOON), (device.refused, peer.refused)


class Collected:
    """Messages of a subscription, to be waited for."""

    def __init__(self, client, pattern):
        self.all = []
        self.more = threading.Condition()
        client.subscribe(pattern, self.take)

    def take(self, message):
        with self.more:
            self.all.append(message)
            self.more.notify_all()

    def wait(self, count):
        with self.more:
            assert self.more.wait_for(lambda: len(self.all) >= count, SOON), f"{len(self.all)} of {count} came"
        return self.all


def refused(code, work):
    try:
        work()
    except DeviceError as error:
        assert error.code == code, error
        return
    raise AssertionError(f"nothing was refused with {code}")


for pattern, subject, expected in [("a.*", "a.b", True), ("a.*", "a.b.c", False), ("a.>", "a.b.c", True), ("a.>", "a", False)]:
    assert matches(pattern, subject) is expected, (pattern, subject)

# Publish and subscribe, below the usual limit of a hundred a second; a subscription is known to count once something came by it.
heard = Collected(peer, "lab.numbers.*")
ready = Collected(peer, "lab.ready")
while not ready.all:
    device.publish("lab.ready", None)
    with ready.more:
        ready.more.wait(0.05)
for n in range(50):
    device.publish("lab.numbers.a", {"n": n, "text": "gr\u00fc\u00df \U0001f600"})
assert [m.payload["n"] for m in heard.wait(50)] == list(range(50))
assert heard.all[0].device_id == own and heard.all[0].payload["text"].startswith("gr\u00fc")

# A large message in both directions.
device.publish("lab.numbers.large", "x" * 300_000)
assert len(heard.wait(51)[50].payload) == 300_000

# Request and reply; nobody who answers; a refusal.
peer.subscribe("lab.double", lambda m: peer.reply(m, {"double": m.payload["n"] * 2}))
answer = None
while answer is None:
    try:
        answer = device.request("lab.double", {"n": 21}, timeout=SOON)
    except DeviceError as error:
        assert error.code == "NO_RESPONDERS", error
assert answer == {"double": 42}, answer
refused("NO_RESPONDERS", lambda: device.request("lab.nobody", 1))
errors = device.stats()["errors"]
device.publish("elsewhere.x", 1)
while device.stats()["errors"] == errors:
    threading.Event().wait(0.02)

# Away and back: what was published meanwhile comes in order, subscriptions are made again.
own_heard = Collected(device, "lab.back")
device.hang_up(0.5)
while device.connected(0):
    threading.Event().wait(0.01)
for n in range(50, 80):
    device.publish("lab.numbers.a", {"n": n})
waiting = device.stats()["bufferSize"]
assert waiting == 30, waiting
refused("LOST", lambda: device.request("lab.double", {"n": 1}))
assert device.connected(SOON)
assert [m.payload["n"] for m in heard.wait(81)[51:]] == list(range(50, 80))
while not own_heard.all:
    peer.publish("lab.back", "again")
    with own_heard.more:
        own_heard.more.wait(0.05)

# Acknowledged publishes: none is lost or comes twice, though there are more than the gateway takes in a second, and the
# connection is lost among them.
acked = Collected(peer, "lab.acked")
while not acked.all:
    device.publish("lab.acked", -1)
    with acked.more:
        acked.more.wait(0.05)
answers = [device.publish("lab.acked", n, ack=True) for n in range(150)]
device.hang_up(0.1)
answers = [answer.result(4 * SOON) for answer in answers]
assert all(answer["success"] for answer in answers), answers
threading.Event().wait(0.2)
numbers = [m.payload for m in acked.all if m.payload >= 0]
assert sorted(numbers) == list(range(150)), numbers
refused("NOT_AUTHORIZED", lambda: device.publish("elsewhere.x", 1, ack=True).result(SOON))

# While away only so much is kept: the oldest go.
small = Device("ws://127.0.0.1:9/ws", own, token, buffer_messages=3)
for n in range(5):
    small.publish("lab.x", n)
assert small.stats()["bufferSize"] == 3 and small.stats()["bufferOverflows"] == 2
small.close(0)

# A replay is asked for; no stream keeps these subjects.
errors = device.stats()["errors"]
device.subscribe("lab.replayed", print, replay={"sequence": 1})
while device.stats()["errors"] == errors:
    threading.Event().wait(0.02)
device.unsubscribe("lab.replayed")

device.publish(f"telemetry.{own}.temp", {"value": 21.5})
device.close()

# What waits in a file goes on with the next start, once; a torn line is none.
filed = Collected(peer, "lab.filed")
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "buffer")
    away = Device("ws://127.0.0.1:9/ws", own, token, buffer_file=path)
    for n in range(20):
        away.publish("lab.filed", n)
    away.close(0)
    with open(path, "a") as file:
        file.write("+torn {")
    later = Device(url, own, token, buffer_file=path, stats_interval=None)
    assert [m.payload for m in filed.wait(20)] == list(range(20))
    later.publish("lab.filed", 20).result(SOON)
    later.close()
    again = Device(url, own, token, buffer_file=path, stats_interval=None)
    assert again.stats()["bufferSize"] == 0
    again.close()
    assert len(filed.wait(21)) == 21, filed.all
peer.close()
stats = device.stats()
assert stats["connections"] == stats["disconnections"] == stats["reconnectAttempts"] + 1 >= 3, stats
assert stats["bufferSize"] == 0, stats
assert stats["published"]["lab.numbers.a"] == 80 and stats["latencySeconds"] > 0, stats
wanted = {"connected", "disconnected", "reconnecting", "error", "published", "received", "subscribed", "buffered", "ping", "pong"}
assert wanted <= set(events), wanted - set(events)
print(json.dumps(stats))
