import { type Delete, type Id, type Insert, type Op, TextError, type Version } from "./op.js";
import { append, codePoints, dropFirst, insidePair, maxNumber, maxSite, pointsOf, start, unitsOf, wellFormed } from "./op.js";
import { malformed } from "./bytes.js";
import { Site } from "./site.js";
import { readSnapshot, writeSnapshot } from "./snapshot.js";
import { maxSpan, Span, Tree, type Vector } from "./tree.js";

/** A change of the text: at pos, deleted units were taken out, then text was put in. In UTF-16, as of a string. */
export interface Change {
  readonly pos: number;
  readonly deleted: number;
  readonly text: string;
}

/** A place that stays where it is while the text changes: before or behind a character. Of the start of the document (0.0) "before" means its end. */
export interface Anchor {
  readonly id: Id;
  readonly before: boolean;
}

/** Characters of one site that stand in a row, deleted all or none. */
export interface Stretch {
  /** The first, and how many. */
  readonly id: Id;
  readonly n: number;
  /** Where they are, or would be. */
  readonly pos: number;
  readonly deleted: boolean;
  /** Deleted ones of a snapshot have none. */
  readonly text: string;
  /** The sum of the first. */
  readonly sum: number;
}

/** How many early operations wait at the most, and how many bytes of text they have. */
const maxEarly = 10_000;
const maxEarlyText = 1 << 20;

/** A text that many replicas edit at once. All positions are in UTF-16, as those of strings. */
export class Doc {
  readonly site: number;
  readonly #session: number;
  #tree: Tree;
  #sites: Map<number, Site>;
  #base: Version;
  /** The greatest of what was seen. */
  #clock = 0;
  #seenSession = 0;
  /** Operations that wait for others, in the order of their sums. */
  #early: Op[] = [];
  #earlyText = 0;

  /**
   * Makes an empty document, which writes as the site: a number that nobody else writes as. Site 0 only applies. The session is at least the
   * greatest that the site should have seen.
   */
  constructor(site = 0, session = 0) {
    this.site = site;
    this.#session = session;
    this.#tree = new Tree();
    this.#sites = new Map();
    this.#base = new Map();
  }

  /** Makes the document of a snapshot. It throws a TextError if the bytes are none. */
  static load(snapshot: Uint8Array, site = 0, session = 0): Doc {
    const { spans, sites } = readSnapshot(snapshot);
    const doc = new Doc(site, session);
    doc.#tree = new Tree(spans);
    doc.#sites = sites;
    doc.#base = doc.version;
    for (const its of sites.values()) {
      doc.#clock = Math.max(doc.#clock, its.sum);
      doc.#seenSession = Math.max(doc.#seenSession, its.session);
    }
    return doc;
  }

  /** The document in the form that all replicas with the same operations agree on. */
  snapshot(): Uint8Array {
    return writeSnapshot({ spans: this.#tree.spans(), sites: this.#sites });
  }

  get length(): number {
    return this.#tree.units;
  }

  toString(): string {
    let text = "";
    for (const span of this.#tree.spans()) if (!span.deleted) text += span.text;
    return text;
  }

  /** The text from one position to another, as a string gives it. */
  slice(from: number, to: number): string {
    to = Math.min(to, this.length);
    if (from >= to) return "";
    const { span, offset } = this.#tree.find(from, "units");
    let text = "";
    let skip = offset;
    let i = span.leaf.spans.indexOf(span);
    for (let leaf: typeof span.leaf | undefined = span.leaf; leaf; leaf = leaf.next, i = 0) {
      for (; i < leaf.spans.length; i++) {
        if (!leaf.spans[i]!.deleted) {
          text += leaf.spans[i]!.text.slice(skip);
          skip = 0;
        }
        if (text.length >= to - from) return text.slice(0, to - from);
      }
    }
    throw new RangeError("the text is shorter");
  }

  /** The last seq of each site, of what was applied. */
  get version(): Version {
    return new Map([...this.#sites].map(([id, site]) => [id, site.seq]));
  }

  /** The version that the document began with. It can tell its operations from there on. */
  get base(): Version {
    return this.#base;
  }

  /** The greatest sum that was seen. */
  get clock(): number {
    return this.#clock;
  }

  /** The session of what this site does next. */
  get session(): number {
    return Math.max(this.#session, this.#seenSession);
  }

  /** How many operations wait for others. */
  get early(): number {
    return this.#early.length;
  }

  /** Inserts text, and gives the operation: none if the text is empty. */
  insert(pos: number, text: string): Op[] {
    return this.replace(pos, 0, text);
  }

  /** Deletes that many units, and gives the operations. */
  delete(pos: number, units: number): Op[] {
    return this.replace(pos, units, "");
  }

  /**
   * Deletes, and inserts in that place. Half of a surrogate pair is never left: if the place begins or ends inside of a pair, the whole pair is
   * replaced, and a half that stands alone in the new text becomes U+FFFD. changed is told what has happened to the text.
   */
  replace(pos: number, units: number, text: string, changed?: (change: Change) => void): Op[] {
    if (this.site === 0) throw new Error("site 0 cannot write");
    let end = pos + units;
    if (!(pos >= 0 && units >= 0 && end <= this.length)) throw new RangeError(`${pos} to ${end} is not in the text, which has ${this.length}`);
    const [first, last] = [this.#pairAt(pos), this.#pairAt(end)];
    if (first) text = first[0] + text;
    if (last) text += last[1];
    if (first) pos--;
    if (last) end++;
    const deletes: Delete[] = [];
    while (pos < end) {
      const { span, offset } = this.#tree.find(pos, "units");
      const first = pointsOf(span.text, span.n, offset);
      const last = pointsOf(span.text, span.n, Math.min(offset + end - pos, span.text.length));
      end -= unitsOf(span.text, span.n, last) - offset;
      const target = { site: span.site.id, seq: span.seq + first };
      const { id, session, sum, n } = this.#next(last - first);
      const op = this.#delete({ kind: "delete", id, session, sum, n, target, back: false }, changed);
      const before = deletes[deletes.length - 1];
      // What one edit deletes is in runs forwards, as the Go library has them.
      if (before && before.target.seq < target.seq) append(deletes, op);
      else deletes.push(op);
    }
    if (text === "") return deletes;
    text = wellFormed(text);
    const origin = pos === 0 ? start : this.#characterAt(pos - 1);
    const { id, session, sum, n } = this.#next(codePoints(text));
    const op: Insert = { kind: "insert", id, session, sum, n, origin, text };
    this.#insert(op, changed);
    return [...deletes, op];
  }

  /**
   * Applies operations of others, or own ones of before. Those that are known already do nothing. Those that come early wait until what they miss
   * has come. changed is told what happens to the text, in this order. It throws a TextError for an operation that cannot be; what came before that
   * stays applied.
   */
  apply(ops: readonly Op[], changed?: (change: Change) => void): void {
    ops.forEach((op, index) => {
      try {
        if (!this.#apply(op, changed)) this.#wait(op);
      } catch (error) {
        throw error instanceof TextError ? new TextError(error.reason, error.message, index) : error;
      }
    });
    this.#applyEarly(changed);
  }

  /**
   * The operations that the document has and since has not, in an order in which none is early. It throws a TextError ("base") if since does not
   * include the base.
   */
  operations(since: Version): Op[] {
    for (const [site, seq] of this.#base) {
      if ((since.get(site) ?? 0) < seq) throw new TextError("base", "the document does not go back that far");
    }
    const ops: Op[] = [];
    for (const site of this.#sites.values()) {
      const from = (since.get(site.id) ?? 0) + 1;
      const own: Op[] = site.deletes.slice(site.deleteAt(from)).map((op) => dropFirst(op, Math.max(from - op.id.seq, 0)));
      for (const span of site.from(from)) own.push(this.#insertion(span, Math.max(from - span.seq, 0)));
      own.sort((a, b) => a.id.seq - b.id.seq);
      const joined: Op[] = [];
      for (const op of own) append(joined, op);
      ops.push(...joined);
    }
    // What an operation needs has a lesser sum, and a run has what it needs before its first.
    return ops.sort((a, b) => a.sum - b.sum || a.id.site - b.id.site);
  }

  /** The place before the character at the position, or behind the one that precedes it. */
  anchor(pos: number, before: boolean): Anchor {
    const at = before ? pos : pos - 1;
    return { id: at < 0 || at >= this.length ? start : this.#characterAt(at), before };
  }

  /** The position where the anchor is now; undefined if its character is not known. */
  resolve({ id, before }: Anchor): number | undefined {
    if (id.site === 0) return before ? this.length : 0;
    const span = this.#sites.get(id.site)?.find(id.seq);
    if (!span) return undefined;
    const offset = span.deleted ? 0 : unitsOf(span.text, span.n, id.seq - span.seq + (before ? 0 : 1));
    return this.#tree.before(span, "units") + offset;
  }

  /** The character of the id, and up to n in all of those behind it that can be told together; undefined if it is not known. */
  stretch(id: Id, n = 1): Stretch | undefined {
    const span = this.#sites.get(id.site)?.find(id.seq);
    if (!span) return undefined;
    const first = id.seq - span.seq;
    n = Math.min(n, span.n - first);
    const from = unitsOf(span.text, span.n, first);
    const to = unitsOf(span.text, span.n, first + n);
    const pos = this.#tree.before(span, "units") + (span.deleted ? 0 : from);
    return { id, n, pos, deleted: span.deleted, text: span.text.slice(from, to), sum: span.sum + first };
  }

  /** Tells which of two characters that are known comes first in the document, as sort wants it. */
  compare(a: Id, b: Id): number {
    const x = this.#sites.get(a.site)!.find(a.seq)!;
    const y = this.#sites.get(b.site)!.find(b.seq)!;
    return x === y ? a.seq - b.seq : this.#tree.compare(x, y);
  }

  /** The deletions that the document knows of, of all sites. */
  *deletions(): Generator<Delete, void, undefined> {
    for (const site of this.#sites.values()) yield* site.deletes;
  }

  /** How many code points come before the position. */
  toPoints(pos: number): number {
    if (pos >= this.length) return this.#tree.points;
    const { span, offset } = this.#tree.find(pos, "units");
    return this.#tree.before(span, "points") + pointsOf(span.text, span.n, offset);
  }

  /** The position that has that many code points before it. */
  fromPoints(points: number): number {
    if (points >= this.#tree.points) return this.length;
    const { span, offset } = this.#tree.find(points, "points");
    return this.#tree.before(span, "units") + unitsOf(span.text, span.n, offset);
  }

  /** What this site does next, n times. */
  #next(n: number) {
    const id = { site: this.site, seq: (this.#sites.get(this.site)?.seq ?? 0) + 1 };
    const sum = this.#clock + 1;
    if (sum + n > maxNumber) throw new RangeError("the document is full");
    return { id, session: this.session, sum, n };
  }

  /** The id of the visible character at the position. */
  #characterAt(pos: number): Id {
    const { span, offset } = this.#tree.find(pos, "units");
    return { site: span.site.id, seq: span.seq + pointsOf(span.text, span.n, offset) };
  }

  /** The surrogate pair that goes over the position. */
  #pairAt(pos: number): string | undefined {
    if (pos === 0 || pos === this.length || this.#tree.units === this.#tree.points) return undefined;
    const { span, offset } = this.#tree.find(pos - 1, "units");
    if (span.text.length === span.n || !insidePair(span.text, offset + 1)) return undefined;
    return span.text.slice(offset, offset + 2);
  }

  /** Applies an operation, if it is not early: then it gives false. */
  #apply(op: Op, changed?: (change: Change) => void): boolean {
    checkShape(op);
    const site = this.#sites.get(op.id.site);
    const known = (site?.seq ?? 0) + 1 - op.id.seq;
    if (known < 0) return false;
    if (known > 0) this.#checkKnown(op, Math.min(known, op.n));
    if (known >= op.n) return true;
    const rest = known > 0 ? dropFirst(op, known) : op;
    if (rest.sum > this.#clock + 1) return false;
    if (site && (rest.sum <= site.sum || rest.session < site.session)) throw malformed("the operation is less than what its site did before");
    if (!this.#hasRefs(rest)) return false;
    if (rest.kind === "insert") this.#insert(rest, changed);
    else this.#delete(rest, changed);
    return true;
  }

  #applyEarly(changed?: (change: Change) => void): void {
    // They are in the order of their sums, and what an operation needs has a lesser one, so one pass is enough.
    const still: Op[] = [];
    let i = 0;
    for (; i < this.#early.length && this.#early[i]!.sum <= this.#clock + 1; i++) {
      const op = this.#early[i]!;
      try {
        if (!this.#apply(op, changed)) still.push(op);
        else this.#earlyText -= textBytes(op);
      } catch (error) {
        if (!(error instanceof TextError)) throw error;
        this.#earlyText -= textBytes(op);
      }
    }
    if (still.length < i) this.#early.splice(0, i, ...still);
  }

  #wait(op: Op): void {
    let i = this.#early.length;
    for (; i > 0 && this.#early[i - 1]!.sum >= op.sum; i--) {
      const { id, sum, n } = this.#early[i - 1]!;
      if (id.site === op.id.site && id.seq === op.id.seq && sum === op.sum && n >= op.n) return;
    }
    const text = textBytes(op);
    if (this.#early.length === maxEarly || this.#earlyText + text > maxEarlyText) throw new TextError("full", "too many operations wait for others");
    this.#earlyText += text;
    this.#early.splice(i, 0, op);
  }

  /** Throws if the first ids of the operation are known as something else. What was before the base may not be known any more. */
  #checkKnown(op: Op, known: number): void {
    const site = this.#sites.get(op.id.site)!;
    const base = this.#base.get(site.id) ?? 0;
    for (let seq = op.id.seq, end = seq + known; seq < end;) {
      const span = site.find(seq);
      const it = span ?? site.deletes[site.deleteAt(seq)];
      const its = span ? span.seq : ((it as Delete | undefined)?.id.seq ?? Infinity);
      if (it && its <= seq) {
        const same = it instanceof Span === (op.kind === "insert") && it.session === op.session && it.sum - its === op.sum - op.id.seq;
        if (!same) throw malformed("the operation is known as another one");
        seq = its + it.n;
      } else {
        seq = base + 1;
      }
    }
  }

  /** Tells whether what the operation refers to is there. It throws if that is no character, or not less. */
  #hasRefs(op: Op): boolean {
    const ref = op.kind === "insert" ? op.origin : op.target;
    if (ref.site === 0) return true;
    const refs = this.#sites.get(ref.site);
    const step = op.kind === "delete" && op.back ? -1 : 1;
    const n = op.kind === "delete" ? op.n : 1;
    for (let i = 0; i < n;) {
      const seq = ref.seq + step * i;
      if (!refs || seq > refs.seq) return false;
      const span = refs.find(seq);
      if (!span) throw malformed("the operation refers to what is no character");
      // Where the targets' sums rise with those of the operation, and where they fall, the first in the span decides.
      if (span.session > op.session || span.sum + seq - span.seq >= op.sum + i)
        throw malformed("the operation is not greater than what it refers to");
      i += step < 0 ? seq - span.seq + 1 : span.seq + span.n - seq;
    }
    return true;
  }

  /** Puts an insertion's characters into the tree. */
  #insert(op: Insert, changed?: (change: Change) => void): void {
    const site = this.#advance(op);
    let after = this.#place(op.origin, { site, session: op.session, sum: op.sum });
    changed?.({ pos: after ? this.#tree.before(after, "units") + after.units : 0, deleted: 0, text: op.text });
    let { text, n } = op;
    let { seq } = op.id;
    let sum = op.sum;
    while (n > 0) {
      const continues =
        after && !after.deleted && after.site === site && after.session === op.session && after.seq + after.n === seq && after.sum + after.n === sum;
      const room = continues ? maxSpan - after!.n : 0;
      const k = Math.min(n, room || maxSpan);
      const units = unitsOf(text, n, k);
      const piece = text.slice(0, units);
      if (room > 0) {
        after!.text += piece;
        after!.n += k;
        after!.leaf.count(units, k);
      } else {
        const span = new Span(site, seq, k, op.session, sum, false, piece);
        this.#tree.insert(span, after);
        site.add(span);
        after = span;
      }
      text = text.slice(units);
      n -= k;
      seq += k;
      sum += k;
    }
  }

  /** The span behind which an insertion stands; undefined: at the start. */
  #place(origin: Id, v: Vector): Span | undefined {
    if (origin.site === 0) return this.#tree.pass(undefined, v);
    const span = this.#sites.get(origin.site)!.find(origin.seq)!;
    const offset = origin.seq - span.seq + 1;
    if (offset < span.n && span.less(offset, v)) {
      this.#split(span, offset);
      return span;
    }
    return this.#tree.pass(span, v);
  }

  /** Hides a deletion's targets. It gives the operation with what is known of them. */
  #delete(op: Delete, changed?: (change: Change) => void): Delete {
    const targets = this.#sites.get(op.target.site)!;
    const last = op.back ? op.target.seq : op.target.seq + op.n - 1;
    let seq = last - op.n + 1;
    let newest = 0;
    while (seq <= last) {
      let span = targets.find(seq)!;
      newest = span.sum + Math.min(last - span.seq, span.n - 1);
      if (!span.deleted) {
        if (seq > span.seq) span = this.#split(span, seq - span.seq);
        if (last < span.seq + span.n - 1) this.#split(span, last + 1 - span.seq);
        changed?.({ pos: this.#tree.before(span, "units"), deleted: span.units, text: "" });
        this.#tree.hide(span);
      }
      seq = span.seq + span.n;
      this.#join(span);
    }
    const { kind, id, session, sum, n, target, back } = op;
    const known: Delete = { kind, id, session, sum, n, target, back, newest };
    this.#advance(known);
    return known;
  }

  #split(span: Span, offset: number): Span {
    const right = this.#tree.split(span, offset);
    span.site.add(right);
    return right;
  }

  #join(span: Span): void {
    const { spans } = span.leaf;
    const i = spans.indexOf(span);
    for (const gone of [this.#tree.join(span, spans[i + 1]), this.#tree.join(spans[i - 1], span)]) gone?.site.remove(gone);
  }

  /** Notes an operation as its site's last. */
  #advance(op: Op): Site {
    let site = this.#sites.get(op.id.site);
    if (!site) this.#sites.set(op.id.site, (site = new Site(op.id.site)));
    site.advance(op);
    this.#clock = Math.max(this.#clock, op.sum + op.n - 1);
    this.#seenSession = Math.max(this.#seenSession, op.session);
    return site;
  }

  /** The insertion that the span came by, from the character at offset on. */
  #insertion(span: Span, offset: number): Insert {
    const seq = span.seq + offset;
    const v = { site: span.site, session: span.session, sum: span.sum + offset };
    let origin: Id = { site: span.site.id, seq: seq - 1 };
    if (offset === 0) {
      const found = this.#tree.lesserBefore(span, v);
      origin = found ? { site: found.span.site.id, seq: found.span.seq + found.offset } : start;
    }
    const text = span.text.slice(unitsOf(span.text, span.n, offset));
    return { kind: "insert", id: { site: span.site.id, seq }, session: span.session, sum: v.sum, n: span.n - offset, origin, text };
  }
}

function textBytes(op: Op): number {
  return op.kind === "insert" ? new TextEncoder().encode(op.text).length : 0;
}

/** Throws if the operation is none, whatever the document. */
function checkShape(op: Op): void {
  const within = (x: number, least: number, most: number) => Number.isInteger(x) && x >= least && x <= most;
  const ref = op.kind === "insert" ? op.origin : op.target;
  const ok =
    within(op.id.site, 1, maxSite) &&
    within(op.n, 1, maxNumber) &&
    within(op.id.seq, 1, maxNumber - op.n + 1) &&
    within(op.sum, 1, maxNumber - op.n + 1) &&
    within(op.session, 0, maxNumber) &&
    within(ref.site, 0, maxSite) &&
    within(ref.seq, 0, maxNumber) &&
    (op.kind === "insert"
      ? (ref.site === 0) === (ref.seq === 0) && codePoints(op.text) === op.n && wellFormed(op.text) === op.text
      : ref.site > 0 && ref.seq >= (op.back ? op.n : 1)) &&
    (ref.site !== op.id.site || (op.kind === "delete" && !op.back ? ref.seq + op.n - 1 : ref.seq) < op.id.seq);
  if (!ok) throw malformed("it is no operation");
}

/** The anchor as text: "3.17a" is behind the character 3.17, "3.17b" before it. */
export function formatAnchor({ id, before }: Anchor): string {
  return `${id.site}.${id.seq}${before ? "b" : "a"}`;
}

/** The anchor of what formatAnchor gave; undefined if it is none. */
export function parseAnchor(text: string): Anchor | undefined {
  const [, site, seq, side] = /^(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})([ab])$/.exec(text) ?? [];
  const id = { site: Number(site), seq: Number(seq) };
  const ok = side && id.site <= maxSite && id.seq <= maxNumber && (id.site === 0) === (id.seq === 0);
  return ok ? { id, before: side === "b" } : undefined;
}
