// The device's end of Andon's wire, in JavaScript: browsers, and Node 22 or newer (its own WebSocket); no packages.
//
//   import { Device } from "./andon-device.js";
//
//   const device = new Device("ws://box:26366/ws", "press-1", "andon_device_...");
//   device.subscribe("commands.press-1.>", (message) => console.log(message.subject, message.payload));
//   device.publish("telemetry.press-1.temp", { value: 21.5, unit: "celsius" });
//   await device.publish("events.press-1.done", { batch: 7 }, { ack: true }); // kept by the box
//   console.log(await device.request("service.recipe", { batch: 7 }, 5000));
//   console.log(device.stats());
//   await device.close();
//
// A Device keeps one WebSocket to the gateway: it shows who it is, subscribes again after each reconnect, waits longer
// after each failure (1 s doubled up to 30 s, a quarter more or less by chance), and keeps a bounded number of publishes
// while it is away. A publish with `ack` is sent again, under the same id, until the box says that it is kept. With
// `bufferFile` all publishes are such, and wait in a file (Node) or in `localStorage` (browsers): they survive the
// program's end and go on with its next start. `subscribe(pattern, handler, { replay: "all" })` reads the stream that
// keeps a subject, with what was missed; the box keeps the device's place in it. Every 15 s the client's own counts are
// published on `devices.{id}.stats` and become the `device_*` series of the box.
// @ts-check

export const VERSION = "1.0.0";

const PUBLISH = 0, SUBSCRIBE = 1, UNSUBSCRIBE = 2, MESSAGE = 3, REQUEST = 4, REPLY = 5, ACK = 6, ERROR = 7, AUTH = 8,
  PING = 9, PONG = 10;
const JITTER = 0.25;
/** Subjects told apart in the statistics; the others count as `other`. */
const SUBJECTS_MAX = 64;
const REQUESTS_MAX = 64;
/** A publish with an ack is sent again after these, a second later. */
const AGAIN = ["RATE_LIMIT", "NOT_KEPT"];
/** Of a buffer file: characters that are no longer needed, before it is written anew. */
const JOURNAL_GONE_MAX = 1 << 20;
/** Bytes handed to the socket ahead of what it has taken. */
const WINDOW_BYTES = 64 << 10;

/**
 * @typedef {object} Message A message from the gateway.
 * @property {string} subject
 * @property {any} payload
 * @property {string | undefined} deviceId Who published it, if it was a device.
 * @property {string | undefined} correlationId Of a request: what `reply` needs.
 * @property {number | undefined} sequence Its place in the stream, if it was read out of one.
 *
 * @typedef {"new" | "all" | "last" | { sequence: number } | { time: string }} Replay Where a device begins to read a
 *   stream that has no place in it yet; a time is written like 2026-01-31T12:00:00Z.
 *
 * @typedef {object} Options
 * @property {string} [deviceType] What it is; the registry's word counts.
 * @property {number} [connectTimeout] Milliseconds that connecting and being let in may take: 10 000.
 * @property {number} [pingInterval] How often the gateway is asked whether it is there: 15 000.
 * @property {number} [deadAfter] After how long without anything the connection counts as lost: 45 000.
 * @property {number} [backoffMin] The first wait before connecting again: 1000, doubled each time.
 * @property {number} [backoffMax] The longest wait: 30 000.
 * @property {number} [bufferMessages] Publishes kept while away: 1000; beyond it the oldest go.
 * @property {number} [bufferBytes] Their characters: 4 MiB.
 * @property {string} [bufferFile] Where publishes wait until the box says that they are kept: a file in Node, in
 *   browsers the name of entries in `localStorage`. For one program at a time.
 * @property {number | null} [statsInterval] How often the own counts are published: 15 000; null for never.
 * @property {(event: string, details: Record<string, any>) => void} [onEvent] Hears of connected, disconnected,
 *   reconnecting, refused, error, published, received, subscribed, unsubscribed, buffered, buffer_overflow, ping, pong.
 * @property {{ ca?: any, cert?: any, key?: any, passphrase?: string, servername?: string }} [tls] In Node, for `wss://`: the
 *   authorities to believe instead of the machine's, and the device's certificate with its key, as `node:tls` takes them (PEM
 *   as text or bytes). Browsers show the certificate that they were given.
 * @property {(url: string) => WebSocket} [connect] Makes the WebSocket: `new WebSocket(url)`, or another implementation's.
 *
 * @typedef {object} Outgoing
 * @property {string} subject
 * @property {string} text
 * @property {string} [id]
 * @property {(answer: any) => void} [resolve]
 * @property {(error: DeviceError) => void} [reject]
 */

/** What the gateway refused, or what cannot be done. */
export class DeviceError extends Error {
  /** @param {string} code The gateway's word, as `NOT_AUTHORIZED`, or `LOST`, `CLOSED`, `BUFFER_FULL`.
   *  @param {string} message */
  constructor(code, message) {
    super(`${code}: ${message}`);
    this.name = "DeviceError";
    this.code = code;
  }
}

/** Files, in Node. @type {any} */
const files = /** @type {any} */ (globalThis).process?.getBuiltinModule?.("node:fs") ?? null;

/** Tells whether a text is the frame with this id. @param {string} text @param {string} id */
function isWhole(text, id) {
  try {
    return JSON.parse(text).messageId === id;
  } catch {
    return false;
  }
}

/** Returns what makes WebSockets with settings of TLS in Node. Its WebSocket is that of undici, of which an agent lies where
 *  all versions of undici look for theirs; ours is one of the same kind.
 *  @param {object} tls
 *  @returns {(url: string) => WebSocket} */
function secured(tls) {
  const Socket = /** @type {any} */ (globalThis).WebSocket; // puts the agent there
  const agent = /** @type {any} */ (globalThis)[Symbol.for("undici.globalDispatcher.1")];
  if (files === null || Socket === undefined || agent?.constructor?.name !== "Agent") {
    throw new DeviceError("TLS", "only Node's own WebSocket takes `tls`; hand one in that does by `connect`");
  }
  const dispatcher = new agent.constructor({ connect: tls });
  return (url) => new Socket(url, { dispatcher });
}

/** Publishes in a file: a line `+ID FRAME` for each that waits, `-ID` for each that does no longer. What is written
 *  survives the program's end; a power cut may take what the system has not written yet. */
class Journal {
  /** @param {string} path */
  constructor(path) {
    this._path = path;
    /** @type {Map<string, string>} */
    this._held = new Map();
    const lines = files.existsSync(path) ? files.readFileSync(path, "utf8").split("\n") : [];
    lines.pop(); // torn, or empty
    for (const line of lines) {
      const [id, text] = [line.slice(1).split(" ", 1)[0], line.slice(line.indexOf(" ") + 1)];
      if (line[0] === "-") this._held.delete(id);
      else if (line[0] === "+" && isWhole(text, id)) this._held.set(id, text);
    }
    this._rewrite();
  }

  load() {
    return this._held;
  }

  /** @param {string} id
   *  @param {string} text */
  add(id, text) {
    this._held.set(id, text);
    files.appendFileSync(this._path, `+${id} ${text}\n`);
  }

  /** @param {string} id */
  remove(id) {
    this._gone += this._held.get(id)?.length ?? 0;
    if (!this._held.delete(id)) return;
    if (this._gone >= (this._held.size === 0 ? JOURNAL_GONE_MAX / 16 : JOURNAL_GONE_MAX)) this._rewrite();
    else files.appendFileSync(this._path, `-${id}\n`);
  }

  _rewrite() {
    this._gone = 0;
    const text = [...this._held].map(([id, frame]) => `+${id} ${frame}\n`).join("");
    files.writeFileSync(`${this._path}.new`, text, { flush: true });
    files.renameSync(`${this._path}.new`, this._path);
  }
}

/** The same in entries of `localStorage`; what it has no room for waits in memory alone. */
class Entries {
  /** @param {string} name */
  constructor(name) {
    this._prefix = `${name} `;
    this._next = 0;
  }

  /** @returns {Map<string, string>} */
  load() {
    /** @type {Array<[number, string, string]>} */
    const found = [];
    for (const key of Object.keys(localStorage).filter((key) => key.startsWith(this._prefix))) {
      const [id, value] = [key.slice(this._prefix.length), localStorage.getItem(key) ?? ""];
      const [number, text] = [Number(value.split(" ", 1)[0]), value.slice(value.indexOf(" ") + 1)];
      if (isWhole(text, id)) found.push([number, id, text]);
      else localStorage.removeItem(key);
    }
    found.sort(([a], [b]) => a - b);
    this._next = (found.at(-1)?.[0] ?? 0) + 1;
    return new Map(found.map(([, id, text]) => [id, text]));
  }

  /** @param {string} id
   *  @param {string} text */
  add(id, text) {
    try {
      localStorage.setItem(this._prefix + id, `${this._next++} ${text}`);
    } catch {
      // Full.
    }
  }

  /** @param {string} id */
  remove(id) {
    localStorage.removeItem(this._prefix + id);
  }
}

/** One device's connection. */
export class Device {
  /** @param {string} url `ws://HOST:PORT/ws`
   *  @param {string} deviceId
   *  @param {string} token Empty where the device shows a certificate of TLS
   *  @param {Options} [options] */
  constructor(url, deviceId, token, options = {}) {
    this.url = url;
    this.deviceId = deviceId;
    /** Why the gateway did not let the device in at the last attempt; empty if it did. */
    this.refused = "";
    this._token = token;
    this._options = {
      deviceType: "", connectTimeout: 10000, pingInterval: 15000, deadAfter: 45000, backoffMin: 1000, backoffMax: 30000,
      bufferMessages: 1000, bufferBytes: 4 << 20, statsInterval: /** @type {number | null} */ (15000),
      bufferFile: /** @type {string | undefined} */ (undefined),
      onEvent: () => {},
      connect: options.tls === undefined ? (/** @type {string} */ address) => new WebSocket(address) : secured(options.tls),
      ...options,
    };
    /** @type {Outgoing[]} */
    this._buffer = [];
    /** @type {Map<string, Outgoing>} */
    this._unacked = new Map();
    this._held = 0;
    /** With the frame that asks for the messages.
     *  @type {Map<string, [(message: Message) => void, any]>} */
    this._handlers = new Map();
    /** @type {Map<string, { resolve: (answer: any) => void, reject: (error: DeviceError) => void }>} */
    this._requests = new Map();
    this._boot = Math.floor(Math.random() * 2 ** 48).toString(16).padStart(12, "0");
    this._next = 1;
    this._failures = 0;
    this._connected = false;
    this._closing = false;
    /** @type {Array<() => void>} */
    this._waiting = [];
    /** @type {WebSocket | null} */
    this._socket = null;
    /** @type {any} */
    this._timer = null;
    /** @type {number | null} */
    this._pingedAt = null;
    this._stats = {
      connections: 0, disconnections: 0, reconnectAttempts: 0, errors: 0, bytesPublished: 0, bytesReceived: 0,
      bufferOverflows: 0, handlerErrors: 0,
    };
    /** @type {Record<string, number>} */
    this._published = {};
    /** @type {Record<string, number>} */
    this._received = {};
    /** @type {number | null} */
    this._latency = null;
    const { bufferFile } = this._options;
    const Store = files === null ? Entries : Journal;
    this._journal = bufferFile === undefined ? null : new Store(bufferFile);
    for (const [id, text] of this._journal?.load() ?? []) {
      this._buffer.push({ subject: JSON.parse(text).subject, text, id });
      this._held += text.length;
    }
    this._open();
  }

  /** Publishes: at once if connected, else as soon as it is again. If too many wait, the oldest are lost and counted.
   *  With `ack` the promise holds the box's answer (`durable` says whether it survives everything) or a `DeviceError`;
   *  until then the message is sent again after each reconnect, under one id. With `bufferFile` all are. Else it holds
   *  nothing, at once.
   *  @param {string} subject
   *  @param {any} payload
   *  @param {{ ack?: boolean }} [options]
   *  @returns {Promise<any>} */
  publish(subject, payload, { ack = false } = {}) {
    if (this._closing) return Promise.reject(new DeviceError("CLOSED", "the client was closed"));
    if (!ack && this._journal === null) {
      this._keep({ subject, text: JSON.stringify({ type: PUBLISH, subject, payload }) });
      return Promise.resolve();
    }
    const id = `${this._boot}-${this._next++}`;
    const text = JSON.stringify({ type: PUBLISH, subject, payload, messageId: id, ack: true, correlationId: `p-${id}` });
    const kept = new Promise((resolve, reject) => this._keep({ subject, text, id, resolve, reject }));
    // Who did not ask for an ack does not wait for a refusal either.
    if (!ack) kept.catch(() => {});
    return kept;
  }

  /** Calls a handler for messages on a pattern, now and after each reconnect. With `replay` they come out of the stream
   *  that keeps the subject.
   *  @param {string} pattern
   *  @param {(message: Message) => void} handler
   *  @param {{ replay?: Replay }} [options] */
  subscribe(pattern, handler, { replay } = {}) {
    const frame = { type: SUBSCRIBE, subject: pattern, replay };
    this._handlers.set(pattern, [handler, frame]);
    this._say(frame);
    this._tell("subscribed", { pattern });
  }

  /** Ends a subscription, exactly as it was made.
   *  @param {string} pattern */
  unsubscribe(pattern) {
    if (!this._handlers.delete(pattern)) return;
    this._say({ type: UNSUBSCRIBE, subject: pattern });
    this._tell("unsubscribed", { pattern });
  }

  /** Asks whoever listens on a subject; holds the first answer.
   *  @param {string} subject
   *  @param {any} payload
   *  @param {number} [timeout] Milliseconds.
   *  @returns {Promise<any>} */
  request(subject, payload, timeout = 5000) {
    if (!this._connected) return Promise.reject(new DeviceError("LOST", "there is no connection"));
    if (this._requests.size >= REQUESTS_MAX) {
      return Promise.reject(new DeviceError("RATE_LIMIT", `no more than ${REQUESTS_MAX} open requests`));
    }
    const correlationId = `q-${this._boot}-${this._next++}`;
    return new Promise((resolve, reject) => {
      const over = setTimeout(() => {
        this._requests.delete(correlationId);
        reject(new DeviceError("REQUEST_TIMEOUT", `no answer within ${timeout} ms`));
      }, timeout);
      this._requests.set(correlationId, {
        resolve: (answer) => (clearTimeout(over), resolve(answer)),
        reject: (error) => (clearTimeout(over), reject(error)),
      });
      this._say({ type: REQUEST, subject, payload, correlationId });
    });
  }

  /** Answers a request that came as a message.
   *  @param {Message} message
   *  @param {any} payload */
  reply(message, payload) {
    this._say({ type: REPLY, subject: "", correlationId: message.correlationId, payload });
  }

  /** Waits until the gateway has let the device in; holds whether it has.
   *  @param {number} timeout Milliseconds.
   *  @returns {Promise<boolean>} */
  async connected(timeout = 0) {
    await this._until(() => this._connected || this._closing, timeout);
    return this._connected;
  }

  /** Hangs up and stays away for so many milliseconds; publishes wait meanwhile.
   *  @param {number} pause */
  hangUp(pause) {
    this._pause = pause;
    this._socket?.close(1000);
    this._lost("on purpose");
  }

  /** What the client has counted, in the form in which it is published.
   *  @returns {Record<string, any>} */
  stats() {
    const sum = (/** @type {Record<string, number>} */ counts) => Object.values(counts).reduce((a, b) => a + b, 0);
    return {
      ...this._stats, messagesPublished: sum(this._published), messagesReceived: sum(this._received),
      published: { ...this._published }, received: { ...this._received },
      bufferSize: this._buffer.length + this._unacked.size,
      ...(this._latency === null ? {} : { latencySeconds: this._latency }),
    };
  }

  /** Sends what waits, as far as that goes in the time, and ends the connection for good.
   *  @param {number} timeout Milliseconds. */
  async close(timeout = 5000) {
    await this._until(() => !this._connected || (this._buffer.length === 0 && this._unacked.size === 0), timeout);
    this._closing = true;
    clearTimeout(this._again);
    this._socket?.close(1000);
    this._lost("closed");
    for (const out of [...this._unacked.values(), ...this._buffer]) {
      out.reject?.(new DeviceError("CLOSED", "the client was closed"));
    }
    this._changed();
  }

  // The buffer.

  /** @param {Outgoing} out */
  _keep(out) {
    this._buffer.push(out);
    this._held += out.text.length;
    if (out.id !== undefined) this._journal?.add(out.id, out.text);
    const { bufferMessages, bufferBytes } = this._options;
    let lost = 0;
    for (;;) {
      const held = this._buffer.length + this._unacked.size;
      if (held <= bufferMessages && (this._held <= bufferBytes || held <= 1)) break;
      const [first] = this._unacked.keys();
      const oldest = first === undefined ? this._buffer.shift() : this._unacked.get(first);
      if (first !== undefined) this._unacked.delete(first);
      this._held -= oldest?.text.length ?? 0;
      if (oldest?.id !== undefined) this._journal?.remove(oldest.id);
      oldest?.reject?.(new DeviceError("BUFFER_FULL", "too many publishes wait"));
      lost += 1;
    }
    this._stats.bufferOverflows += lost;
    if (lost > 0) this._tell("buffer_overflow", { lost });
    if (!this._connected) this._tell("buffered", { size: this._buffer.length, max: bufferMessages });
    this._fill();
  }

  /** Hands over what the socket has room for, so that what is not sent survives a lost connection. */
  _fill() {
    const socket = this._socket;
    if (!this._connected || socket === null) return;
    while (this._buffer.length > 0) {
      if (socket.bufferedAmount >= WINDOW_BYTES) {
        // A socket does not say when it has room again.
        setTimeout(() => this._fill(), 20);
        return;
      }
      const out = /** @type {Outgoing} */ (this._buffer.shift());
      if (out.id === undefined) this._held -= out.text.length;
      else this._unacked.set(out.id, out);
      socket.send(out.text);
      this._stats.bytesPublished += out.text.length;
      count(this._published, out.subject);
      this._tell("published", { subject: out.subject, bytes: out.text.length });
    }
    this._changed();
  }

  /** Takes the box's word on a publish; tells whether the frame was one.
   *  @param {any} frame
   *  @param {DeviceError | null} error */
  _settle(frame, error) {
    const id = String(frame.correlationId ?? "").replace(/^p-/, "");
    const out = this._unacked.get(id);
    if (out === undefined) return false;
    this._unacked.delete(id);
    this._held -= out.text.length;
    this._journal?.remove(id);
    if (error === null) out.resolve?.(frame.payload ?? {});
    else out.reject?.(error);
    this._changed();
    return true;
  }

  // The connection.

  _open() {
    const socket = this._options.connect(this.url);
    this._socket = socket;
    const own = () => this._socket === socket;
    const late = setTimeout(() => own() && (socket.close(), this._lost("the gateway does not answer")),
      this._options.connectTimeout);
    socket.onopen = () => {
      if (this._token === "") return;  // a certificate says who it is
      const payload = { deviceId: this.deviceId, token: this._token, deviceType: this._options.deviceType };
      socket.send(JSON.stringify({ type: AUTH, payload }));
    };
    socket.onmessage = (event) => {
      if (!own() || typeof event.data !== "string") return;
      this._heardAt = Date.now();
      this._stats.bytesReceived += event.data.length;
      let frame;
      try {
        frame = JSON.parse(event.data);
      } catch {
        return;
      }
      if (this._connected) {
        this._take(frame);
      } else if (frame.type === AUTH) {
        clearTimeout(late);
        if (frame.payload?.success) {
          this._begin();
        } else {
          this.refused = frame.payload?.message ?? "not let in";
          this._tell("refused", { code: frame.payload?.code ?? "AUTH_FAILED", message: this.refused });
        }
      }
    };
    socket.onclose = (event) => {
      clearTimeout(late);
      if (own()) this._lost(`${event.code} ${event.reason}`.trim());
    };
    // Node says a little of what is wrong, browsers nothing.
    socket.onerror = (/** @type {any} */ event) => {
      if (own() && event.message) this._tell("error", { code: "SOCKET", message: event.message, subject: "" });
    };
  }

  _begin() {
    this._connected = true;
    this.refused = "";
    this._failures = 0;
    this._stats.connections += 1;
    for (const [, frame] of this._handlers.values()) this._say(frame);
    // What was not acknowledged is sent first, again.
    this._buffer.unshift(...this._unacked.values());
    this._unacked.clear();
    let [pingAt, statsAt] = [0, 0];
    const beat = () => {
      const now = Date.now();
      if (now - (this._heardAt ?? now) > this._options.deadAfter) {
        this._socket?.close();
        this._lost("nothing was heard of the gateway");
        return;
      }
      if (now >= pingAt) {
        pingAt = now + this._options.pingInterval;
        this._pingedAt = performance.now();
        this._say({ type: PING });
        this._tell("ping", {});
      }
      if (this._options.statsInterval !== null && now >= statsAt) {
        statsAt = now + this._options.statsInterval;
        this._say({ type: PUBLISH, subject: `devices.${this.deviceId}.stats`, payload: this.stats() });
      }
    };
    this._tell("connected", { url: this.url });
    beat();
    this._timer = setInterval(beat, 1000);
    this._fill();
    this._changed();
  }

  /** @param {string} reason */
  _lost(reason) {
    clearInterval(this._timer);
    const was = this._connected;
    this._connected = false;
    this._socket = null;
    for (const waiting of this._requests.values()) waiting.reject(new DeviceError("LOST", "the connection was lost"));
    this._requests.clear();
    if (was) {
      this._stats.disconnections += 1;
      this._tell("disconnected", { reason });
    }
    if (this._closing) return;
    const { backoffMin, backoffMax } = this._options;
    let delay = Math.min(backoffMax, backoffMin * 2 ** Math.min(this._failures, 30));
    delay *= 1 + JITTER * (2 * Math.random() - 1);
    this._failures += 1;
    delay = this._pause ?? delay;
    this._pause = undefined;
    this._tell("reconnecting", { attempt: this._stats.reconnectAttempts + 1, delay });
    clearTimeout(this._again);
    this._again = setTimeout(() => {
      this._stats.reconnectAttempts += 1;
      this._open();
    }, delay);
    this._changed();
  }

  /** @param {any} frame */
  _take(frame) {
    if (frame.type === MESSAGE) {
      count(this._received, frame.subject);
      const { subject, payload, deviceId, correlationId, sequence } = frame;
      for (const [pattern, [handler]] of this._handlers) {
        if (!matches(pattern, subject)) continue;
        try {
          handler({ subject, payload, deviceId, correlationId, sequence });
        } catch (error) {
          // A handler's mistake must not end the others.
          this._stats.handlerErrors += 1;
          this._tell("error", { code: "HANDLER", message: String(error), subject });
        }
      }
      this._tell("received", { subject });
    } else if (frame.type === REPLY) {
      this._answer(frame.correlationId, (waiting) => waiting.resolve(frame.payload));
    } else if (frame.type === ACK) {
      this._settle(frame, null);
    } else if (frame.type === PONG && this._pingedAt !== null) {
      this._latency = (performance.now() - this._pingedAt) / 1000;
      this._pingedAt = null;
      this._tell("pong", { seconds: this._latency });
    } else if (frame.type === ERROR) {
      const error = new DeviceError(frame.payload?.code ?? "ERROR", frame.payload?.message ?? frame.payload?.error ?? "");
      this._stats.errors += 1;
      const id = String(frame.correlationId ?? "").replace(/^p-/, "");
      if (AGAIN.includes(error.code) && this._unacked.has(id)) this.hangUp(1000);
      else if (!this._settle(frame, error)) this._answer(frame.correlationId, (waiting) => waiting.reject(error));
      this._tell("error", { code: error.code, message: error.message, subject: frame.subject ?? "" });
    }
  }

  /** @param {string} correlationId
   *  @param {(waiting: { resolve: (answer: any) => void, reject: (error: DeviceError) => void }) => void} end */
  _answer(correlationId, end) {
    const waiting = this._requests.get(correlationId);
    this._requests.delete(correlationId);
    if (waiting !== undefined) end(waiting);
  }

  /** Sends a frame that is of no use on another connection.
   *  @param {any} frame */
  _say(frame) {
    if (this._connected && this._socket?.readyState === 1) this._socket.send(JSON.stringify(frame));
  }

  /** @param {string} event
   *  @param {Record<string, any>} details */
  _tell(event, details) {
    try {
      this._options.onEvent(event, details);
    } catch {
      this._stats.handlerErrors += 1;
    }
  }

  /** Waits for a condition; ends without it when the time is over.
   *  @param {() => boolean} condition
   *  @param {number} timeout
   *  @returns {Promise<void>} */
  _until(condition, timeout) {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = () => {
        if (!condition()) return;
        clearTimeout(over);
        this._waiting = this._waiting.filter((other) => other !== look);
        resolve();
      };
      const over = setTimeout(() => {
        this._waiting = this._waiting.filter((other) => other !== look);
        resolve();
      }, timeout);
      this._waiting.push(look);
    });
  }

  _changed() {
    for (const look of [...this._waiting]) look();
  }
}

/** @param {Record<string, number>} counts
 *  @param {string} subject */
function count(counts, subject) {
  const name = subject in counts || Object.keys(counts).length < SUBJECTS_MAX ? subject : "other";
  counts[name] = (counts[name] ?? 0) + 1;
}

/** Tells whether a pattern stands for a subject: `*` for one token, a last `>` for the rest.
 *  @param {string} pattern
 *  @param {string} subject
 *  @returns {boolean} */
export function matches(pattern, subject) {
  const tokens = subject.split(".");
  const wanted = pattern.split(".");
  for (const [at, token] of wanted.entries()) {
    if (token === ">") return tokens.length > at;
    if (at >= tokens.length || (token !== "*" && token !== tokens[at])) return false;
  }
  return tokens.length === wanted.length;
}
