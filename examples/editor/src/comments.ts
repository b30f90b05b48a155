// The comments of a document, which stay at the text that they are about.
import { type Extension, StateEffect, StateField } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView } from "@codemirror/view";
import type { DocumentComment, Rowcall } from "rowcall";
import { formatAnchor, parseAnchor } from "rowcall-textcrdt";
import type { DocumentSession } from "rowcall-textcrdt/provider";

import { complain, h, keyed, soon } from "./dom.js";

/** How much of the text a comment shows. */
const longestQuote = 200;

export function comments(rc: Rowcall, session: DocumentSession, id: string) {
  let all: DocumentComment[] = [];
  let view: EditorView | undefined;
  const list = h("ul", { testid: "comments" });
  const body = h("textarea", { testid: "comment-body", placeholder: "A comment on what is selected", "aria-label": "Comment" });
  const add = async (event: Event) => {
    event.preventDefault();
    if (!view || !body.value) return;
    const { from, to } = view.state.selection.main;
    const [start, end] = [session.doc.anchor(from, true), session.doc.anchor(to, false)].map(formatAnchor) as [string, string];
    const text = body.value;
    body.value = ""; // what is typed from now on is another one
    await rc.create_document_comment({ data: { document_id: id, body: text, ...(from < to && { start, end }) } }).catch((error: unknown) => {
      body.value ||= text;
      throw error;
    });
  };
  const element = h(
    "aside",
    { class: "comments" },
    h("h2", {}, "Comments"),
    h("form", { onsubmit: (event) => add(event).catch(complain) }, body, h("button", { testid: "comment" }, "Comment")),
    list,
  );

  /** Where a comment is now. */
  const placeOf = ({ start, end }: DocumentComment) => {
    const [from, to] = [start, end].map((text) => {
      const anchor = text === null ? undefined : parseAnchor(text);
      return anchor && session.doc.resolve(anchor);
    });
    return from !== undefined && to !== undefined && from < to ? { from, to } : undefined;
  };
  const select = (comment: DocumentComment) => {
    const place = placeOf(comment);
    if (place) view?.dispatch({ selection: { anchor: place.from, head: place.to }, scrollIntoView: true });
    view?.focus();
  };
  const item = (comment: DocumentComment) => {
    const quote = h("blockquote", { testid: "quote", onclick: () => select(comment) });
    const resolve = () => rc.update_document_comment({ id: comment.id, data: { resolved: true } }).catch(complain);
    quotes.set(comment.id, () => {
      const place = placeOf(comment);
      const text = place ? session.doc.slice(place.from, Math.min(place.to, place.from + longestQuote)) : "";
      quote.hidden = !place;
      if (quote.textContent !== text) quote.textContent = text;
    });
    return h(
      "li",
      { testid: "comment-item" },
      quote,
      h("p", {}, comment.body),
      h("footer", {}, new Date(comment.ctime).toLocaleString(), h("button", { testid: "resolve", onclick: resolve }, "Resolve")),
    );
  };
  const quotes = new Map<string, () => void>(); // by comment
  const requote = () => all.forEach(({ id }) => quotes.get(id)?.());
  const draw = keyed(list, ({ id, version }: DocumentComment) => `${id} ${version}`, item);
  const refresh = async () => {
    const filters = { document_id: id, resolved: false, parent_id: null };
    ({ data: all } = await rc.list_document_comments({ filters, list_options: { order_bys: "ctime", limit: 200 } }));
    view?.dispatch({ effects: changed.of(null) });
    draw(all);
    requote();
  };

  const changed = StateEffect.define<null>();
  const marks = (length: number): DecorationSet => {
    const places = all.map(placeOf).filter((place) => place !== undefined && place.to <= length) as { from: number; to: number }[];
    return Decoration.set(
      places.map(({ from, to }) => Decoration.mark({ class: "cm-commented" }).range(from, to)),
      true,
    );
  };
  const extension: Extension = StateField.define<DecorationSet>({
    create: (state) => marks(state.doc.length),
    update(before, tr) {
      if (tr.effects.some((effect) => effect.is(changed))) return marks(tr.newDoc.length);
      return before.map(tr.changes);
    },
    provide: (field) => EditorView.decorations.from(field),
  });

  const stop = new AbortController();
  const follow = async () => {
    const again = soon(refresh, 200, stop.signal);
    for await (const _ of rc.changes({ entities: ["document_comment"], signal: stop.signal, onHello: again })) again();
  };
  const leave = session.on("change", requote);
  return {
    element,
    extension,
    attach(editor: EditorView) {
      view = editor;
      follow().catch((error: unknown) => stop.signal.aborted || complain(error));
    },
    close() {
      stop.abort();
      leave();
    },
  };
}
