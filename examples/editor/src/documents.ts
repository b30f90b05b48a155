// The list of the documents that the user is a member of.
import type { Document, Rowcall } from "rowcall";

import { complain, h, keyed, soon } from "./dom.js";

type Listed = Pick<Document, "id" | "title" | "owner_id">;

/** Behind the title of what is another's. */
const shared = " ↗";

export function documentList(rc: Rowcall, user: number) {
  const list = h("ul", { testid: "documents" });
  const title = h("input", { testid: "new-title", placeholder: "New document", "aria-label": "Title of the new document" });
  const make = async (event: Event) => {
    event.preventDefault();
    const { data } = await rc.create_document({ data: { title: title.value || "Untitled.md" } });
    title.value = "";
    location.hash = data.id;
    await refresh();
  };
  const form = h(
    "form",
    { style: "display: grid; gap: 6px", onsubmit: (event) => make(event).catch(complain) },
    title,
    h("button", { testid: "create" }, "Create"),
  );
  const element = h("nav", { class: "documents" }, form, list);
  let marked = "";

  const mark = (id: string) => {
    marked = id;
    for (const link of list.querySelectorAll("a")) {
      if (link.hash === "#" + id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  const item = ({ id, title, owner_id }: Listed) => {
    const mine = owner_id === user;
    const text = title + (mine ? "" : shared);
    return h("li", {}, h("a", { href: "#" + id, testid: "document", title: mine ? "" : "shared with you" }, text));
  };
  const draw = keyed(list, ({ id, title, owner_id }: Listed) => `${id} ${owner_id} ${title}`, item);
  const refresh = async () => {
    const { data } = await rc.list_documents({ list_options: { order_bys: "!edited_at", limit: 100, fields: ["id", "title", "owner_id"] } });
    draw(data);
    mark(marked);
  };

  // Others rename documents, and share them.
  const stop = new AbortController();
  const follow = async () => {
    const again = soon(refresh, 300, stop.signal);
    for await (const change of rc.changes({ entities: ["document", "document_member"], signal: stop.signal, onHello: again })) {
      if (change.entity !== "document" || change.op !== "update" || titleOf(change.id) !== change.data.title) again();
    }
  };
  const titleOf = (id: string | number) => list.querySelector(`a[href="#${id}"]`)?.textContent?.replace(shared, "");
  follow().catch((error: unknown) => stop.signal.aborted || complain(error));
  return { element, mark, close: () => stop.abort() };
}
