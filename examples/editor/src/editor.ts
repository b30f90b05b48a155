// One document: its text in an editor, who else is there, and whether the server has all.
import { defaultKeymap, indentWithTab } from "@codemirror/commands";
import { go } from "@codemirror/lang-go";
import { javascript } from "@codemirror/lang-javascript";
import { markdown } from "@codemirror/lang-markdown";
import { bracketMatching, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";
import type { Rowcall, Session } from "rowcall";
import { collaboration } from "rowcall-textcrdt/codemirror";
import { type DocumentSession as Editing, DocumentSession, openIndexedDB } from "rowcall-textcrdt/provider";

import { comments } from "./comments.js";
import { colorOf, complain, h } from "./dom.js";
import { share } from "./share.js";

export interface Place {
  /** The document. */
  id: string;
  user: Session["user"];
  /** Of the store. */
  name: string;
}

export function openDocument(rc: Rowcall, place: Place) {
  const element = h("section", { class: "open", testid: "open" });
  let close = async (): Promise<void> => {};
  let closed = false;
  /** Keeps the text in a document of its own, and opens what the server has. */
  const beginAnew = async (session: Editing) => {
    const title = session.document!.title.slice(0, 190) + " (copy)";
    await rc.create_document({ data: { title }, text: session.doc.toString() });
    await session.discard();
    await close();
    await open();
  };
  const open = async () => {
    const session = new DocumentSession({
      url: location.origin.replace("http", "ws") + "/api/rpc",
      id: place.id,
      store: await openIndexedDB(place.name),
      async token() {
        await rc.sync_head(); // any call renews a session that is about to end
        return rc.session!.token;
      },
    });
    close = () => session.close();
    if (closed) return close();
    await session.ready();
    const undo = show(rc, place, session, element, () => beginAnew(session));
    close = async () => {
      undo();
      await session.close();
    };
  };
  open().catch(complain);
  return {
    element,
    close() {
      closed = true;
      return close();
    },
  };
}

/** Shows the document in the element, and returns what ends that. */
function show(rc: Rowcall, { id, user }: Place, session: Editing, element: HTMLElement, beginAnew: () => Promise<void>): () => void {
  const title = h("input", { class: "title", testid: "title", "aria-label": "Title", value: session.document?.title ?? "" });
  title.addEventListener("change", () => void rc.update_document({ id, data: { title: title.value } }).catch(complain));
  const status = h("span", { class: "status", testid: "status" });
  const anew = h("button", { testid: "begin-anew", title: "Keeps this text as a copy, and opens what the server has" }, "Begin anew");
  anew.addEventListener("click", () => {
    anew.disabled = true;
    beginAnew().catch((error: unknown) => {
      anew.disabled = false;
      complain(error);
    });
  });
  const offline = h("input", { type: "checkbox", testid: "offline", id: "offline" });
  offline.addEventListener("change", () => (offline.checked ? session.disconnect() : session.connect()));
  const peers = h("span", { class: "peers", testid: "peers" });
  const text = h("div", { class: "text", testid: "text" });
  const sharing = share(rc, id);
  const notes = comments(rc, session, id);

  const told = () => {
    const { error } = session;
    if (session.status === "online" && status.dataset["status"] !== "online") {
      complain("");
      sharing.refresh();
    }
    status.dataset["status"] = session.status;
    status.dataset["saved"] = String(session.saved);
    const mode = session.readOnly && !error ? ", read only" : "";
    status.textContent = error ? `stopped: ${error.reason}` : session.status + (session.saved ? ", saved" : ", not saved yet") + mode;
    title.disabled = session.readOnly;
    anew.hidden = error?.reason !== "diverged" && error?.reason !== "refused";
  };
  const met = () => {
    const marks = [...session.peers.values()].map(({ user, presence }) => {
      const name = String(presence.name ?? "?");
      return h("span", { style: `--peer: ${colorOf(user)}`, title: name, testid: "peer" }, initials(name));
    });
    peers.replaceChildren(...marks);
  };
  const view = new EditorView({
    doc: session.doc.toString(),
    parent: text,
    extensions: [
      lineNumbers(),
      highlightActiveLineGutter(),
      highlightActiveLine(),
      drawSelection(),
      indentOnInput(),
      bracketMatching(),
      syntaxHighlighting(classHighlighter),
      languageOf(session.document?.title ?? ""),
      EditorView.lineWrapping,
      collaboration(session, { name: user.name, color: colorOf(user.id) }),
      notes.extension,
      keymap.of([...defaultKeymap, indentWithTab]),
    ],
  });
  notes.attach(view);
  element.replaceChildren(
    h("div", { class: "bar" }, title, status, anew, h("label", { for: "offline" }, offline, " offline"), sharing.element, peers),
    text,
    notes.element,
  );
  told();
  met();
  view.focus();
  const leave = [session.on("status", told), session.on("peers", met)];
  return () => {
    for (const l of leave) l();
    notes.close();
    view.destroy();
  };
}

/** The first characters of the first two words. */
function initials(name: string): string {
  return name.split(/\s+/, 2).map((word) => [...word][0] ?? "").join("");
}

function languageOf(title: string) {
  if (title.endsWith(".go")) return go();
  if (/\.[jt]sx?$/.test(title)) return javascript({ typescript: true, jsx: true });
  return markdown();
}
