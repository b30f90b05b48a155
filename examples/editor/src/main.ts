// The page: a login, the documents, and the one that is open, which the address names: #<id>.
import { Rowcall, type Session } from "rowcall";

import { documentList } from "./documents.js";
import { complain, h } from "./dom.js";
import { openDocument } from "./editor.js";

const key = "rowcall session"; // of this window: each has its own user

const rc = new Rowcall({
  ...stored(),
  onSession(session) {
    if (session) sessionStorage.setItem(key, JSON.stringify(session));
    else sessionStorage.removeItem(key);
    if (!session) start();
  },
});

function stored(): { session?: Session } {
  const text = sessionStorage.getItem(key);
  return text ? { session: JSON.parse(text) as Session } : {};
}

/** Ends what is shown. */
let leave = async (): Promise<void> => {};

function start(): void {
  void leave();
  leave = async () => {};
  if (rc.session) work(rc.session);
  else login();
}

function login(): void {
  const error = h("p", { class: "error", testid: "message" });
  const username = h("input", { id: "username", testid: "username", name: "username", value: "demo1", required: true, autocomplete: "username" });
  const password = h("input", {
    id: "password",
    testid: "password",
    name: "password",
    type: "password",
    value: "welcome",
    required: true,
    autocomplete: "current-password",
  });
  const form = h(
    "form",
    {
      testid: "login",
      async onsubmit(event: Event) {
        event.preventDefault();
        await rc.login({ username: username.value, pwd: password.value }).then(start, complain);
      },
    },
    h("h1", {}, "Rowcall editor"),
    username,
    password,
    h("button", { class: "main", testid: "log-in" }, "Log in"),
    error,
    h("small", {}, "Open a second window as demo2. The password of the demo's users is welcome."),
  );
  document.body.replaceChildren(h("div", { class: "login" }, form));
}

function work({ user, tenant }: Session): void {
  const place = h("main", { class: "place", style: "display: grid; min-width: 0; min-height: 0" });
  const list = documentList(rc, user.id);
  document.body.replaceChildren(
    h(
      "div",
      { class: "app" },
      h(
        "header",
        { class: "top" },
        h("h1", {}, "Rowcall editor"),
        h("span", { class: "error", testid: "message" }),
        h("span", { class: "me", testid: "me" }, `${user.name}, ${tenant.name}`),
        h("button", { testid: "log-off", onclick: () => rc.logoff().catch(complain) }, "Log off"),
      ),
      list.element,
      place,
    ),
  );
  let opened: { element: HTMLElement; close(): Promise<void> } | undefined;
  let shown: string | undefined;
  const show = async () => {
    const id = location.hash.slice(1);
    if (id === shown) return;
    shown = id;
    const last = opened;
    opened = undefined;
    await last?.close();
    complain("");
    list.mark(id);
    if (!id) return place.replaceChildren(h("p", { class: "nothing" }, "Open a document, or make one."));
    opened = openDocument(rc, { id, user, name: `${tenant.slug}/${user.id}/${id}` });
    place.replaceChildren(opened.element);
  };
  // One after another, as the end of a document takes a while: the last one that was asked for stays.
  let turn = Promise.resolve();
  const changed = () => void (turn = turn.then(show).catch(complain));
  window.addEventListener("hashchange", changed);
  changed();
  leave = async () => {
    window.removeEventListener("hashchange", changed);
    list.close();
    await turn;
    await opened?.close();
  };
}

start();
