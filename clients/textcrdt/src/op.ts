/** Names a character, or the deletion of one: what a site did as its seq-th. */
export interface Id {
  readonly site: number;
  readonly seq: number;
}

/** The start of the document, as an origin. */
export const start: Id = { site: 0, seq: 0 };

interface Run {
  readonly id: Id;
  readonly session: number;
  readonly sum: number;
  /** How many ids the run takes, at least 1. */
  readonly n: number;
}

/** Characters (n code points), the first behind origin and each other one behind the one before it. */
export interface Insert extends Run {
  readonly kind: "insert";
  readonly origin: Id;
  readonly text: string;
}

/** The deletion of n characters: target and those that follow it, or if back, those before it. */
export interface Delete extends Run {
  readonly kind: "delete";
  readonly target: Id;
  readonly back: boolean;
  /** The greatest sum of the targets, if it is known. It is not sent. */
  readonly newest?: number;
}

/** An operation: a run of consecutive ids. docs/textcrdt.md says what it means. */
export type Op = Insert | Delete;

/** The last seq of each site. */
export type Version = ReadonlyMap<number, number>;

/** The greatest seq and sum. */
export const maxNumber = 2 ** 31 - 1;
export const maxSite = 2 ** 32 - 1;

/**
 * Why operations or bytes are not taken: malformed, early (something before is missing), full (too many wait for what is missing), or
 * base (the document does not go back that far).
 */
export class TextError extends Error {
  override readonly name = "TextError";

  constructor(
    readonly reason: "malformed" | "early" | "full" | "base",
    message: string,
    /** Of the operation in its batch. */
    readonly index?: number,
  ) {
    super(message);
  }
}

/** Tells whether the vector (session, sum, site) of a is less than that of b. */
export function less(aSession: number, aSum: number, aSite: number, bSession: number, bSum: number, bSite: number): boolean {
  return aSession !== bSession ? aSession < bSession : aSum !== bSum ? aSum < bSum : aSite < bSite;
}

/** The operation without its first k ids. */
export function dropFirst(op: Op, k: number): Op {
  const id = { site: op.id.site, seq: op.id.seq + k };
  const rest = { id, sum: op.sum + k, n: op.n - k };
  if (op.kind === "delete") return { ...op, ...rest, target: { site: op.target.site, seq: op.target.seq + (op.back ? -k : k) } };
  return { ...op, ...rest, origin: { site: id.site, seq: id.seq - 1 }, text: op.text.slice(unitsOf(op.text, op.n, k)) };
}

/** The first k ids of the operation. */
export function takeFirst(op: Op, k: number): Op {
  return op.kind === "delete" ? { ...op, n: k } : { ...op, n: k, text: op.text.slice(0, unitsOf(op.text, op.n, k)) };
}

/** One operation for both, if b continues a. */
export function join(a: Op, b: Op): Op | undefined {
  if (a.id.site !== b.id.site || a.id.seq + a.n !== b.id.seq || a.sum + a.n !== b.sum || a.session !== b.session) return undefined;
  const { id, session, sum } = a;
  const n = a.n + b.n;
  if (a.kind === "insert" && b.kind === "insert") {
    const continues = b.origin.site === b.id.site && b.origin.seq === b.id.seq - 1;
    return continues ? { kind: "insert", id, session, sum, n, origin: a.origin, text: a.text + b.text } : undefined;
  }
  if (a.kind === "delete" && b.kind === "delete" && a.target.site === b.target.site) {
    const forward = (a.n === 1 || !a.back) && (b.n === 1 || !b.back) && b.target.seq === a.target.seq + a.n;
    const back = (a.n === 1 || a.back) && (b.n === 1 || b.back) && b.target.seq === a.target.seq - a.n;
    // All targets' sums must be less than the run's first, so that operations in the order of their sums are never early.
    const newest = Math.max(a.newest ?? Infinity, b.newest ?? Infinity);
    return forward || back ? (newest < sum ? { kind: "delete", id, session, sum, n, target: a.target, back, newest } : undefined) : undefined;
  }
  return undefined;
}

/** Adds an operation to the end of a list, to the last one of it if it continues that. */
export function append<T extends Op>(ops: T[], op: T): void {
  const last = ops[ops.length - 1];
  const joined = last && join(last, op);
  if (joined) ops[ops.length - 1] = joined as T;
  else ops.push(op);
}

/** Text as it can be sent: each half of a surrogate pair that stands alone becomes U+FFFD. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** Tells whether a surrogate pair goes over the place in the text. */
export function insidePair(text: string, at: number): boolean {
  return isHigh(text.charCodeAt(at - 1)) && (text.charCodeAt(at) & 0xfc00) === 0xdc00;
}

const isHigh = (unit: number) => (unit & 0xfc00) === 0xd800;

/** The number of code points in well-formed text. */
export function codePoints(text: string): number {
  let n = text.length;
  for (let i = 0; i < text.length; i++) if (isHigh(text.charCodeAt(i))) n--;
  return n;
}

/** The length in UTF-16 of the first k of the text's n code points. */
export function unitsOf(text: string, n: number, k: number): number {
  if (text.length === n || text === "") return k; // a tombstone may have no text
  if (k === n) return text.length;
  let at = 0;
  for (; k > 0; k--) at += isHigh(text.charCodeAt(at)) ? 2 : 1;
  return at;
}

/** The number of code points in the first units of the text, which has n code points. A half of a pair counts as none. */
export function pointsOf(text: string, n: number, units: number): number {
  if (text.length === n) return units;
  let k = 0;
  for (let at = 0; ; k++) {
    at += isHigh(text.charCodeAt(at)) ? 2 : 1;
    if (at > units) return k;
  }
}
