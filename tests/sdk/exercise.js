// Lets the JavaScript client do everything a device does; the same steps as exercise.py.
//
// In Node 22 or newer (20 with --experimental-websocket), against a running box:
//   node tests/sdk/exercise.js ws://HOST:PORT/ws DEVICE TOKEN PEER TOKEN
// In a browser: import this file's `exercise` and hand it the client's module.

const SOON = 10000;

/** Waits for a condition. */
async function until(what, condition) {
  const over = Date.now() + SOON;
  while (!condition()) {
    if (Date.now() > over) throw new Error(`never: ${what}`);
    await new Promise((go) => setTimeout(go, 20));
  }
}

function same(found, expected) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${a} is not ${b}`);
}

async function refused(code, promise) {
  const error = await promise.then(() => null, (e) => e);
  same(error?.code, code);
}

export async function exercise({ Device, matches }, url, own, token, other, otherToken) {
  const events = new Set();
  const device = new Device(url, own, token, { backoffMin: 50, statsInterval: 500, onEvent: (name) => events.add(name) });
  const peer = new Device(url, other, otherToken, { backoffMin: 50 });
  same([await device.connected(SOON), await peer.connected(SOON)], [true, true]);
  same([matches("a.*", "a.b"), matches("a.*", "a.b.c"), matches("a.>", "a.b.c"), matches("a.>", "a")],
    [true, false, true, false]);

  // Publish and subscribe, below the usual limit of a hundred a second; a subscription is known to count once something came by it.
  const heard = [];
  let ready = false;
  peer.subscribe("lab.numbers.*", (message) => heard.push(message));
  peer.subscribe("lab.ready", () => { ready = true; });
  await until("a subscription", () => (device.publish("lab.ready", null), ready));
  for (let n = 0; n < 50; n++) device.publish("lab.numbers.a", { n, text: "grüß 😀" });
  await until("50 messages", () => heard.length >= 50);
  same(heard.map((m) => m.payload.n), [...Array(50).keys()]);
  same([heard[0].deviceId, heard[0].payload.text], [own, "grüß 😀"]);

  // A large message.
  device.publish("lab.numbers.large", "x".repeat(300000));
  await until("a large message", () => heard.length === 51);
  same(heard[50].payload.length, 300000);

  // Request and reply; nobody who answers; a refusal.
  peer.subscribe("lab.double", (message) => peer.reply(message, { double: message.payload.n * 2 }));
  let answer;
  while (answer === undefined) {
    answer = await device.request("lab.double", { n: 21 }).catch((error) => same(error.code, "NO_RESPONDERS"));
  }
  same(answer, { double: 42 });
  await refused("NO_RESPONDERS", device.request("lab.nobody", 1));
  const { errors } = device.stats();
  device.publish("elsewhere.x", 1);
  await until("a refusal", () => device.stats().errors > errors);

  // Away and back: what was published meanwhile comes in order, subscriptions are made again.
  let back = false;
  device.subscribe("lab.back", () => { back = true; });
  device.hangUp(500);
  for (let n = 50; n < 80; n++) device.publish("lab.numbers.a", { n });
  same(device.stats().bufferSize, 30);
  await refused("LOST", device.request("lab.double", { n: 1 }));
  same(await device.connected(SOON), true);
  await until("what was published while away", () => heard.length >= 81);
  same(heard.slice(51).map((m) => m.payload.n), [...Array(30).keys()].map((n) => n + 50));
  await until("a subscription after the reconnect", () => (peer.publish("lab.back", "again"), back));

  // Acknowledged publishes: none is lost or comes twice, though there are more than the gateway takes in a second, and
  // the connection is lost among them.
  const acked = [];
  peer.subscribe("lab.acked", (message) => acked.push(message.payload));
  await until("a subscription", () => (device.publish("lab.acked", -1), acked.length > 0));
  const answers = [...Array(150).keys()].map((n) => device.publish("lab.acked", n, { ack: true }));
  device.hangUp(100);
  same((await Promise.all(answers)).every((answer) => answer.success), true);
  await new Promise((go) => setTimeout(go, 200));
  same(acked.filter((n) => n >= 0).sort((a, b) => a - b), [...Array(150).keys()]);
  await refused("NOT_AUTHORIZED", device.publish("elsewhere.x", 1, { ack: true }));

  // While away only so much is kept: the oldest go.
  const small = new Device("ws://127.0.0.1:9/ws", own, token, { bufferMessages: 3 });
  for (let n = 0; n < 5; n++) small.publish("lab.x", n);
  same([small.stats().bufferSize, small.stats().bufferOverflows], [3, 2]);
  await small.close(0);

  // A replay is asked for; no stream keeps these subjects.
  const { errors: before } = device.stats();
  device.subscribe("lab.replayed", () => {}, { replay: { sequence: 1 } });
  await until("a refusal", () => device.stats().errors > before);
  device.unsubscribe("lab.replayed");

  device.publish(`telemetry.${own}.temp`, { value: 21.5 });
  await device.close();

  // What waits in a file (in a browser: in its store) goes on with the next start, once.
  const filed = [];
  peer.subscribe("lab.filed", (message) => filed.push(message.payload));
  const bufferFile = `${globalThis.process?.env?.TMPDIR ?? "/tmp"}/andon-exercise-${own}-${Date.now()}`;
  const away = new Device("ws://127.0.0.1:9/ws", own, token, { bufferFile });
  for (let n = 0; n < 20; n++) away.publish("lab.filed", n);
  await away.close(0);
  const later = new Device(url, own, token, { bufferFile, statsInterval: null });
  await until("what waited in a file", () => filed.length >= 20);
  same(filed, [...Array(20).keys()]);
  await later.publish("lab.filed", 20, { ack: true });
  await later.close();
  const again = new Device(url, own, token, { bufferFile, statsInterval: null });
  same(again.stats().bufferSize, 0);
  await again.close();
  await until("the last", () => filed.length >= 21);
  same(filed.length, 21);
  globalThis.process?.getBuiltinModule?.("node:fs").rmSync(bufferFile);
  await peer.close();
  const stats = device.stats();
  same([stats.disconnections, stats.reconnectAttempts + 1, stats.bufferSize], [stats.connections, stats.connections, 0]);
  same(stats.connections >= 3, true);
  same([stats.published["lab.numbers.a"], stats.latencySeconds > 0], [80, true]);
  for (const event of ["connected", "disconnected", "reconnecting", "error", "published", "received", "subscribed",
    "buffered", "ping", "pong"]) {
    if (!events.has(event)) throw new Error(`no event ${event}`);
  }
  return stats;
}

if (globalThis.process?.argv) {
  const client = await import("../../web/sdk/andon-device.js");
  const stats = await exercise(client, ...process.argv.slice(2));
  console.log(JSON.stringify(stats));
}
