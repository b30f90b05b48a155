/** What a replica needs to go on after a restart, also without the server. */
export interface State {
  /** What the replica writes as. Nobody else may: a state is for one replica at a time, and is never gone back to. */
  readonly site: number;
  readonly session: number;
  /** The text, own operations too that the server does not have. */
  readonly snapshot: Uint8Array;
  /** Those operations, encoded. */
  readonly pending: Uint8Array;
  /** What has come from the server. */
  readonly position: number;
  /** What it said of the document. */
  readonly opened: Opened;
}

/** What has happened since a State: operations, own ones or the server's. */
export interface Entry {
  readonly operations: Uint8Array;
  /** What has come from the server after them. */
  readonly position: number;
}

/** What the server says of a document. */
export interface Opened {
  readonly document: { readonly id: string; readonly title: string; readonly language: string | null; readonly owner_id: number };
  readonly role: "reader" | "commenter" | "editor";
}

/**
 * Where a session keeps a document. Own operations are appended before they are sent, so that a replica that comes back never numbers something as
 * it has numbered something else. What is called first is done first, whether it was waited for or not.
 */
export interface DocumentStore {
  /** What was saved, and appended since. */
  load(): Promise<{ state: State; entries: Entry[] } | undefined>;
  /** Saves the state in place of all there is. */
  save(state: State): Promise<void>;
  append(entries: readonly Entry[]): Promise<void>;
  /** Forgets all. */
  clear(): Promise<void>;
  /** Lets another one open it. */
  close(): void;
}

/** How long, in milliseconds, a page may still hold what it has open when it is closed: browsers give it about half of that to end. */
const longestEnd = 1000;

/**
 * Opens the store of a document in the browser's IndexedDB. The name should tell server, user and document. It gives undefined if another page has
 * it open, and still does after a second, as one that is being closed does not: the replica must be another site.
 */
export async function openIndexedDB(name: string): Promise<DocumentStore | undefined> {
  const release = await lock("rowcall-textcrdt " + name);
  if (!release) return undefined;
  const opening = indexedDB.open("rowcall-textcrdt " + name, 1);
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore("state");
    opening.result.createObjectStore("entries", { autoIncrement: true });
  };
  const db = await done(opening).catch((error: unknown) => {
    release();
    throw error;
  });
  const both = ["state", "entries"];
  const begin = () => {
    const tx = db.transaction(both, "readwrite");
    return { state: tx.objectStore("state"), entries: tx.objectStore("entries"), tx };
  };
  return {
    async load() {
      const { state, entries } = begin();
      const [saved, since] = await Promise.all([done<State | undefined>(state.get(0)), done<Entry[]>(entries.getAll())]);
      return saved && { state: saved, entries: since };
    },
    async save(saved) {
      const { state, entries, tx } = begin();
      state.put(saved, 0);
      entries.clear();
      await commit(tx);
    },
    async append(more) {
      const { entries, tx } = begin();
      for (const entry of more) entries.add(entry);
      await commit(tx);
    },
    async clear() {
      const { state, entries, tx } = begin();
      state.clear();
      entries.clear();
      await commit(tx);
    },
    close() {
      db.close();
      release();
    },
  };
}

/** Takes a lock that all pages of the origin know, unless one keeps it. */
function lock(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(name, { signal: AbortSignal.timeout(longestEnd) }, () => new Promise<void>((release) => resolve(release)))
      .catch((error: unknown) => {
        if (error instanceof DOMException && error.name === "TimeoutError") resolve(undefined);
        else reject(error);
      });
  });
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB failed"));
  });
}

function commit(tx: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    tx.oncomplete = () => resolve();
    tx.onabort = tx.onerror = () => reject(tx.error ?? new Error("IndexedDB failed"));
    tx.commit(); // at once: it is done also when the page closes now, which would abort one that is open
  });
}
