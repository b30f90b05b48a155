// A server of one document, at the other end of real WebSockets: it keeps operations as Rowcall does, and fails as it is told to.
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";

import { decodeOps, Doc, encodeOps } from "../dist/index.js";

export const id = "01890a5d-ac96-774b-bcce-b302099a8058";

const toBase64 = (bytes) => Buffer.from(bytes).toString("base64");

/** An error of the server's. */
export const refusal = (kind, data = {}) => ({ error: { code: 1, message: kind, data: { kind, request_id: "r", ...data } } });

export class Fake {
  /** The operations, one to a position. */
  log = [];
  doc = new Doc();
  role = "editor";
  /** The calls, in the order of their coming. */
  calls = [];
  /** May answer a call in the server's place, or return "cut" to end the connection in place of the answer. */
  before = () => undefined;
  after = () => undefined;
  /** May change a notification, or return undefined to lose it. */
  sending = (message) => message;
  /** How many operations a page has. */
  page = Infinity;
  #sites = 0;
  #snapshot;
  #sockets = new Map();
  #presence = new Map();

  /** Starts at a port; without it, at any. */
  async start(port = 0) {
    this.server = new WebSocketServer({ host: "127.0.0.1", port });
    await once(this.server, "listening");
    this.port = this.server.address().port;
    this.server.on("connection", (socket) => {
      this.#sockets.set(socket, { follows: false });
      let turn = Promise.resolve();
      socket.on("message", (text) => (turn = turn.then(() => this.#serve(socket, JSON.parse(text)))));
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  get url() {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** Ends all connections. */
  cut() {
    for (const socket of this.#sockets.keys()) socket.terminate();
  }

  async stop() {
    this.cut();
    this.server.close();
    await once(this.server, "close");
  }

  /** From here on the document begins with a snapshot. */
  compact() {
    this.#snapshot = { position: this.log.length, bytes: this.doc.snapshot() };
  }

  notify(method, params) {
    for (const [socket, state] of this.#sockets) {
      if (state.follows) this.#send(socket, method, params);
    }
  }

  #send(socket, method, params) {
    const message = this.sending({ jsonrpc: "2.0", method, params: { document_id: id, ...params } });
    if (message) socket.send(JSON.stringify(message));
  }

  async #serve(socket, { id: callId, method, params }) {
    if (socket.readyState !== WebSocket.OPEN) return;
    this.calls.push({ method, params });
    let answer = await this.before(method, params);
    if (!answer) {
      answer = this[method](params, socket);
      answer = answer.error ? answer : { result: { data: answer } };
      if ((await this.after(method, params)) === "cut") answer = "cut";
    }
    if (answer === "cut") return socket.terminate();
    socket.send(JSON.stringify({ jsonrpc: "2.0", id: callId, ...answer }));
    if (method === "follow_document") {
      this.#sockets.get(socket).follows = true;
      if (params.since < this.log.length) this.#sendOps(socket, params.since);
    }
  }

  #sendOps(socket, prev) {
    this.#send(socket, "document_operations", { prev, position: this.log.length, operations: toBase64(encodeOps(this.log.slice(prev))) });
  }

  authenticate() {
    return { authenticated: true, expires_at: null };
  }

  open_document({ site, since }) {
    if (since > this.log.length) return refusal("RESYNC_REQUIRED", { head: this.log.length });
    const snapshot = since === undefined ? this.#snapshot : undefined;
    const page = this.read_document_operations({ since: since ?? snapshot?.position ?? 0 });
    return {
      document: { id, title: "main.go", language: null, owner_id: 1 },
      role: this.role,
      site: site ?? ++this.#sites,
      session: 1,
      snapshot: snapshot ? toBase64(snapshot.bytes) : null,
      snapshot_position: snapshot?.position ?? 0,
      version: Object.fromEntries(this.doc.version),
      presence: [...this.#presence.values()],
      ...page,
    };
  }

  read_document_operations({ since }) {
    const ops = this.log.slice(since, since + this.page);
    const position = since + ops.length;
    return { operations: ops.length > 0 ? toBase64(encodeOps(ops)) : "", position, more: position < this.log.length };
  }

  push_document_operations({ site, operations }) {
    if (this.role !== "editor") return refusal("FORBIDDEN");
    const prev = this.log.length;
    const was = this.doc.version;
    const ops = decodeOps(Buffer.from(operations, "base64"));
    this.doc.apply(ops);
    if (this.doc.early > 0 || ops.some((op) => op.id.site !== site)) return refusal("VALIDATION", { issues: [] });
    this.log.push(...this.doc.operations(was));
    if (this.log.length > prev) for (const [socket, { follows }] of this.#sockets) if (follows) this.#sendOps(socket, prev);
    return { position: this.log.length };
  }

  follow_document({ since }) {
    return since > this.log.length ? refusal("RESYNC_REQUIRED") : { position: since };
  }

  show_presence({ site, presence }) {
    const shown = { site, user_id: 1000, presence };
    if (presence) this.#presence.set(site, shown);
    else this.#presence.delete(site);
    this.notify("document_presence", shown);
    return { shown: true };
  }
}

/** Waits until something holds of the sessions, which is looked at whenever something happens to one. */
export async function until(holds, ...sessions) {
  for (;;) {
    if (holds()) return;
    await new Promise((resolve) => {
      const leave = sessions.flatMap((session) => ["status", "change", "peers"].map((event) => session.on(event, done)));
      function done() {
        for (const l of leave) l();
        setImmediate(resolve);
      }
    });
  }
}

/** A store that can be copied, as it is when a page dies. */
export function memory(saved, entries = []) {
  return {
    copy: () => memory(saved, [...entries]),
    load: async () => saved && { state: saved, entries: [...entries] },
    save: async (state) => ((saved = state), (entries = [])),
    append: async (more) => void entries.push(...more),
    clear: async () => ((saved = undefined), (entries = [])),
    close() {},
  };
}
