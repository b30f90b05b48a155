import { decodeOps, encodeOps } from "./batch.js";
import { fromBase64, toBase64 } from "./bytes.js";
import { type Change, Doc } from "./doc.js";
import { kept, reasonOf, SessionError } from "./failure.js";
import { Journal } from "./journal.js";
import { type Op, TextError } from "./op.js";
import { Outbox } from "./outbox.js";
import { type Peer, Peers, type Presence, type ShownPresence } from "./peers.js";
import { ConnectionError, ServerError, Socket } from "./socket.js";
import type { DocumentStore, Entry, Opened, State } from "./store.js";

export interface SessionOptions {
  /** Where the server takes WebSockets, such as "wss://example.com/api/rpc". */
  url: string;
  /** The document. */
  id: string;
  /** Gives an access token, whenever one is needed. Without it the browser's cookie says who is calling. */
  token?: () => string | Promise<string>;
  /** Where to keep the document, so that it can be edited after a restart without the server, too. The session closes it. */
  store?: DocumentStore | undefined;
  /** What to use instead of the global WebSocket. */
  WebSocket?: typeof WebSocket;
}

/**
 * What a session is at. loading: there is no document yet. online: what is done is sent and what others do comes. offline: there is no connection,
 * and the session tries to have one, unless it was asked to stay without. failed: it has given up, error tells why. closed: it was asked to end.
 */
export type Status = "loading" | "online" | "offline" | "failed" | "closed";

export interface SessionEvents {
  /** The status has changed, or whether there is something that the server has not acknowledged. */
  status: () => void;
  /** The text has changed, by the server (undefined) or by whom commit or replace was told. */
  change: (changes: readonly Change[], by: unknown) => void;
  /** The peers have changed. */
  peers: () => void;
}

interface Page {
  operations: string;
  position: number;
  more: boolean;
}

interface OpenAnswer extends Opened, Page {
  site: number;
  session: number;
  snapshot: string | null;
  version: Record<string, number>;
  presence: ShownPresence[];
}

/** The waits before a new connection, in milliseconds: the first, which doubles, and the longest. */
const firstWait = 100;
const longestWait = 10_000;
/** How often the connection is looked after, and how long it may be silent before the server is asked something, in milliseconds. */
const beat = 10_000;
const longestSilence = 20_000;
/** How long the end of a session waits for the server to know of it, in milliseconds. */
const longestGoodbye = 1000;
/** The part of a token's life after which there is a newer one. */
const renewAfter = 0.8;

/**
 * A document of a server, that is edited here and elsewhere. What is done here is in the text at once, and is sent when there is a connection: in
 * order, at least once, and applied once. doc may be read at any time and is written by replace, or by commit.
 */
export class DocumentSession {
  readonly id: string;
  readonly #options: SessionOptions;
  readonly #listeners: { [E in keyof SessionEvents]: Set<SessionEvents[E]> } = { status: new Set(), change: new Set(), peers: new Set() };
  #doc: Doc | undefined;
  #opened: Opened | undefined;
  #status: Status = "loading";
  #error: SessionError | undefined;
  /** Up to where all that the server has is here. */
  #position = 0;
  readonly #outbox = new Outbox();
  #acknowledged = 0;
  #journal: Journal | undefined;
  #restoring: Promise<void> | undefined;
  /** Ends the connection and the tries to have one; undefined if it was asked to stay without. */
  #connecting: AbortController | undefined;
  /** The connection while it is online, and what ends it. */
  #socket: Socket | undefined;
  #trouble: (error: unknown) => void = () => {};
  #pushing = false;
  readonly #peers = new Peers(
    (presence) => this.#show(presence),
    () => this.#tell("peers"),
  );

  /** Begins to open the document. */
  constructor(options: SessionOptions) {
    this.id = options.id;
    this.#options = options;
    globalThis.addEventListener?.("pagehide", this.#pageHides);
    this.connect();
  }

  get status(): Status {
    return this.#status;
  }

  /** Why the session has failed. */
  get error(): SessionError | undefined {
    return this.#error;
  }

  /** The text. There is none while the session is loading. */
  get doc(): Doc {
    if (!this.#doc) throw new Error("The document is not there yet: wait for ready");
    return this.#doc;
  }

  /** What the server says of the document, as it was opened. */
  get document(): Opened["document"] | undefined {
    return this.#opened?.document;
  }

  get readOnly(): boolean {
    return this.#opened?.role !== "editor" || this.#status === "failed" || this.#status === "closed";
  }

  /** Tells whether the server has all that was done here. */
  get saved(): boolean {
    return this.#outbox.last === 0;
  }

  /** Who else has the document open, by their sites. */
  get peers(): ReadonlyMap<number, Peer> {
    return this.#peers.all;
  }

  /** Resolves when the text is there, from the server or from the store; it is rejected if it cannot be had. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.#doc) resolve();
        else if (this.#status === "failed" || this.#status === "closed") reject(this.#error ?? new Error("The session is closed"));
        else return;
        leave();
      };
      const leave = this.on("status", look);
      look();
    });
  }

  /** Lets the listener hear of events. What it gives ends that. */
  on<E extends keyof SessionEvents>(event: E, listener: SessionEvents[E]): () => void {
    this.#listeners[event].add(listener);
    return () => this.#listeners[event].delete(listener);
  }

  /** Replaces a part of the text, as Doc.replace does. */
  replace(pos: number, units: number, text: string, by?: unknown): void {
    if (this.readOnly) throw new Error("The document cannot be written");
    const changes: Change[] = [];
    const ops = this.doc.replace(pos, units, text, (change) => changes.push(change));
    this.commit(ops, changes, by);
  }

  /** Takes note of operations that have been done to doc as its site, and sends them. */
  commit(ops: readonly Op[], changes: readonly Change[], by?: unknown): void {
    if (ops.length === 0) return;
    const wasSaved = this.saved;
    this.#outbox.add(ops);
    this.#journal?.done(ops, this.#position);
    this.#tell("change", changes, by);
    if (wasSaved) this.#tell("status");
    queueMicrotask(() => void this.#push());
  }

  /** Shows the others where one is, from now on; undefined: no longer. */
  present(presence: Presence | undefined): void {
    this.#peers.present(presence);
  }

  /** Goes online, again if it is asked to after disconnect or a failure. */
  connect(): void {
    if (this.#connecting || this.#status === "closed") return;
    this.#error = undefined;
    this.#connecting = new AbortController();
    void this.#run(this.#connecting.signal);
  }

  /** Stays without a connection until connect. */
  disconnect(): void {
    this.#connecting?.abort();
    this.#connecting = undefined;
    this.#leave();
    if (this.#status === "online") this.#become("offline");
  }

  /** Ends the session. What the server does not have yet is kept in the store, if there is one. */
  async close(): Promise<void> {
    if (this.#status === "closed") return;
    this.#become("closed");
    this.#peers.close();
    globalThis.removeEventListener?.("pagehide", this.#pageHides);
    await Promise.race([this.#sayGoodbye(), this.#pause(longestGoodbye, this.#connecting?.signal)]);
    this.disconnect();
    await this.#restoring?.catch(() => {});
    await this.#journal?.written().catch(() => {});
    this.#options.store?.close();
  }

  /**
   * Ends a session that has failed, and forgets what is stored, so that the next one begins anew with what the server has. It gives the text as it
   * was here, with what the server does not have.
   */
  async discard(): Promise<string> {
    if (this.#status !== "failed") throw new Error("The session has not failed");
    const text = this.#doc?.toString() ?? "";
    await this.#journal?.written().catch(() => {});
    await this.#options.store?.clear();
    await this.close();
    return text;
  }

  /** The page may be gone for good: what is begun now is still done. */
  readonly #pageHides = (): void => {
    if (this.#status !== "failed") this.#journal?.flush();
    void this.#sayGoodbye();
  };

  /** Lets the others know that nobody is here any more. */
  async #sayGoodbye(): Promise<void> {
    if (this.#socket && this.#peers.shown) await this.#call("show_presence", { site: this.doc.site, presence: null }).catch(() => {});
  }

  /** Has connections, one after another, until it is asked to stop or gives up. */
  async #run(signal: AbortSignal): Promise<void> {
    let refusals = 0;
    for (let attempt = 0; ; attempt++) {
      const began = performance.now();
      let asked = 0;
      try {
        await (this.#restoring ??= this.#restore());
        if (signal.aborted) return;
        await this.#connection(signal);
        refusals = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ServerError) asked = error.data.retry_after_ms ?? 0;
        refusals = error instanceof ServerError && error.kind === "UNAUTHENTICATED" ? refusals + 1 : 0;
        const reason = reasonOf(error, refusals > 1);
        if (reason) return this.#fail(reason, error);
      }
      if (signal.aborted) return;
      this.#become(this.#doc ? "offline" : "loading");
      if (performance.now() - began > longestWait) attempt = 0;
      // Half of the wait is chance, so that clients that failed together do not come back together.
      const wait = Math.min(firstWait * 2 ** attempt, longestWait) * (0.5 + Math.random() / 2);
      await this.#pause(Math.max(asked, wait), signal);
      if (signal.aborted) return;
    }
  }

  #fail(reason: SessionError["reason"], cause: unknown): void {
    this.#error = new SessionError(reason, cause);
    if (!this.#doc) this.#restoring = undefined;
    this.#connecting?.abort();
    this.#connecting = undefined;
    this.#become("failed");
  }

  /** Takes up what the store has. */
  async #restore(): Promise<void> {
    const { store } = this.#options;
    const saved = await kept(store?.load());
    if (!store || !saved) return;
    const { state, entries } = saved;
    try {
      const doc = Doc.load(state.snapshot, state.site, state.session);
      const own = decodeOps(state.pending);
      let last = doc.version.get(doc.site) ?? 0;
      let acknowledged = 0;
      for (const { operations } of entries) {
        const ops = decodeOps(operations);
        doc.apply(ops);
        for (const op of ops.filter(({ id }) => id.site === doc.site)) {
          if (op.id.seq > last) own.push(op);
          else acknowledged = op.id.seq + op.n - 1; // it is there twice: the server has sent it back
        }
        last = doc.version.get(doc.site) ?? 0;
      }
      this.#outbox.add(own);
      this.#acknowledge(acknowledged);
      this.#position = entries[entries.length - 1]?.position ?? state.position;
      this.#opened = state.opened;
      this.#begin(doc, entries);
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      await kept(store.clear()); // it was written by another version, or is broken
    }
  }

  /** Lets there be a text. */
  #begin(doc: Doc, entries?: readonly Entry[]): void {
    const { store } = this.#options;
    const failed = (error: unknown) => this.#fail("store", error);
    if (store) this.#journal = new Journal(store, entries, () => this.#state(), failed);
    this.#doc = doc;
    this.#become("offline");
  }

  #state(): State {
    const { site, session } = this.doc;
    return { site, session, snapshot: this.doc.snapshot(), pending: encodeOps(this.#outbox.ops), position: this.#position, opened: this.#opened! };
  }

  /** Has one connection, until it ends. */
  async #connection(signal: AbortSignal): Promise<void> {
    const socket = await Socket.open(this.#options.url, this.#options.WebSocket ?? WebSocket, signal);
    const trouble = new Promise<never>((_, reject) => (this.#trouble = reject));
    trouble.catch(() => {}); // it is heard of below, if that is reached
    // Without this it would be heard of when an answer is late.
    const offline = () => this.#trouble(new ConnectionError("The network is gone"));
    globalThis.addEventListener?.("offline", offline);
    let timer: ReturnType<typeof setInterval> | undefined;
    let renewal: ReturnType<typeof setTimeout> | undefined;
    const authenticate = async () => {
      if (!this.#options.token) return;
      const { expires_at } = await socket.call<{ expires_at: string | null }>("authenticate", { token: await this.#options.token() });
      const life = expires_at ? Date.parse(expires_at) - Date.now() : 0;
      if (life > 0) renewal = setTimeout(() => void authenticate().catch(this.#trouble), Math.min(life * renewAfter, 2 ** 31 - 1));
    };
    try {
      await authenticate();
      await this.#open(socket);
      socket.onNotification = (method, params) => this.#take(method, params);
      await socket.call("follow_document", { id: this.id, since: this.#position });
      signal.throwIfAborted();
      this.#socket = socket;
      this.#become("online");
      timer = setInterval(() => this.#lookAfter(socket), beat);
      void this.#push();
      this.#peers.renew();
      await Promise.race([socket.closed, trouble]);
    } finally {
      globalThis.removeEventListener?.("offline", offline);
      clearInterval(timer);
      clearTimeout(renewal);
      socket.close();
      if (this.#socket === socket) this.#leave();
    }
  }

  /** Has no connection any more. */
  #leave(): void {
    this.#socket = undefined;
    this.#peers.clear();
  }

  /** Opens the document, for the first time or again, and brings it up to what the server has. */
  async #open(socket: Socket): Promise<void> {
    const known = this.#doc ? { site: this.#doc.site, since: this.#position } : {};
    const answer = await socket.call<OpenAnswer>("open_document", { id: this.id, ...known }).catch((error: unknown) => {
      // To who may not read it there is no document: it is the site that the server does not know any more.
      const unknown = this.#doc && error instanceof ServerError && error.kind === "FORBIDDEN";
      throw unknown ? new SessionError("diverged", error) : error;
    });
    const { document, role, site, session, version } = answer;
    let doc = this.#doc;
    if (doc && (version[site] ?? 0) < this.#acknowledged) throw new TextError("malformed", "the server has lost operations");
    this.#opened = { document, role };
    doc ??= answer.snapshot === null ? new Doc(site, session) : Doc.load(fromBase64(answer.snapshot), site, session);
    let page: Page = answer;
    for (;;) {
      this.#apply(doc, page.operations, page.position);
      if (!page.more) break;
      page = await socket.call<Page>("read_document_operations", { id: this.id, since: this.#position });
    }
    if (!this.#doc) this.#begin(doc);
    this.#acknowledge(version[site] ?? 0);
    for (const shown of answer.presence) this.#meet(shown);
  }

  /** Applies what has come from the server, up to the position. */
  #apply(doc: Doc, operations: string, position: number): void {
    if (position <= this.#position && this.#doc) return;
    const bytes = fromBase64(operations);
    const ops = bytes.length > 0 ? decodeOps(bytes) : [];
    const changes: Change[] = [];
    doc.apply(ops, (change) => changes.push(change));
    this.#position = position;
    if (bytes.length > 0) this.#journal?.received(bytes, position);
    for (const { id, n } of ops) if (id.site === doc.site) this.#acknowledge(id.seq + n - 1);
    if (changes.length > 0) this.#tell("change", changes, undefined);
  }

  #acknowledge(seq: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, seq);
    const wasSaved = this.saved;
    this.#outbox.acknowledge(seq);
    if (this.saved !== wasSaved) this.#tell("status");
  }

  /** Takes what the server sends by itself. */
  #take(method: string, params: unknown): void {
    if ((params as { document_id?: string }).document_id !== this.id) return;
    try {
      if (method === "document_operations") {
        const { prev, position, operations } = params as Page & { prev: number };
        if (prev > this.#position) throw new ConnectionError("Operations are missing");
        this.#apply(this.doc, operations, position);
      } else if (method === "document_presence") {
        this.#meet(params as ShownPresence);
      } else if (method === "document_closed") {
        const { reason } = params as { reason: string };
        if (reason === "deleted" || reason === "forbidden") throw new SessionError(reason, undefined);
        throw new ConnectionError("The server has ended it: " + reason);
      }
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Sends own operations, batch after batch. */
  async #push(): Promise<void> {
    if (this.#pushing) return;
    this.#pushing = true;
    try {
      while (this.#socket && !this.saved && this.#opened?.role === "editor") {
        const { last } = this.#outbox;
        // What the server knows must be known here after a restart, or the numbers would be given twice.
        await kept(this.#journal?.written());
        const batch = this.#outbox.batch(last);
        const end = batch[batch.length - 1];
        if (!end || !this.#socket) continue;
        await this.#call("push_document_operations", { site: this.doc.site, operations: toBase64(encodeOps(batch)) });
        this.#acknowledge(end.id.seq + end.n - 1);
      }
    } catch (error) {
      this.#trouble(error);
    } finally {
      this.#pushing = false;
    }
  }

  /** Calls a method for the document, when the server lets it. */
  async #call<R>(method: string, params: object): Promise<R> {
    for (;;) {
      const socket = this.#socket;
      if (!socket) throw new ConnectionError("There is no connection");
      try {
        return await socket.call<R>(method, { id: this.id, ...params });
      } catch (error) {
        if (!(error instanceof ServerError && error.kind === "RATE_LIMITED")) throw error;
        await this.#pause(error.data.retry_after_ms ?? firstWait, this.#connecting?.signal);
      }
    }
  }

  /** Sees to it that both sides know that the other one is there. */
  #lookAfter(socket: Socket): void {
    this.#peers.renew();
    if (performance.now() - socket.heard > longestSilence) {
      this.#call<Page>("read_document_operations", { since: this.#position })
        .then((page) => this.#apply(this.doc, page.operations, page.position))
        .catch(this.#trouble);
    }
  }

  #show(presence: Presence | null): void {
    if (!this.#socket) return;
    // Whoever does not hear of it hears of the next one.
    this.#call("show_presence", { site: this.doc.site, presence }).catch(() => {});
  }

  #meet(shown: ShownPresence): void {
    if (shown.site !== this.#doc?.site) this.#peers.meet(shown);
  }

  #become(status: Status): void {
    if (this.#status === status || this.#status === "closed") return;
    this.#status = status;
    this.#tell("status");
  }

  #tell<E extends keyof SessionEvents>(event: E, ...args: Parameters<SessionEvents[E]>): void {
    for (const listener of [...this.#listeners[event]]) (listener as (...args: unknown[]) => void)(...args);
  }

  /** Waits; less if the network comes back. */
  #pause(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        globalThis.removeEventListener?.("online", end);
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      globalThis.addEventListener?.("online", end);
      signal?.addEventListener("abort", end);
    });
  }
}
