// Who has a document open.

/** Where somebody is in the document, as they tell the others. */
export interface Presence {
  name?: string;
  /** As CSS has it. */
  color?: string;
  /** Anchors: formatAnchor and parseAnchor. */
  selection?: { anchor: string; head: string };
}

/** Somebody else who has the document open. */
export interface Peer {
  readonly site: number;
  readonly user: number;
  readonly presence: Presence;
}

/** What the server says of somebody; null: they have left. */
export interface ShownPresence {
  site: number;
  user_id: number;
  presence: Presence | null;
}

/** The least time from one presence to the next, and how long one holds here that is not shown again, in milliseconds. */
const showEvery = 60;
const holds = 40_000;

/** The others who have a document open, and what they are shown of oneself. */
export class Peers {
  readonly #all = new Map<number, Peer & { seen: number }>();
  readonly #send: (presence: Presence | null) => void;
  readonly #changed: () => void;
  #own: Presence | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(send: (presence: Presence | null) => void, changed: () => void) {
    this.#send = send;
    this.#changed = changed;
  }

  /** The others, by their sites. */
  get all(): ReadonlyMap<number, Peer> {
    return this.#all;
  }

  /** Tells whether the others are shown where one is. */
  get shown(): boolean {
    return this.#own !== null;
  }

  /** Shows the others where one is, from now on; undefined: no longer. */
  present(presence: Presence | undefined): void {
    this.#own = presence ?? null;
    this.#timer ??= setTimeout(() => this.#show(), showEvery);
  }

  /** Shows it again, and forgets of the others who has not been shown for long. */
  renew(): void {
    if (this.#own) this.#show();
    const { size } = this.#all;
    for (const [site, { seen }] of this.#all) if (performance.now() - seen > holds) this.#all.delete(site);
    if (this.#all.size !== size) this.#changed();
  }

  /** Takes note of where somebody else is. */
  meet({ site, user_id, presence }: ShownPresence): void {
    if (presence) this.#all.set(site, { site, user: user_id, presence, seen: performance.now() });
    else this.#all.delete(site);
    this.#changed();
  }

  /** Forgets the others. */
  clear(): void {
    if (this.#all.size === 0) return;
    this.#all.clear();
    this.#changed();
  }

  /** Shows nothing more. */
  close(): void {
    clearTimeout(this.#timer);
  }

  #show(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#send(this.#own);
  }
}
