// What a document knows of a site.

import { type Delete, join, type Op } from "./op.js";
import type { Span } from "./tree.js";

/** How many spans a chunk of the index has at the most. */
const chunkSize = 512;

export class Site {
  /** Of the last operation. */
  seq = 0;
  session = 0;
  sum = 0;
  /** The deletions since the document's base, in the order of their seq. */
  readonly deletes: Delete[] = [];
  /** The spans in the order of their seq, in chunks, so that adding one in the middle moves few. */
  readonly #chunks: Span[][] = [];

  constructor(readonly id: number) {}

  /** Takes all of its spans, in the order of their seq. */
  fill(spans: readonly Span[]): void {
    for (let i = 0; i < spans.length; i += chunkSize / 2) this.#chunks.push(spans.slice(i, i + chunkSize / 2));
  }

  /** The span with the character. */
  find(seq: number): Span | undefined {
    const chunk = this.#chunks[lastAtMost(this.#chunks, seq, first)];
    const span = chunk?.[lastAtMost(chunk, seq, own)];
    return span && seq < span.seq + span.n ? span : undefined;
  }

  /** The spans with characters from seq on. */
  *from(seq: number): Generator<Span, void, undefined> {
    let c = Math.max(lastAtMost(this.#chunks, seq, first), 0);
    let chunk = this.#chunks[c];
    if (!chunk) return;
    let i = Math.max(lastAtMost(chunk, seq, own), 0);
    if (chunk[i]!.seq + chunk[i]!.n <= seq) i++;
    for (; chunk; chunk = this.#chunks[++c], i = 0) for (; i < chunk.length; i++) yield chunk[i]!;
  }

  add(span: Span): void {
    const c = Math.max(lastAtMost(this.#chunks, span.seq, first), 0);
    const chunk = (this.#chunks[c] ??= []);
    chunk.splice(lastAtMost(chunk, span.seq, own) + 1, 0, span);
    if (chunk.length > chunkSize) this.#chunks.splice(c + 1, 0, chunk.splice(chunkSize / 2));
  }

  remove(span: Span): void {
    const c = lastAtMost(this.#chunks, span.seq, first);
    const chunk = this.#chunks[c]!;
    chunk.splice(lastAtMost(chunk, span.seq, own), 1);
    if (chunk.length === 0) this.#chunks.splice(c, 1);
  }

  /** Notes an operation as the last. */
  advance(op: Op): void {
    this.seq = op.id.seq + op.n - 1;
    this.session = op.session;
    this.sum = op.sum + op.n - 1;
    if (op.kind === "insert") return;
    const last = this.deletes[this.deletes.length - 1];
    const joined = last && join(last, op);
    if (joined) this.deletes[this.deletes.length - 1] = joined as Delete;
    else this.deletes.push(op);
  }

  /** The index, in deletes, of the deletion that has seq, or of the first one behind it. */
  deleteAt(seq: number): number {
    const i = lastAtMost(this.deletes, seq, (d) => d.id.seq);
    const d = this.deletes[i];
    return d && seq < d.id.seq + d.n ? i : i + 1;
  }
}

const first = (chunk: Span[]) => chunk[0]!.seq;
const own = (span: Span) => span.seq;

/** The index of the last item whose number is at most that; -1: none. The items are in the order of their numbers. */
export function lastAtMost<T>(items: readonly T[], most: number, number: (item: T) => number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (number(items[middle]!) <= most) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
