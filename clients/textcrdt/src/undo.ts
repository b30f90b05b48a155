import type { Change, Doc } from "./doc.js";
import type { Delete, Id, Insert, Op } from "./op.js";

/**
 * Takes back what a document's site has done, and does it again: its own edits, never those of others, in steps that the caller chooses. All that it does is done by new
 * operations, which go to the others as any do.
 *
 * What is taken back of an insertion is what is still there. What is taken back of a deletion is inserted again, at its place, as new characters, except for what another
 * site has deleted, too; anchors at the old ones stay where those were.
 */
export class Undo {
  readonly #doc: Doc;
  #undo: Op[][] = [];
  #redo: Op[][] = [];
  /** Of a character that was inserted again: what it is now. And the other way. */
  readonly #copies = new Ids<Id>();
  readonly #copied = new Ids<Id>();

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

  /** Takes the last step back that is not undone yet, and gives the operations that do: none if nothing of it is left. changed is told what happens to the text. */
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
    for (let end = step.length; end > 0; ) {
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
      for (let i = 0; i < n; i++) {
        const it = this.#doc.character(this.#current({ site: id.site, seq: id.seq + i }));
        if (it && !it.deleted) there.push({ from: it.pos, to: it.pos + it.text.length });
      }
    }
    there.sort((a, b) => a.from - b.from);
    const ops: Op[] = [];
    // From the right to the left, positions stay.
    for (let end = there.length; end > 0; ) {
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
    for (let end = lost.length; end > 0; ) {
      let first = end - 1;
      const { pos } = lost[first]!;
      while (first > 0 && lost[first - 1]!.pos === pos) first--;
      const part = lost.slice(first, end);
      const [op] = this.#doc.replace(pos, 0, part.map(({ text }) => text).join(""), changed);
      part.forEach(({ id }, i) => {
        const again = { site: op!.id.site, seq: op!.id.seq + i };
        this.#copies.set(id, again);
        this.#copied.set(again, id);
      });
      ops.push(op!);
      end = first;
    }
    return ops;
  }

  /** What is to be inserted again of deletions, and where, from the left to the right. */
  #lost(deleted: readonly Delete[]): { id: Id; text: string; pos: number }[] {
    const elsewhere = this.#deletedElsewhere(deleted);
    const lost: { id: Id; text: string; pos: number }[] = [];
    for (const target of targets(deleted)) {
      const id = this.#current(target);
      const it = this.#doc.character(id);
      if (it?.deleted && it.text !== "" && !elsewhere(id)) lost.push({ id, text: it.text, pos: it.pos });
    }
    lost.sort((a, b) => this.#compare(a.id, b.id));
    for (const it of lost) it.pos = this.#ahead(it.id, it.pos);
    return lost.sort((a, b) => a.pos - b.pos);
  }

  /** Where a lost character goes: to its tombstone, but ahead of copies of what belongs behind it. */
  #ahead(id: Id, pos: number): number {
    while (pos > 0) {
      const { id: left } = this.#doc.anchor(pos, false);
      if (!this.#copied.get(left) || this.#compare(id, left) > 0) break;
      pos = this.#doc.character(left)!.pos;
    }
    return pos;
  }

  /**
   * Tells where two characters belong. A copy belongs where what it was copied from does; it stands ahead of all tombstones there. What is newer than a copy has its
   * place by it.
   */
  #compare(a: Id, b: Id): number {
    for (;;) {
      const newer = this.#doc.character(a)!.sum < this.#doc.character(b)!.sum ? b : a;
      const from = this.#copied.get(newer);
      if (!from) return this.#doc.compare(a, b);
      if (newer === a) a = from;
      else b = from;
    }
  }

  /** Tells whether another site has deleted a target, too, or what it is a copy of. */
  #deletedElsewhere(deleted: readonly Delete[]): (id: Id) => boolean {
    const by = new Ids<boolean>();
    for (const target of targets(deleted)) {
      for (let id: Id | undefined = this.#current(target); id; id = this.#copied.get(id)) by.set(id, false);
    }
    for (const op of this.#doc.deletions()) {
      if (op.id.site === this.#doc.site || !by.has(op.target.site)) continue;
      for (const target of targets([op])) if (by.get(target) === false) by.set(target, true);
    }
    return (it) => {
      for (let id: Id | undefined = it; id; id = this.#copied.get(id)) if (by.get(id)) return true;
      return false;
    };
  }

  /** What a character is now: itself, or its latest copy. */
  #current(id: Id): Id {
    for (let again = this.#copies.get(id); again; again = this.#copies.get(id)) id = again;
    return id;
  }
}

/** A map from ids. */
class Ids<T> {
  readonly #sites = new Map<number, Map<number, T>>();

  get({ site, seq }: Id): T | undefined {
    return this.#sites.get(site)?.get(seq);
  }

  has(site: number): boolean {
    return this.#sites.has(site);
  }

  set({ site, seq }: Id, value: T): void {
    let own = this.#sites.get(site);
    if (!own) this.#sites.set(site, (own = new Map()));
    own.set(seq, value);
  }
}

function* targets(deletes: readonly Delete[]): Generator<Id, void, undefined> {
  for (const { target, n, back } of deletes) for (let i = 0; i < n; i++) yield { site: target.site, seq: target.seq + (back ? -i : i) };
}
