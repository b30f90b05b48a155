import {
  Annotation,
  ChangeSet,
  EditorSelection,
  EditorState,
  type Extension,
  Facet,
  Prec,
  type Range,
  StateEffect,
  StateField,
  Transaction,
  type TransactionSpec,
} from "@codemirror/state";
import { type Command, Decoration, type DecorationSet, EditorView, keymap, ViewPlugin, type ViewUpdate, WidgetType } from "@codemirror/view";

import { type Anchor, type Change, formatAnchor, parseAnchor } from "./doc.js";
import { insidePair, type Op, wellFormed } from "./op.js";
import type { Peer } from "./peers.js";
import type { DocumentSession } from "./session.js";
import { Undo } from "./undo.js";

export interface CollaborationOptions {
  /** How the others see who edits here. The colour as #rgb or #rrggbb. */
  readonly name?: string;
  readonly color?: string;
}

/** Marks the transactions that bring the editor what the document has already. */
const fromDocument = Annotation.define<true>();
/** Tells the editor that the session is something else than it was. */
const sessionChanged = StateEffect.define<null>();

/** Edits that follow one another within so many milliseconds are undone together. */
const sameStep = 500;

/**
 * Lets an editor edit the document of a session, which must be ready. What is done in the editor is done to the document, and what others do comes
 * into the editor; their carets and selections are shown. The editor's undo is the site's own, so leave @codemirror/commands' history out.
 *
 *     await session.ready();
 *     new EditorView({ doc: session.doc.toString(), extensions: [collaboration(session, { name: "Ann" }), keymap.of(defaultKeymap)], parent });
 */
export function collaboration(session: DocumentSession, options: CollaborationOptions = {}): Extension {
  const readOnly = StateField.define<boolean>({
    create: () => session.readOnly,
    update: () => session.readOnly,
    provide: (field) => EditorState.readOnly.from(field),
  });
  return [
    // Positions are those of the document, whose lines end with \n; a \r that it has is a character like others.
    EditorState.lineSeparator.of("\n"),
    EditorView.clipboardInputFilter.of((text) => unixLines(text)),
    readOnly,
    EditorState.changeFilter.of((tr) => !session.readOnly || tr.annotation(fromDocument) === true),
    EditorState.transactionFilter.of((tr) => (tr.docChanged && !tr.annotation(fromDocument) ? sound(tr) : tr)),
    collaborations.of({ session, options }),
    binding,
    Prec.high(
      keymap.of([
        { key: "Mod-z", run: undo, preventDefault: true },
        { key: "Mod-y", mac: "Mod-Shift-z", run: redo, preventDefault: true },
        { linux: "Ctrl-Shift-z", run: redo, preventDefault: true },
      ]),
    ),
    theme,
  ];
}

/** Undoes what was last done here. */
export const undo: Command = (view) => view.plugin(binding)?.takeBack("undo") ?? false;

/** Does again what was last undone here. */
export const redo: Command = (view) => view.plugin(binding)?.takeBack("redo") ?? false;

interface Collaboration {
  readonly session: DocumentSession;
  readonly options: CollaborationOptions;
}

const collaborations = Facet.define<Collaboration, Collaboration>({ combine: (all) => all[0]! });

const unixLines = (text: string) => text.replace(/\r\n?/g, "\n");

/** An edit of a text: what was between the places is this text now. */
interface Edit {
  readonly from: number;
  readonly to: number;
  readonly insert: string;
}

function editsOf(tr: Transaction): Edit[] {
  const edits: Edit[] = [];
  tr.changes.iterChanges((from, to, _, __, inserted) => edits.push({ from, to, insert: inserted.sliceString(0, undefined, "\n") }));
  return edits;
}

/** The transaction as it is, or without what a document does not take: other ends of lines, and halves of surrogate pairs. */
function sound(tr: Transaction): Transaction | TransactionSpec {
  const { doc } = tr.startState;
  const edits = editsOf(tr);
  const changes = edits.map(({ from, to, insert }) => {
    const [before, behind] = [doc.sliceString(from - 1, from + 1, "\n"), doc.sliceString(to - 1, to + 1, "\n")];
    if (insidePair(before, 1)) [from, insert] = [from - 1, before[0] + insert];
    if (insidePair(behind, 1)) [to, insert] = [to + 1, insert + behind[1]];
    return { from, to, insert: wellFormed(unixLines(insert)) };
  });
  if (changes.every(({ from, insert }, i) => from === edits[i]!.from && insert === edits[i]!.insert)) return tr;
  const set = ChangeSet.of(changes, doc.length, "\n");
  const back = tr.changes.invertedDesc;
  const map = (pos: number) => set.mapPos(back.mapPos(pos, 1), 1);
  const ranges = tr.newSelection.ranges.map(({ anchor, head }) => EditorSelection.range(map(anchor), map(head)));
  const userEvent = tr.annotation(Transaction.userEvent);
  const { effects, scrollIntoView } = tr;
  return {
    changes: set,
    selection: EditorSelection.create(ranges, tr.newSelection.mainIndex),
    effects,
    scrollIntoView,
    ...(userEvent && { userEvent }),
  };
}

/** What an editor and a session have to do with one another. */
class Binding {
  decorations: DecorationSet = Decoration.none;
  readonly #view: EditorView;
  readonly #session: DocumentSession;
  readonly #options: CollaborationOptions;
  readonly #undo: Undo;
  readonly #leave: (() => void)[];
  /** Where the step to undo ends, for which an edit may be a part of it, and until when by performance.now. */
  #step: { from: number; to: number; until: number; deletes: boolean; composes: boolean } | undefined;

  constructor(view: EditorView) {
    const { session, options } = view.state.facet(collaborations);
    this.#view = view;
    this.#session = session;
    this.#options = options;
    this.#undo = new Undo(session.doc);
    const tell = () => view.dispatch({ effects: sessionChanged.of(null) });
    this.#leave = [
      session.on("change", (changes, by) => by !== this && this.#show(changes)),
      session.on("peers", tell),
      session.on("status", () => session.readOnly !== view.state.readOnly && tell()),
    ];
    this.#present();
    this.decorations = this.#peers();
    queueMicrotask(() => this.#reconcile());
  }

  destroy(): void {
    for (const leave of this.#leave) leave();
    this.#leave.length = 0;
  }

  update(update: ViewUpdate): void {
    for (const tr of update.transactions) {
      if (tr.docChanged) this.#take(tr);
    }
    if (update.docChanged || update.selectionSet) this.#present();
    if (update.docChanged || update.transactions.some((tr) => tr.effects.some((effect) => effect.is(sessionChanged))))
      this.decorations = this.#peers();
  }

  /** Undoes or redoes the last step of which something is left. */
  takeBack(which: "undo" | "redo"): boolean {
    if (this.#session.readOnly) return false;
    const changes: Change[] = [];
    let ops: Op[] = [];
    while (ops.length === 0 && this.#undo.steps[which] > 0) ops = this.#undo[which]((change) => changes.push(change));
    this.#step = undefined;
    this.#session.commit(ops, changes, this);
    this.#show(changes, which);
    return true;
  }

  /** Does to the document what a transaction has done to the editor. */
  #take(tr: Transaction): void {
    if (tr.annotation(fromDocument)) {
      if (this.#step) this.#step = { ...this.#step, from: tr.changes.mapPos(this.#step.from, -1), to: tr.changes.mapPos(this.#step.to, 1) };
      return;
    }
    const changes: Change[] = [];
    const ops: Op[] = [];
    // From the right to the left, positions stay.
    for (const { from, to, insert } of editsOf(tr).reverse())
      ops.push(...this.#session.doc.replace(from, to - from, insert, (change) => changes.push(change)));
    this.#note(tr, ops);
    this.#session.commit(ops, changes, this);
  }

  /** Makes a step to undo of operations, or a part of the last one. */
  #note(tr: Transaction, ops: readonly Op[]): void {
    let [from, to] = [Infinity, 0];
    let touches = false;
    const step = this.#step;
    tr.changes.iterChangedRanges((fromA, toA, fromB, toB) => {
      from = Math.min(from, fromB);
      to = Math.max(to, toB);
      touches ||= step !== undefined && fromA <= step.to && toA >= step.from;
    });
    const deletes = tr.isUserEvent("delete");
    const composes = tr.isUserEvent("input.type.compose");
    const typed = tr.isUserEvent("input.type") || deletes;
    const goesOn = touches && ((step!.deletes === deletes && performance.now() < step!.until) || (step!.composes && composes));
    if (typed && goesOn) this.#undo.extend(ops);
    else this.#undo.add(ops);
    this.#step = typed ? { from, to, until: performance.now() + sameStep, deletes, composes } : undefined;
  }

  /** Shows changes of the document. */
  #show(changes: readonly Change[], userEvent?: string): void {
    const { state } = this.#view;
    if (changes.length === 0) return;
    const set = compose(changes, state.doc.length);
    let end = 0;
    set.iterChangedRanges((_, __, ___, toB) => (end = toB));
    this.#view.dispatch({
      changes: set,
      annotations: [fromDocument.of(true), Transaction.addToHistory.of(false), Transaction.remote.of(userEvent === undefined)],
      ...(userEvent && { userEvent, selection: { anchor: end }, scrollIntoView: true }),
    });
  }

  /** Makes the editor's text that of the document, if it is not. */
  #reconcile(): void {
    if (this.#leave.length === 0) return; // the editor is gone
    const has = this.#view.state.doc.sliceString(0, undefined, "\n");
    const wants = this.#session.doc.toString();
    if (has === wants) return;
    let from = 0;
    while (from < has.length && has[from] === wants[from]) from++;
    let end = 0;
    while (end < Math.min(has.length, wants.length) - from && has[has.length - 1 - end] === wants[wants.length - 1 - end]) end++;
    const text = wants.slice(from, wants.length - end);
    this.#show([{ pos: from, deleted: has.length - end - from, text }]);
  }

  /** Tells the others where the selection is. */
  #present(): void {
    const { anchor, head, empty } = this.#view.state.selection.main;
    const { doc } = this.#session;
    if (doc.length !== this.#view.state.doc.length) return; // it is about to be the same
    // What others insert at its ends is not selected.
    const place = (pos: number, other: number) => formatAnchor(doc.anchor(pos, !empty && pos < other));
    this.#session.present({ ...this.#options, selection: { anchor: place(anchor, head), head: place(head, anchor) } });
  }

  /** The carets and selections of the others. */
  #peers(): DecorationSet {
    const ranges: Range<Decoration>[] = [];
    const { length } = this.#view.state.doc;
    for (const peer of this.#session.peers.values()) {
      const selection = selectionOf(peer);
      if (!selection) continue;
      const [anchor, head] = selection.map((at) => this.#session.doc.resolve(at));
      if (anchor === undefined || head === undefined || Math.max(anchor, head) > length) continue;
      const color = colorOf(peer);
      const name = String(peer.presence.name ?? "").slice(0, 40);
      if (anchor !== head) {
        const mark = Decoration.mark({ class: "cm-peerSelection", attributes: { style: `--peer: ${color}` } });
        ranges.push(mark.range(Math.min(anchor, head), Math.max(anchor, head)));
      }
      ranges.push(Decoration.widget({ widget: new Caret(name, color, formatAnchor(selection[1])), side: head > anchor ? -1 : 1 }).range(head));
    }
    return Decoration.set(ranges, true);
  }
}

const binding = ViewPlugin.fromClass(Binding, {
  decorations: (it) => it.decorations,
  eventHandlers: {
    beforeinput(event, view) {
      const run = event.inputType === "historyUndo" ? undo : event.inputType === "historyRedo" ? redo : undefined;
      if (!run) return false;
      event.preventDefault();
      return run(view);
    },
  },
});

/** One change of the editor for many of the document, which follow one another. */
function compose(changes: readonly Change[], length: number): ChangeSet {
  let sets = changes.map(({ pos, deleted, text }) => {
    const set = ChangeSet.of({ from: pos, to: pos + deleted, insert: text }, length, "\n");
    length = set.newLength;
    return set;
  });
  // In pairs, since what composing takes grows with what is composed.
  while (sets.length > 1) {
    const pairs: ChangeSet[] = [];
    for (let i = 0; i < sets.length; i += 2) pairs.push(sets[i + 1] ? sets[i]!.compose(sets[i + 1]!) : sets[i]!);
    sets = pairs;
  }
  return sets[0]!;
}

/** Where a peer is: anchor and head. What others send may be anything. */
function selectionOf({ presence }: Peer): [Anchor, Anchor] | undefined {
  const { anchor, head } = presence.selection ?? {};
  const [a, h] = [parseAnchor(String(anchor)), parseAnchor(String(head))];
  return a && h ? [a, h] : undefined;
}

const colors = ["#d9480f", "#2b8a3e", "#1864ab", "#862e9c", "#a61e4d", "#0b7285", "#5f3dc4", "#846358"];

function colorOf({ site, presence }: Peer): string {
  const { color } = presence;
  return typeof color === "string" && /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.test(color) ? color : colors[site % colors.length]!;
}

/** The caret of somebody else, with a name. Whenever it is put elsewhere it is another element, whose name is seen for a while. */
class Caret extends WidgetType {
  constructor(
    readonly name: string,
    readonly color: string,
    readonly head: string,
  ) {
    super();
  }

  override eq(other: Caret): boolean {
    return other.name === this.name && other.color === this.color && other.head === this.head;
  }

  override toDOM(): HTMLElement {
    const caret = document.createElement("span");
    caret.className = "cm-peerCaret";
    caret.style.setProperty("--peer", this.color);
    caret.setAttribute("aria-hidden", "true");
    // Neither the name is text that could be copied, nor is here a place where a line could be broken.
    caret.dataset["name"] = this.name;
    caret.textContent = "\u2060";
    return caret;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

const theme = EditorView.baseTheme({
  ".cm-peerSelection": { backgroundColor: "color-mix(in srgb, var(--peer) 25%, transparent)" },
  ".cm-peerCaret": { position: "relative", borderLeft: "2px solid var(--peer)", marginLeft: "-1px", marginRight: "-1px" },
  ".cm-peerCaret[data-name]:not([data-name=''])::after": {
    content: "attr(data-name)",
    position: "absolute",
    bottom: "100%",
    left: "-1px",
    padding: "0 4px",
    borderRadius: "3px 3px 3px 0",
    backgroundColor: "var(--peer)",
    color: "white",
    font: "11px/1.4 system-ui, sans-serif",
    whiteSpace: "nowrap",
    pointerEvents: "none",
    zIndex: 5,
    animation: "cm-peerName 3s forwards",
  },
  ".cm-peerCaret:hover::after": { animation: "none !important" },
  "@keyframes cm-peerName": { "0%, 80%": { opacity: 1 }, "100%": { opacity: 0 } },
});
