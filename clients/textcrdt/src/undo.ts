import type { Change, Doc, Stretch } from "./doc.js";
import type { Delete, Id, Insert, Op } from "./op.js";
import { lastAtMost } from "./site.js";

/**
 * Takes back what a document's site has done, and does it again: its own edits, never those of others, in steps that the caller chooses. All that
 * it does is done by new operations, which go to the others as any do.
 *
 * What is taken back of an insertion is what is still there. What is taken back of a deletion is inserted again, at its place, as new characters,
 * except for what another site has deleted, too; anchors at the old ones stay where those were.
 */
export class Undo {
  readonly #doc: Doc;
  #undo: Op[][] = [];
  #redo: Op[][] = [];
  /** Of characters that were inserted again: what they are now. And the other way. */
  readonly #copies = new Runs();
  readonly #copied = new Runs();

  constructor(doc: Doc) {
    this.#doc = doc;
  }

  /** How many steps can be undone, and redone. */
  get steps(): { undo: number; redo: number } {
    return { undo: this.#undo.length, redo: this.#redo.length };
  }

  /** Makes a step of operations that the document has just given. What was undone before can no longer be redone. */
  add(ops: readonly Op[]): void {
    if (ops.length === 0) return;
    this.#undo.push([...ops]);
    this.#redo = [];
  }

  /** Makes the operations a part of the last step, unless that is undone. */
  extend(ops: readonly Op[]): void {
    const last = this.#undo[this.#undo.length - 1];
    if (last && this.#redo.length === 0) last.push(...ops);
    else this.add(ops);
  }

  /**
   * Takes the last step back that is not undone yet, and gives the operations that do: none if nothing of it is left. changed is told what happens
   * to the text.
   */
  undo(changed?: (change: Change) => void): Op[] {
    return this.#take(this.#undo, this.#redo, changed);
  }

  /** Takes the last undo back. */
  redo(changed?: (change: Change) => void): Op[] {
    return this.#take(this.#redo, this.#undo, changed);
  }

  /** Takes a step back, and puts what takes that back onto the other stack. */
  #take(from: Op[][], to: Op[][], changed?: (change: Change) => void): Op[] {
    const step = from.pop() ?? [];
    const made: Op[] = [];
    for (let end = step.length; end > 0;) {
      const { kind } = step[end - 1]!;
      let first = end - 1;
      while (first > 0 && step[first - 1]!.kind === kind) first--;
      const part = step.slice(first, end);
      made.push(...(kind === "insert" ? this.#remove(part as Insert[], changed) : this.#restore(part as Delete[], changed)));
      end = first;
    }
    if (step.length > 0) to.push(made);
    return made;
  }

  /** Deletes what is still there of insertions. */
  #remove(inserted: readonly Insert[], changed?: (change: Change) => void): Op[] {
    const there: { from: number; to: number }[] = [];
    for (const { id, n } of inserted) {
      for (const { pos, deleted, text } of this.#now(id, n)) if (!deleted) there.push({ from: pos, to: pos + text.length });
    }
    there.sort((a, b) => a.from - b.from);
    const ops: Op[] = [];
    // From the right to the left, positions stay.
    for (let end = there.length; end > 0;) {
      let first = end - 1;
      while (first > 0 && there[first - 1]!.to === there[first]!.from) first--;
      const { from } = there[first]!;
      ops.push(...this.#doc.replace(from, there[end - 1]!.to - from, "", changed));
      end = first;
    }
    return ops;
  }

  /** Inserts again what deletions have deleted. */
  #restore(deleted: readonly Delete[], changed?: (change: Change) => void): Op[] {
    const lost = this.#lost(deleted);
    const ops: Op[] = [];
    // All that goes to one position is one insertion.
    for (let end = lost.length; end > 0;) {
      let first = end - 1;
      const { pos } = lost[first]!;
      while (first > 0 && lost[first - 1]!.pos === pos) first--;
      const part = lost.slice(first, end);
      const [op] = this.#doc.replace(pos, 0, part.map(({ text }) => text).join(""), changed);
      let again = op!.id;
      for (const { id, n } of part) {
        this.#copies.add(id, n, again);
        this.#copied.add(again, n, id);
        again = behind(again, n);
      }
      ops.push(op!);
      end = first;
    }
    return ops;
  }

  /** What is to be inserted again of deletions, and where, from the left to the right. */
  #lost(deleted: readonly Delete[]): { id: Id; n: number; text: string; pos: number }[] {
    const gone = this.#goneElsewhere(new Set(deleted.map(({ target }) => target.site)));
    const lost: { id: Id; n: number; text: string; pos: number }[] = [];
    for (const op of deleted) {
      for (const all of this.#now(firstTarget(op), op.n)) {
        if (!all.deleted || all.text === "") continue;
        for (let { id, n } = all; n > 0;) {
          const part = this.#alike(id, n, gone);
          const { pos, text } = this.#doc.stretch(id, part.n)!;
          if (!part.gone) lost.push({ id, n: part.n, text, pos });
          id = behind(id, part.n);
          n -= part.n;
        }
      }
    }
    lost.sort((a, b) => this.#compare(a.id, b.id));
    for (const it of lost) it.pos = this.#ahead(it.id, it.pos);
    return lost.sort((a, b) => a.pos - b.pos);
  }

  /** What n characters are now: themselves, or their latest copies. */
  *#now(id: Id, n: number): Generator<Stretch, void, undefined> {
    while (n > 0) {
      const { n: k, to } = this.#copies.at(id, n);
      if (to) yield* this.#now(to, k);
      else
        for (let first = id, rest = k; rest > 0;) {
          const it = this.#doc.stretch(first, rest);
          if (it) yield it;
          rest -= it?.n ?? 1;
          first = behind(first, it?.n ?? 1);
        }
      id = behind(id, k);
      n -= k;
    }
  }

  /** How many of n characters stand in a row, as what they are copies of does, and are all gone elsewhere, or none. */
  #alike(id: Id, n: number, gone: Runs): { n: number; gone: boolean } {
    const here = gone.at(id, this.#doc.stretch(id, n)!.n);
    if (here.to) return { n: here.n, gone: true };
    const { n: k, to } = this.#copied.at(id, here.n);
    return to ? this.#alike(to, k, gone) : { n: k, gone: false };
  }

  /** Where a lost character goes: to its tombstone, but ahead of copies of what belongs behind it. */
  #ahead(id: Id, pos: number): number {
    while (pos > 0) {
      const { id: left } = this.#doc.anchor(pos, false);
      if (!this.#copied.at(left, 1).to || this.#compare(id, left) > 0) break;
      const first = this.#copied.first(left);
      const from = first !== left && this.#compare(id, first) <= 0 ? first : left;
      pos = this.#doc.stretch(from)!.pos;
    }
    return pos;
  }

  /**
   * Tells where two characters belong. A copy belongs where what it was copied from does; it stands ahead of all tombstones there. What is newer
   * than a copy has its place by it.
   */
  #compare(a: Id, b: Id): number {
    for (;;) {
      const newer = this.#doc.stretch(a)!.sum < this.#doc.stretch(b)!.sum ? b : a;
      const { to } = this.#copied.at(newer, 1);
      if (!to) return this.#doc.compare(a, b);
      if (newer === a) a = to;
      else b = to;
    }
  }

  /** What others have deleted of the sites, and of what their characters are copies of. */
  #goneElsewhere(sites: Set<number>): Runs {
    const gone = new Runs();
    // Copies are this site's, of anybody's characters.
    const all = sites.has(this.#doc.site);
    for (const op of this.#doc.deletions()) {
      if (op.id.site === this.#doc.site || !(all || sites.has(op.target.site))) continue;
      for (let id = firstTarget(op), { n } = op; n > 0;) {
        const { n: k, to } = gone.at(id, n);
        if (!to) gone.add(id, k, id);
        id = behind(id, k);
        n -= k;
      }
    }
    return gone;
  }
}

/** A map from ids to ids, in runs of both. */
class Runs {
  /** By site, in the order of their seq. */
  readonly #sites = new Map<number, { seq: number; n: number; to: Id }[]>();

  /** How many of the n ids from id on have a value, and that of the first, or how many have none. */
  at({ site, seq }: Id, n: number): { n: number; to?: Id } {
    const runs = this.#sites.get(site) ?? [];
    const i = lastAtMost(runs, seq, (run) => run.seq);
    const run = runs[i];
    if (run && seq < run.seq + run.n) return { n: Math.min(n, run.seq + run.n - seq), to: behind(run.to, seq - run.seq) };
    return { n: Math.min(n, (runs[i + 1]?.seq ?? Infinity) - seq) };
  }

  /** The first id of the run that has the id. */
  first(id: Id): Id {
    const runs = this.#sites.get(id.site)!;
    const { seq } = runs[lastAtMost(runs, id.seq, (run) => run.seq)]!;
    return seq === id.seq ? id : { site: id.site, seq };
  }

  /** Gives n ids values, which they do not have yet. */
  add({ site, seq }: Id, n: number, to: Id): void {
    let runs = this.#sites.get(site);
    if (!runs) this.#sites.set(site, (runs = []));
    runs.splice(lastAtMost(runs, seq, (run) => run.seq) + 1, 0, { seq, n, to });
  }
}

const behind = ({ site, seq }: Id, n: number): Id => ({ site, seq: seq + n });

function firstTarget({ target, n, back }: Delete): Id {
  return back ? behind(target, 1 - n) : target;
}
