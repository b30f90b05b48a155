// JSON-RPC over a WebSocket, as docs/live.md has it.

/** An error that the server answered. */
export class ServerError extends Error {
  override readonly name = "ServerError";

  constructor(
    readonly kind: string,
    message: string,
    readonly data: { readonly retry_after_ms?: number },
  ) {
    super(message);
  }
}

/** The connection has ended, or could not be had. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

interface Message {
  id?: number | null;
  method?: string;
  params?: unknown;
  result?: { data: unknown };
  error?: { message: string; data: { kind: string; retry_after_ms?: number } };
}

/** How long an answer may take, in milliseconds, before the connection counts as dead. */
const longestAnswer = 30_000;

/** One connection. It ends once, by whoever, and is not opened again. */
export class Socket {
  /** Is told of what the server sends without being asked. */
  onNotification: (method: string, params: unknown) => void = () => {};
  /** Resolves when the connection has ended. */
  readonly closed: Promise<void>;
  /** When the server was last heard of, by performance.now. */
  heard = performance.now();
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, { resolve: (data: unknown) => void; reject: (error: Error) => void; timer: ReturnType<typeof setTimeout> }>();
  #lastId = 0;
  #end!: () => void;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", (event) => this.#take(String(event.data)));
    socket.addEventListener("close", () => this.close());
    this.closed = new Promise((resolve) => (this.#end = resolve));
  }

  /** Connects. An abort ends the connection, at any time. */
  static async open(url: string, Implementation: typeof WebSocket, signal: AbortSignal): Promise<Socket> {
    const socket = new Implementation(url);
    const it = new Socket(socket);
    const close = () => it.close();
    signal.addEventListener("abort", close);
    void it.closed.then(() => signal.removeEventListener("abort", close));
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new ConnectionError("The server cannot be reached")));
      void it.closed.then(() => reject(new ConnectionError("The server cannot be reached")));
    });
    return it;
  }

  /** Calls a method, and gives the data of its result. */
  call<R>(method: string, params: object): Promise<R> {
    if (this.#socket.readyState !== this.#socket.OPEN) return Promise.reject(new ConnectionError("The connection has ended"));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.close(), longestAnswer);
      this.#waiting.set(id, { resolve: resolve as (data: unknown) => void, reject, timer });
      this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }

  /** Ends the connection at once, whether the other side hears of it or not. */
  close(): void {
    this.onNotification = () => {};
    this.#socket.close();
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new ConnectionError("The connection has ended"));
    }
    this.#waiting.clear();
    this.#end();
  }

  #take(text: string): void {
    this.heard = performance.now();
    const message = JSON.parse(text) as Message;
    if (message.method !== undefined) return this.onNotification(message.method, message.params);
    const call = this.#waiting.get(message.id ?? 0);
    if (!call) {
      // Refused without being read, such as for too many calls.
      if (message.error) this.close();
      return;
    }
    this.#waiting.delete(message.id!);
    clearTimeout(call.timer);
    if (message.error) call.reject(new ServerError(message.error.data.kind, message.error.message, message.error.data));
    else call.resolve(message.result?.data);
  }
}
