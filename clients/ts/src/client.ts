/**
 * The part of the client that is the same for every server: calls, batches, sessions and retries. It needs fetch and
 * AbortSignal.any, so a browser of 2024 or Node 20.3, and nothing else.
 *
 * Integers are numbers: exact up to 2^53, which a row's id, counted up from 1000, does not reach.
 */

import { readEvents } from "./events.js";

/** What a server's methods take and give. The generated Methods is one. */
export type MethodMap<M> = { [N in keyof M]: { params: object; result: unknown } };

export interface Options {
  /** The server, such as "https://api.example.com". Without it: the one that the page came from. */
  url?: string;
  /** An API key, or an access token that the client does not renew. */
  token?: string;
  /** A session to go on with, as login or onSession gave it. It must be in use by one client only: a refresh token works once. */
  session?: Session;
  /**
   * Is told of a new or renewed session, and of its end with undefined: store it, and a later start can go on with it. It may
   * begin calls of the client, also a login, but nothing waits for what it returns.
   */
  onSession?: (session: Session | undefined) => void;
  /** Let the browser's cookie, which the server sets at login, say who is calling: scripts then have no use for the access token. */
  cookies?: boolean;
  /** How long a call may take, all its attempts together, in milliseconds. Without it: a minute. */
  timeout?: number;
  /** How often a call is repeated at the most. Without it: 4. */
  retries?: number;
  /** What to use instead of the global fetch. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  /** Ends the call when it is aborted: the call then throws the signal's reason. */
  signal?: AbortSignal;
  /** How long the call may take, all its attempts together, in milliseconds. */
  timeout?: number;
}

export interface Credentials {
  username: string;
  pwd: string;
  /** The tenant's slug. A user of one tenant need not say it. */
  tenant?: string;
}

export interface Session {
  token: string;
  expires_at: string;
  refresh_token: string;
  tenant: { id: string; slug: string; name: string };
  user: { id: number; username: string; name: string; role: string };
}

/** The kinds of errors, and what each has in data. */
export interface ErrorData {
  PARSE_ERROR: object;
  INVALID_REQUEST: object;
  METHOD_NOT_FOUND: object;
  INVALID_PARAMS: { issues: Issue[] };
  INTERNAL: object;
  UNAUTHENTICATED: object;
  FORBIDDEN: object;
  NOT_FOUND: { entity: string; id: number | string };
  /** current: the row as it is now */
  CONFLICT: { current: unknown };
  ALREADY_EXISTS: { entity: string; fields: string[] };
  REFERENCED: { entity: string; field: string };
  BAD_REFERENCE: { entity: string; field: string };
  /** Of a stream that had begun, there is the reason only. */
  RESYNC_REQUIRED: { head?: number; tail?: number; reason?: string };
  VALIDATION: { issues: Issue[] };
  RATE_LIMITED: { retry_after_ms: number };
  ABORTED: object;
  TIMEOUT: object;
  UNAVAILABLE: object;
}

export type Kind = keyof ErrorData;

/** A fault of the params. path leads to it: "params.filters[0].title.$contans". */
export interface Issue {
  path: string;
  reason: string;
  allowed?: string[];
}

/** An error that the server answered. */
export class RowcallError<K extends Kind = Kind> extends Error {
  override readonly name = "RowcallError";
  readonly kind: K;
  readonly code: number;
  /** Names the request in the server's log. */
  readonly requestId: string;
  readonly data: ErrorData[K];
  /** The HTTP status. It is not 200 if the server refused the request as a whole. */
  readonly status: number;

  constructor(error: WireError, status: number) {
    super(error.message);
    const { kind, request_id, ...data } = error.data;
    this.kind = kind as K;
    this.code = error.code;
    this.requestId = request_id;
    this.data = data as ErrorData[K];
    this.status = status;
  }

  /** Tells whether the error is of the kind: then TypeScript knows what is in data. */
  is<T extends Kind>(kind: T): this is RowcallError<T> {
    return (this.kind as Kind) === kind;
  }
}

/** There is no answer, or none of Rowcall's: the network failed, or something between answered instead. */
export class TransportError extends Error {
  override readonly name = "TransportError";
  /** The HTTP status; undefined if there was no answer. */
  readonly status: number | undefined;

  constructor(message: string, status?: number, cause?: unknown) {
    super(message, { cause });
    this.status = status;
  }
}

/** The params of a method, of whose rows only the fields F are wanted. */
type Params<P, F> = "fields" extends keyof P
  ? P & { fields?: F[] }
  : P extends { list_options?: infer O }
    ? "fields" extends keyof NonNullable<O>
      ? P & { list_options?: { fields?: F[] } }
      : P
    : P;

/** A result whose rows have the fields F only, and included references; all fields if F is never. */
type Result<R, F> = [F] extends [never]
  ? R
  : R extends { data: (infer E)[] }
    ? Omit<R, "data"> & { data: Fields<E, F>[] }
    : R extends { data: infer E }
      ? Omit<R, "data"> & { data: Fields<E, F> }
      : R;

type Fields<E, F> = Pick<E, (F & keyof E) | OptionalKey<E>>;
type OptionalKey<E> = { [K in keyof E]-?: object extends Pick<E, K> ? K : never }[keyof E];

/** Methods that are called with their params, and with options. */
export type Calls<M extends MethodMap<M>> = {
  [N in keyof M]: object extends M[N]["params"]
    ? <F extends string = never>(params?: Params<M[N]["params"], F>, options?: CallOptions) => Promise<Result<M[N]["result"], F>>
    : <F extends string = never>(params: Params<M[N]["params"], F>, options?: CallOptions) => Promise<Result<M[N]["result"], F>>;
};

/** The methods as a batch has them: they make a call that runs with the batch. */
export type BatchCalls<M extends MethodMap<M>> = {
  [N in keyof M]: object extends M[N]["params"]
    ? <F extends string = never>(params?: Params<M[N]["params"], F>) => Call<Result<M[N]["result"], F>>
    : <F extends string = never>(params: Params<M[N]["params"], F>) => Call<Result<M[N]["result"], F>>;
};

export interface BatchOptions extends CallOptions {
  /** Run the batch as one transaction: all of it is kept, or nothing. */
  atomic?: boolean;
}

/** One call of a batch. */
export class Call<R> {
  /**
   * Stands, in the params of a later call of an atomic batch, for what this one's data will have there:
   * `{ project_id: project.data.id }`. It is a place and not yet a value, so it is no good for anything else.
   */
  readonly data: R extends { data: infer D } ? D : never;
  /** The call's place in its batch. */
  index: number | undefined;
  declare private readonly result: R;

  constructor(
    readonly method: string,
    readonly params: object | undefined,
  ) {
    this.data = reference(this, "") as typeof this.data;
  }
}

type ResultOf<C> = C extends Call<infer R> ? R : never;

/** What remains of the methods of M are those that give pages. */
type Paged<M extends MethodMap<M>> = {
  [N in keyof M]: M[N]["result"] extends { data: unknown[]; next_cursor: string | null } ? N : never;
}[keyof M];

type RowOf<R> = R extends { data: (infer E)[] } ? E : never;

/**
 * What a method does: it only reads; it writes; it writes, and once more with the same params writes nothing more; or it writes
 * once, however often it is repeated, because it takes a mutation_id.
 */
export type Access = "read" | "write" | "idempotent" | "once";

/** The rows of the entities, as their get_… methods give them. */
type Rows<M extends MethodMap<M>> = {
  [N in keyof M as N extends `get_${infer E}` ? E : never]: M[N]["result"] extends { data: infer D } ? D : never;
};

/** An entry of the change log, on a row D of the entity E. */
type Entry<E, D> = {
  position: number;
  /** The position of the entry before, of those that one sees. */
  prev: number;
  at: string;
  /** The id of the user who made the change. */
  actor: number;
  method: string;
  entity: E;
  id: D extends { id: infer I } ? I : number | string;
  version: number;
} & ({ op: "create" | "update"; data: D } | { op: "delete"; data: null });

/** A change of a row: its entity tells of which type. */
export type RowChange<M extends MethodMap<M>> = { [E in keyof Rows<M>]: Entry<E, Rows<M>[E]> }[keyof Rows<M>];

export interface ChangesOptions<M extends MethodMap<M>> {
  /** The position after which the changes begin. Without it: that of the server as it is then. */
  since?: number;
  /** The epoch of that position, as sync_bootstrap and sync_head give it. */
  epoch?: string;
  /** The entities to follow. Without it: all. */
  entities?: (keyof Rows<M> & string)[];
  /** Ends the stream when it is aborted: it then throws the signal's reason. */
  signal?: AbortSignal;
  /** Is told whenever a stream begins, of the newest position that the server has. */
  onHello?: (hello: Hello) => void;
}

export interface Hello {
  position: number;
  epoch: string;
  server_time: string;
}

interface MutationParams {
  mutation_id?: string | null;
}

interface WireError {
  code: number;
  message: string;
  data: { kind: string; request_id: string; [name: string]: unknown };
}

interface WireCall {
  jsonrpc: "2.0";
  id: number;
  method: string;
  params: object | undefined;
}

interface WireAnswer {
  id?: number | null;
  result?: unknown;
  error?: WireError;
}

/** An HTTP answer. */
interface Reply {
  status: number;
  /** Of Retry-After, in milliseconds. */
  retryAfter: number;
  body: WireAnswer | WireAnswer[];
}

const defaultTimeout = 60_000;
const defaultRetries = 4;
/** The wait before the first repetition, in milliseconds. It doubles with each. */
const firstWait = 100;
/** A server that asks for a longer wait gets no further attempt. */
const longestWait = 10_000;
/** How long a stream may be silent, in milliseconds. The server sends a ping every 15 s. */
const longestSilence = 40_000;
/** The part of a token's life after which it is renewed. */
const renewAfter = 0.8;

/** A client of one server. The generated class Rowcall, which has the server's methods, is made of it. */
export class Client<M extends MethodMap<M>> {
  readonly #access: Record<keyof M, Access>;
  readonly #options: Options;
  readonly #fetch: typeof fetch;
  readonly #url: string;
  readonly #calls: BatchCalls<M>;
  #session: Session | undefined;
  /** When to renew the session's token, by performance.now, which does not jump as the time of day does. */
  #renewAt = Infinity;
  #renewing: Promise<void> | undefined;
  /** The refresh token may have been used: sent again, it would end the session on the server. */
  #spent = false;
  #lastId = 0;

  constructor(access: Record<keyof M, Access>, options: Options = {}) {
    this.#access = access;
    this.#options = options;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.#url = (options.url ?? "").replace(/\/$/, "");
    const calls: Record<string, unknown> = {};
    for (const name of Object.keys(access)) {
      calls[name] = (params?: object) => new Call(name, params);
      const value = (params?: object, o?: CallOptions) => this.#call(name, params, o);
      Object.defineProperty(this, name, { value });
    }
    this.#calls = calls as BatchCalls<M>;
    if (options.session) this.#begin(options.session);
  }

  /** The session as it is now; undefined before a login and after its end. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** Begins a session as the user. It is renewed as long as the client is used. */
  async login(credentials: Credentials, options: CallOptions = {}): Promise<Session> {
    const session = await this.#grant("/api/login", { ...credentials }, this.#deadline(options));
    this.#change(session);
    return session;
  }

  /** Ends the session, on the server too. */
  async logoff(options: CallOptions = {}): Promise<void> {
    const signal = this.#deadline(options);
    try {
      await this.#authorized(signal, async () => {
        const reply = await this.#post("/api/logoff", '{"logoff":true}', {}, signal);
        throwRefusal(reply);
      });
    } catch (error) {
      // A session that has ended already is what was wanted.
      if (!isUnauthenticated(error)) throw error;
    }
    this.#change(undefined);
  }

  /** Calls a method by its name. */
  call<N extends keyof M & string>(method: N, params: M[N]["params"], options?: CallOptions): Promise<M[N]["result"]> {
    return this.#call(method, params, options) as Promise<M[N]["result"]>;
  }

  /**
   * Runs up to 100 calls in one request and returns their results in the order of the calls. A call that failed has a
   * RowcallError in the place of its result. An atomic batch throws instead, since then nothing is kept.
   *
   *     const [task, users] = await rc.batch(b => [b.get_task({ id: 1 }), b.list_users()]);
   */
  batch<const C extends readonly Call<unknown>[]>(
    build: (calls: BatchCalls<M>) => C,
    options: BatchOptions & { atomic: true },
  ): Promise<{ -readonly [I in keyof C]: ResultOf<C[I]> }>;
  batch<const C extends readonly Call<unknown>[]>(
    build: (calls: BatchCalls<M>) => C,
    options?: BatchOptions,
  ): Promise<{ -readonly [I in keyof C]: ResultOf<C[I]> | RowcallError }>;
  async batch(build: (calls: BatchCalls<M>) => readonly Call<unknown>[], options: BatchOptions = {}): Promise<unknown[]> {
    const calls = build(this.#calls);
    if (calls.length === 0) return [];
    calls.forEach((call, i) => (call.index = i));
    const headers: Record<string, string> = options.atomic ? { "Rowcall-Atomic": "true" } : {};
    const wire = calls.map((call) => this.#wire(call.method, call.params));
    const reply = await this.#exchange(wire, JSON.stringify(wire), headers, options);
    const answers = new Map((reply.body as WireAnswer[]).map((answer) => [answer.id, answer]));
    const results = wire.map(({ id }) => {
      const answer = answers.get(id);
      if (!answer) throw new TransportError("A call of the batch has no answer", reply.status);
      return answer.error ? new RowcallError(answer.error, reply.status) : answer.result;
    });
    if (options.atomic) {
      const failed = results.filter((result) => result instanceof RowcallError);
      if (failed.length > 0) throw failed.find((error) => error.kind !== "ABORTED") ?? failed[0];
    }
    return results;
  }

  /**
   * Gives the rows of a list one by one, and asks for the pages as they are needed. list_options.limit is the size of a page.
   *
   *     for await (const task of rc.rows("list_tasks", { filters: { done: false } })) …
   */
  async *rows<N extends Paged<M> & string>(method: N, params: M[N]["params"], options?: CallOptions): AsyncGenerator<RowOf<M[N]["result"]>, void, undefined> {
    type Page = { data: RowOf<M[N]["result"]>[]; next_cursor: string | null };
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const given = params as { list_options?: object };
      const list_options = cursor ? { ...given.list_options, offset: undefined, cursor } : given.list_options;
      const page = (await this.#call(method, { ...given, list_options }, options)) as Page;
      yield* page.data;
      cursor = page.next_cursor;
    }
  }

  /**
   * Gives the changes of the rows that one may see, as they come. It goes on by itself when the connection ends, without a gap and
   * without repeating one, for as long as the server can be asked again. RESYNC_REQUIRED: the log does not go back that far any more, or the
   * database was restored, so whoever keeps a copy starts over.
   *
   *     for await (const change of rc.changes({ since, entities: ["task"] })) …
   */
  async *changes(options: ChangesOptions<M> = {}): AsyncGenerator<RowChange<M>, void, undefined> {
    let { since, epoch } = options;
    for (let attempt = 0; ; attempt++) {
      const silence = new AbortController();
      let timer = setTimeout(() => silence.abort(), longestSilence);
      const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal;
      let asked = 0;
      try {
        const query = new URLSearchParams();
        if (since !== undefined) query.set("since", String(since));
        if (epoch) query.set("epoch", epoch);
        if (options.entities) query.set("entities", options.entities.join(","));
        const stream = await this.#authorized(signal, () => this.#open("/api/rpc?" + query, signal));
        let last: number | undefined; // the position that the next change's prev must be
        for await (const event of readEvents(stream)) {
          clearTimeout(timer);
          timer = setTimeout(() => silence.abort(), longestSilence);
          const data = JSON.parse(event.data) as unknown;
          if (event.type === "hello") {
            last = since = Number(event.id);
            ({ epoch } = data as Hello);
            options.onHello?.(data as Hello);
          } else if (event.type === "change") {
            const change = (data as { params: RowChange<M> }).params;
            if (change.prev !== last) break; // something is missing: ask again for what follows the last one
            last = since = change.position;
            attempt = 0;
            yield change;
          } else if (event.type === "ping") {
            since = Number(event.id);
            attempt = 0;
          } else if (event.type === "resync") {
            const error = { code: 4100, message: "The changes cannot be followed any longer", data: { kind: "RESYNC_REQUIRED", request_id: "" } };
            throw new RowcallError({ ...error, data: { ...error.data, ...(data as object) } }, 200);
          }
        }
        options.signal?.throwIfAborted();
      } catch (error) {
        options.signal?.throwIfAborted();
        asked = askedWait(error);
        if (!silence.signal.aborted && !repeatable(error, true)) throw error;
      } finally {
        clearTimeout(timer);
        silence.abort(); // closes the connection
      }
      const wait = Math.min(firstWait * 2 ** attempt, longestWait) * (0.5 + Math.random() / 2);
      await sleep(Math.max(asked, wait), options.signal);
    }
  }

  async #call(method: string, params: object | undefined, options: CallOptions = {}): Promise<unknown> {
    const wire = this.#wire(method, params);
    const reply = await this.#exchange([wire], JSON.stringify(wire), {}, options);
    return (reply.body as WireAnswer).result;
  }

  #wire(method: string, params: object | undefined): WireCall {
    if (this.#access[method as keyof M] === "once") params = { ...params, mutation_id: (params as MutationParams | undefined)?.mutation_id ?? newMutationId() };
    return { jsonrpc: "2.0", id: ++this.#lastId, method, params };
  }

  /** Sends the request until there is an answer to it, as often as is safe. */
  async #exchange(calls: WireCall[], body: string, headers: Record<string, string>, options: CallOptions): Promise<Reply> {
    const signal = this.#deadline(options);
    const safe = calls.every(({ method }) => this.#access[method as keyof M] !== "write");
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#authorized(signal, async () => {
          const reply = await this.#post("/api/rpc", body, headers, signal);
          throwRefusal(reply);
          return reply;
        });
      } catch (error) {
        signal.throwIfAborted();
        const asked = askedWait(error);
        if (attempt >= (this.#options.retries ?? defaultRetries) || asked > longestWait || !repeatable(error, safe)) throw error;
        // Half of the wait is chance, so that clients that failed together do not come back together.
        await sleep(Math.max(asked, firstWait * 2 ** attempt * (0.5 + Math.random() / 2)), signal);
      }
    }
  }

  /** Runs an exchange with a session that holds: one that ends is renewed before, and one that has ended after a refusal, once. */
  async #authorized<T>(signal: AbortSignal, exchange: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    if (this.#renewing || performance.now() >= this.#renewAt) await this.#renewEarly(signal);
    const session = this.#session;
    try {
      return await exchange();
    } catch (error) {
      // The server runs nothing of a request that it refuses so, whatever the request would do.
      if (!session || !isUnauthenticated(error)) throw error;
      signal.throwIfAborted();
      if (this.#spent && this.#session === session) {
        this.#change(undefined);
        throw error;
      }
      await this.#renew(session, signal);
      return await exchange();
    }
  }

  /** Renews a session that is about to end. If that fails, its token may still do. */
  async #renewEarly(signal: AbortSignal): Promise<void> {
    try {
      await this.#renew(this.#session, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (isUnauthenticated(error) || !this.#session || timeLeft(this.#session) <= 0) throw error;
    }
  }

  /** Renews the session, unless that has happened since it was the one given. All that need it wait for the same renewal. */
  async #renew(stale: Session | undefined, signal: AbortSignal): Promise<void> {
    if (!this.#renewing) {
      if (!stale || this.#session !== stale) return;
      this.#renewing = this.#refresh(stale).finally(() => (this.#renewing = undefined));
    }
    // Nobody's abort ends the renewal: a refresh token works once, so its answer must be waited for.
    await abortable(this.#renewing, signal);
  }

  async #refresh(stale: Session): Promise<void> {
    const offline = globalThis.navigator?.onLine === false;
    try {
      const signal = AbortSignal.timeout(defaultTimeout);
      const session = await this.#grant("/api/refresh", { refresh_token: stale.refresh_token }, signal);
      if (this.#session === stale) this.#change(session);
    } catch (error) {
      if (this.#session === stale) {
        if (isUnauthenticated(error)) this.#change(undefined);
        else if (error instanceof RowcallError || offline || isUnsent(error)) this.#renewLater(stale, error);
        else {
          // It may have reached the server. So the session lasts as long as its token.
          this.#spent = true;
          this.#renewAt = Infinity;
        }
      }
      throw error;
    }
  }

  /** Lets a renewal that failed be tried again when half of what is left of the token's life is over. */
  #renewLater(session: Session, error: unknown): void {
    if (this.#renewAt < Infinity) this.#renewAt = performance.now() + Math.max(askedWait(error), timeLeft(session) / 2);
  }

  async #grant(path: string, request: object, signal: AbortSignal): Promise<Session> {
    const reply = await this.#post(path, JSON.stringify(request), {}, signal, false);
    throwRefusal(reply);
    const { success, ...session } = (reply.body as WireAnswer).result as Session & { success: boolean };
    return session;
  }

  #change(session: Session | undefined): void {
    if (session) {
      this.#begin(session);
    } else {
      this.#session = undefined;
      this.#renewAt = Infinity;
    }
    this.#options.onSession?.(session);
  }

  #begin(session: Session): void {
    this.#session = session;
    this.#spent = false;
    // By a clock that is far off there is no telling: then the server's refusal does.
    const life = timeLeft(session);
    this.#renewAt = life > 0 ? performance.now() + life * renewAfter : Infinity;
  }

  #deadline(options: CallOptions): AbortSignal {
    const timeout = AbortSignal.timeout(options.timeout ?? this.#options.timeout ?? defaultTimeout);
    return options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  }

  async #post(path: string, body: string, more: Record<string, string>, signal: AbortSignal, authorized = true): Promise<Reply> {
    const headers = { "Content-Type": "application/json", ...more };
    return await this.#reply(await this.#send(path, { method: "POST", headers, body }, signal, authorized), signal);
  }

  /** Opens a stream of events. */
  async #open(path: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#send(path, { headers: { Accept: "text/event-stream" } }, signal);
    if (response.body && response.headers.get("Content-Type")?.startsWith("text/event-stream")) return response.body;
    throwRefusal(await this.#reply(response, signal));
    throw new TransportError(`The answer, HTTP ${response.status}, is no stream`, response.status);
  }

  /** Sends a request and gives the head of the answer. */
  async #send(path: string, init: { method?: string; headers: Record<string, string>; body?: string }, signal: AbortSignal, authorized = true): Promise<Response> {
    signal.throwIfAborted();
    const token = this.#options.cookies ? undefined : (this.#session?.token ?? this.#options.token);
    if (authorized && token) init.headers["Authorization"] = "Bearer " + token;
    try {
      return await this.#fetch(this.#url + path, { ...init, signal, credentials: this.#options.cookies ? "include" : "omit" });
    } catch (error) {
      signal.throwIfAborted();
      throw new TransportError("The server cannot be reached", undefined, error);
    }
  }

  async #reply(response: Response, signal: AbortSignal): Promise<Reply> {
    const { status, headers } = response;
    try {
      return { status, retryAfter: 1000 * Number(headers.get("Retry-After")) || 0, body: parseReply(await response.text()) };
    } catch (error) {
      signal.throwIfAborted();
      throw new TransportError(`The answer, HTTP ${status}, is not Rowcall's`, status, error);
    }
  }
}

/** An object that JSON has as the place of a value in a call's data. */
function reference(call: Call<unknown>, path: string): unknown {
  const toJSON = () => {
    if (call.index === undefined) throw new Error(`The call of ${call.method} that is referred to is not in the batch`);
    return { $ref: call.index + path };
  };
  return new Proxy(
    {},
    { get: (_, name) => (name === "toJSON" ? toJSON : typeof name === "string" ? reference(call, path + "." + name) : undefined) },
  );
}

function parseReply(text: string): WireAnswer | WireAnswer[] {
  const body = JSON.parse(text) as unknown;
  const known = (answer: unknown) => typeof answer === "object" && answer !== null && ("result" in answer || "error" in answer);
  if (!(Array.isArray(body) ? body.every(known) : known(body))) throw new Error("it is no JSON-RPC answer");
  return body as WireAnswer | WireAnswer[];
}

/** Throws what the server refused a request, or its only call, for. */
function throwRefusal(reply: Reply): void {
  const error = Array.isArray(reply.body) ? batchRefusal(reply.body) : reply.body.error;
  if (!error) return;
  if (reply.retryAfter && error.data["retry_after_ms"] === undefined) error.data["retry_after_ms"] = reply.retryAfter;
  throw new RowcallError(error, reply.status);
}

/**
 * A batch has an answer of its own for each call. That nobody is logged in is one for the whole, if no call says anything else:
 * in an atomic batch the others are ABORTED.
 */
function batchRefusal(answers: WireAnswer[]): WireError | undefined {
  const kinds = answers.map(({ error }) => error?.data.kind);
  if (!kinds.every((kind) => kind === "UNAUTHENTICATED" || kind === "ABORTED")) return undefined;
  return answers[kinds.indexOf("UNAUTHENTICATED")]?.error;
}

function isUnauthenticated(error: unknown): error is RowcallError {
  return error instanceof RowcallError && error.is("UNAUTHENTICATED");
}

/** Tells whether a request surely did not reach the server. Node says why there was no connection; browsers do not. */
function isUnsent(error: unknown): boolean {
  const code = ((error as Error).cause as { cause?: { code?: string } } | undefined)?.cause?.code;
  return code !== undefined && ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"].includes(code);
}

/** What is left of the life of the session's token, in milliseconds, by the time of day. */
function timeLeft(session: Session): number {
  return Date.parse(session.expires_at) - Date.now();
}

/** A UUIDv7 (RFC 9562). */
function newMutationId(): string {
  const time = Date.now().toString(16).padStart(12, "0");
  const chance = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const variant = "89ab"[parseInt(chance[0]!, 16) % 4];
  return `${time.slice(0, 8)}-${time.slice(8)}-7${chance.slice(1, 4)}-${variant}${chance.slice(4, 7)}-${chance.slice(7, 19)}`;
}

/** How long, in milliseconds, the server asks to be left alone after the error. */
function askedWait(error: unknown): number {
  return error instanceof RowcallError ? ((error.data as { retry_after_ms?: number }).retry_after_ms ?? 0) : 0;
}

/** Tells whether a request that failed may be sent again: because nothing of it ran, or because it is safe to run twice. */
function repeatable(error: unknown, safe: boolean): boolean {
  if (error instanceof RowcallError) {
    // The server begins nothing of what it refuses as a whole or for coming too often.
    if (error.status === 429 || error.status === 503 || error.is("RATE_LIMITED")) return true;
    return safe && error.is("UNAVAILABLE");
  }
  return safe && error instanceof TransportError && (error.status === undefined || error.status === 429 || error.status >= 500);
}

async function sleep(ms: number, signal = new AbortController().signal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await abortable(new Promise((done) => (timer = setTimeout(done, ms))), signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for a promise or for the signal. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    // First of all, because a promise that fails must have somebody who hears of it.
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
  });
}
