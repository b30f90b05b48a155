// The characters of a document in their order, as spans in a B+tree that counts what is visible.

import { less, unitsOf } from "./op.js";
import type { Site } from "./site.js";

/** How many spans a leaf has at the most, and how many children an inner node. */
const width = 32;
/** How many characters a span has at the most: what an edit inside of it costs is bounded. */
export const maxSpan = 4096;

/** Characters of one site that stand in a row and have consecutive seqs and sums, all deleted or none. */
export class Span {
  leaf!: Leaf;

  constructor(
    readonly site: Site,
    public seq: number,
    public n: number,
    readonly session: number,
    public sum: number,
    public deleted: boolean,
    /** Deleted characters have theirs too, unless the document began with a snapshot without them: then it is "". */
    public text: string,
  ) {}

  /** The length of what is visible, in UTF-16. */
  get units(): number {
    return this.deleted ? 0 : this.text.length;
  }

  /** The number of code points that are visible. */
  get points(): number {
    return this.deleted ? 0 : this.n;
  }

  /** Tells whether the vector of the character at offset is less than v's first. */
  less(offset: number, v: Vector): boolean {
    return less(this.session, this.sum + offset, this.site.id, v.session, v.sum, v.site.id);
  }
}

/** What an operation of a site is ordered by. A span has that of its first character. */
export interface Vector {
  readonly site: { readonly id: number };
  readonly session: number;
  readonly sum: number;
}

abstract class Branch {
  parent: Inner | undefined;
  units = 0;
  points = 0;
  /** The span below with the least vector. */
  least: Span | undefined;

  /** Changes the counts, here and above. */
  count(units: number, points: number): void {
    for (let node: Branch | undefined = this; node; node = node.parent) {
      node.units += units;
      node.points += points;
    }
  }

  /** Takes a new span for the least one, here and above, where it is. */
  lower(span: Span): void {
    for (let node: Branch | undefined = this; node && (!node.least || span.less(0, node.least)); node = node.parent) node.least = span;
  }

  abstract measure(): void;
}

export class Leaf extends Branch {
  spans: Span[] = [];
  next: Leaf | undefined;
  prev: Leaf | undefined;

  override measure(): void {
    this.units = this.points = 0;
    this.least = undefined;
    for (const span of this.spans) {
      span.leaf = this;
      this.units += span.units;
      this.points += span.points;
      if (!this.least || span.less(0, this.least)) this.least = span;
    }
  }
}

class Inner extends Branch {
  children: (Inner | Leaf)[] = [];

  override measure(): void {
    this.units = this.points = 0;
    this.least = undefined;
    for (const child of this.children) {
      child.parent = this;
      this.units += child.units;
      this.points += child.points;
      if (child.least && (!this.least || child.least.less(0, this.least))) this.least = child.least;
    }
  }
}

export class Tree {
  #root: Inner | Leaf;
  readonly first: Leaf;

  /** Takes spans in the order of the document. */
  constructor(spans: Span[] = []) {
    const leaves: Leaf[] = [];
    const full = (width * 3) / 4;
    for (let i = 0; i === 0 || i < spans.length; i += full) {
      const leaf = new Leaf();
      leaf.spans = spans.slice(i, i + full);
      leaf.measure();
      leaf.prev = leaves[leaves.length - 1];
      if (leaf.prev) leaf.prev.next = leaf;
      leaves.push(leaf);
    }
    this.first = leaves[0]!;
    let level: (Inner | Leaf)[] = leaves;
    while (level.length > 1) {
      const above: Inner[] = [];
      for (let i = 0; i < level.length; i += full) {
        const node = new Inner();
        node.children = level.slice(i, i + full);
        node.measure();
        above.push(node);
      }
      level = above;
    }
    this.#root = level[0]!;
  }

  get units(): number {
    return this.#root.units;
  }

  get points(): number {
    return this.#root.points;
  }

  *spans(): Generator<Span, void, undefined> {
    for (let leaf: Leaf | undefined = this.first; leaf; leaf = leaf.next) yield* leaf.spans;
  }

  /** The span with the visible unit (or code point) at the place, and how many come before it in the span. The place must exist. */
  find(at: number, by: "units" | "points"): { span: Span; offset: number } {
    let node = this.#root;
    while (node instanceof Inner) {
      for (const child of node.children) {
        if (at < child[by]) {
          node = child;
          break;
        }
        at -= child[by];
      }
    }
    for (const span of node.spans) {
      const size = span[by];
      if (at < size) return { span, offset: at };
      at -= size;
    }
    throw new RangeError("there is no such place");
  }

  /** What is visible before the span. */
  before(span: Span, by: "units" | "points"): number {
    let sum = 0;
    for (const s of span.leaf.spans) {
      if (s === span) break;
      sum += s[by];
    }
    let node: Inner | Leaf = span.leaf;
    for (let parent = node.parent; parent; node = parent, parent = node.parent) {
      for (const child of parent.children) {
        if (child === node) break;
        sum += child[by];
      }
    }
    return sum;
  }

  /** Tells which of two spans comes first, as sort wants it. */
  compare(a: Span, b: Span): number {
    if (a.leaf === b.leaf) return a.leaf.spans.indexOf(a) - a.leaf.spans.indexOf(b);
    let [x, y]: (Inner | Leaf)[] = [a.leaf, b.leaf];
    while (x!.parent !== y!.parent) [x, y] = [x!.parent!, y!.parent!]; // all leaves are at the same depth
    const { children } = x!.parent!;
    return children.indexOf(x!) - children.indexOf(y!);
  }

  /**
   * The last of the spans behind the given one (undefined: the start) that have greater vectors, without a lesser one between. Subtrees are passed
   * as a whole.
   */
  pass(after: Span | undefined, v: Vector): Span | undefined {
    const leaf = after?.leaf ?? this.first;
    for (let i = after ? leaf.spans.indexOf(after) + 1 : 0; i < leaf.spans.length; i++) {
      const span = leaf.spans[i]!;
      if (span.less(0, v)) return after;
      after = span;
    }
    let node: Inner | Leaf = leaf;
    for (let parent = node.parent; parent; node = parent, parent = node.parent) {
      for (let i = parent.children.indexOf(node) + 1; i < parent.children.length; i++) {
        let child = parent.children[i]!;
        if (!child.least?.less(0, v)) continue;
        while (child instanceof Inner) child = child.children.find((c) => c.least?.less(0, v))!;
        const at = child.spans.findIndex((span) => span.less(0, v));
        return at > 0 ? child.spans[at - 1] : lastOf(child.prev!);
      }
    }
    while (node instanceof Inner) node = node.children[node.children.length - 1]!;
    return lastOf(node);
  }

  /** The nearest character before the span's first that has a lesser vector than v; undefined: the start. */
  lesserBefore(span: Span, v: Vector): { span: Span; offset: number } | undefined {
    const { spans } = span.leaf;
    for (let i = spans.indexOf(span) - 1; i >= 0; i--) if (spans[i]!.less(0, v)) return lastLess(spans[i]!, v);
    let node: Inner | Leaf = span.leaf;
    for (let parent = node.parent; parent; node = parent, parent = node.parent) {
      for (let i = parent.children.indexOf(node) - 1; i >= 0; i--) {
        let child = parent.children[i]!;
        if (!child.least?.less(0, v)) continue;
        while (child instanceof Inner) child = child.children.findLast((c) => c.least?.less(0, v))!;
        return lastLess(
          child.spans.findLast((s) => s.less(0, v))!,
          v,
        );
      }
    }
    return undefined;
  }

  /** Puts a span behind another one; undefined: at the start. */
  insert(span: Span, after: Span | undefined): void {
    const leaf = after?.leaf ?? this.first;
    leaf.spans.splice(after ? leaf.spans.indexOf(after) + 1 : 0, 0, span);
    span.leaf = leaf;
    leaf.count(span.units, span.points);
    leaf.lower(span);
    if (leaf.spans.length > width) this.#split(leaf);
  }

  /** Makes a span of its own of the characters from offset on, and gives it. */
  split(span: Span, offset: number): Span {
    const units = unitsOf(span.text, span.n, offset);
    const right = new Span(span.site, span.seq + offset, span.n - offset, span.session, span.sum + offset, span.deleted, span.text.slice(units));
    span.n = offset;
    span.text = span.text.slice(0, units);
    const { leaf } = span;
    right.leaf = leaf;
    leaf.spans.splice(leaf.spans.indexOf(span) + 1, 0, right);
    if (leaf.spans.length > width) this.#split(leaf);
    return right;
  }

  /** Shows or hides a span. */
  hide(span: Span): void {
    span.leaf.count(-span.units, -span.points);
    span.deleted = true;
  }

  /** Makes one span of this one and the next in its leaf, if they can be one, and gives the one that is no more. */
  join(left: Span | undefined, right: Span | undefined): Span | undefined {
    if (!left || !right || left.leaf !== right.leaf || !joinable(left, right)) return undefined;
    if (left.n + right.n > maxSpan || (left.text === "") !== (right.text === "")) return undefined;
    left.n += right.n;
    left.text += right.text;
    // No node's least is the right one, since the left one is less and below the same nodes.
    left.leaf.spans.splice(left.leaf.spans.indexOf(right), 1);
    return right;
  }

  #split(node: Inner | Leaf): void {
    const parent = node.parent ?? this.#grow(node);
    const half = width / 2;
    let right: Inner | Leaf;
    if (node instanceof Leaf) {
      right = new Leaf();
      right.spans = node.spans.splice(half);
      right.next = node.next;
      right.prev = node;
      if (right.next) right.next.prev = right;
      node.next = right;
    } else {
      right = new Inner();
      right.children = node.children.splice(half);
    }
    node.measure();
    right.measure();
    right.parent = parent;
    parent.children.splice(parent.children.indexOf(node) + 1, 0, right);
    if (parent.children.length > width) this.#split(parent);
  }

  #grow(node: Inner | Leaf): Inner {
    const root = new Inner();
    root.children = [node];
    root.measure();
    this.#root = root;
    return root;
  }
}

/** Tells whether the right span continues the left one, behind which it stands. */
export function joinable(left: Span, right: Span): boolean {
  return (
    left.site === right.site &&
    left.seq + left.n === right.seq &&
    left.sum + left.n === right.sum &&
    left.session === right.session &&
    left.deleted === right.deleted
  );
}

function lastOf(leaf: Leaf): Span | undefined {
  return leaf.spans[leaf.spans.length - 1];
}

/** The last character of the span that has a lesser vector than v; its first one has. */
function lastLess(span: Span, v: Vector): { span: Span; offset: number } {
  if (span.session < v.session) return { span, offset: span.n - 1 };
  const sums = v.sum - span.sum - (span.site.id < v.site.id ? 0 : 1);
  return { span, offset: Math.min(sums, span.n - 1) };
}
