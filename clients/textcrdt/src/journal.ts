import { encodeOps } from "./batch.js";
import { append, type Op } from "./op.js";
import type { DocumentStore, Entry, State } from "./store.js";

/** After how many entries, or bytes, the whole state is saved anew. */
const maxEntries = 500;
const maxBytes = 1 << 20;
/** How long, in milliseconds, what comes from the server is gathered. It could be had again. */
const gather = 200;

/**
 * Writes what happens to a document into its store, in the order of happening. Own operations are written at once, as a page may end without being
 * told; those that are done while something is being written are the next write.
 */
export class Journal {
  readonly #store: DocumentStore;
  readonly #state: () => State;
  readonly #failed: (error: unknown) => void;
  /** What is to be appended, and the own operations that are the last of it. */
  #entries: Entry[] = [];
  #own: Op[] = [];
  #position = 0;
  /** The size of what has been appended since the state was saved. */
  #count: number;
  #bytes: number;
  #writing = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Goes on from what the store has; undefined: nothing, so that all of the state is saved first. */
  constructor(store: DocumentStore, entries: readonly Entry[] | undefined, state: () => State, failed: (error: unknown) => void) {
    this.#store = store;
    this.#state = state;
    this.#failed = failed;
    this.#count = entries?.length ?? maxEntries;
    this.#bytes = entries?.reduce((sum, { operations }) => sum + operations.length, 0) ?? 0;
    if (!entries) this.#now();
  }

  /** Notes own operations. */
  done(ops: readonly Op[], position: number): void {
    for (const op of ops) append(this.#own, op);
    this.#position = position;
    this.#now();
  }

  /** Notes what has come from the server. */
  received(operations: Uint8Array, position: number): void {
    this.#gathered();
    this.#entries.push({ operations, position });
    this.#timer ??= setTimeout(() => this.#now(), gather);
  }

  /** Resolves when all that was noted is written. */
  written(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  /** Begins to write what was noted, without waiting for what is being written: the page is about to go. */
  flush(): void {
    this.#writing = Promise.all([this.#writing, this.#write()]).then(() => {});
    this.#writing.catch(this.#failed);
  }

  #now(): void {
    this.written().catch(this.#failed);
  }

  async #write(): Promise<void> {
    this.#gathered();
    const entries = this.#entries;
    this.#entries = [];
    this.#count += entries.length;
    this.#bytes += entries.reduce((sum, { operations }) => sum + operations.length, 0);
    if (this.#count >= maxEntries || this.#bytes >= maxBytes) {
      this.#count = this.#bytes = 0;
      await this.#store.save(this.#state());
    } else if (entries.length > 0) {
      await this.#store.append(entries);
    }
  }

  #gathered(): void {
    if (this.#own.length > 0) this.#entries.push({ operations: encodeOps(this.#own), position: this.#position });
    this.#own = [];
  }
}
