import { append, dropFirst, type Op, takeFirst } from "./op.js";

/** How large a batch is at the most: what a server takes, less what the numbers of an operation may need. */
const maxBytes = 240 << 10;
const maxRuns = 2000;
const runBytes = 48;

/** Own operations that the server has not acknowledged. */
export class Outbox {
  #ops: Op[] = [];

  get ops(): readonly Op[] {
    return this.#ops;
  }

  /** The seq of the last operation; 0: there is none. */
  get last(): number {
    const op = this.#ops[this.#ops.length - 1];
    return op ? op.id.seq + op.n - 1 : 0;
  }

  add(ops: readonly Op[]): void {
    for (const op of ops) append(this.#ops, op);
  }

  /** Forgets what is acknowledged up to the seq. */
  acknowledge(seq: number): void {
    const open = this.#ops.findIndex((op) => op.id.seq + op.n - 1 > seq);
    this.#ops = open < 0 ? [] : this.#ops.slice(open);
    const first = this.#ops[0];
    if (first && first.id.seq <= seq) this.#ops[0] = dropFirst(first, seq + 1 - first.id.seq);
  }

  /** What can be sent next, up to the seq. */
  batch(upTo: number): Op[] {
    const batch: Op[] = [];
    let room = maxBytes;
    for (const op of this.#ops) {
      if (op.id.seq > upTo || batch.length === maxRuns) break;
      room -= runBytes;
      const fits = Math.min(op.n, upTo + 1 - op.id.seq, op.kind === "insert" ? pointsWithin(op.text, room) : Infinity);
      if (fits <= 0) break;
      const part = fits < op.n ? takeFirst(op, fits) : op;
      batch.push(part);
      if (part.kind === "insert") room -= bytesOf(part.text);
      if (fits < op.n) break;
    }
    return batch;
  }
}

const bytesOf = (text: string) => new TextEncoder().encode(text).length;

/** How many code points of the text fit into so many bytes of UTF-8. */
function pointsWithin(text: string, bytes: number): number {
  if (3 * text.length <= bytes) return text.length;
  let n = 0;
  for (const point of text) {
    const code = point.codePointAt(0)!;
    bytes -= code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes < 0) break;
    n++;
  }
  return n;
}
