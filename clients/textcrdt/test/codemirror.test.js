// Editors of CodeMirror 6 in jsdom, on sessions.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { JSDOM } from "jsdom";
import { WebSocket } from "ws";

import { DocumentSession } from "../dist/provider.js";
import { Fake, id, until } from "./fake.js";
import { randoms } from "./random.js";

let EditorState, EditorView, collaboration, redo, undo;
const dom = new JSDOM("<body></body>", { pretendToBeVisual: true });
before(async () => {
  // CodeMirror looks for the browser as it is loaded.
  const { window } = dom;
  globalThis.window = window;
  for (const name of ["document", "Window", "MutationObserver", "requestAnimationFrame", "cancelAnimationFrame"]) globalThis[name] = window[name];
  window.Range.prototype.getClientRects = () => [];
  ({ EditorState } = await import("@codemirror/state"));
  ({ EditorView } = await import("@codemirror/view"));
  ({ collaboration, redo, undo } = await import("../dist/codemirror.js"));
});
after(() => dom.window.close());

let fake;
let sessions;
let views;
beforeEach(async () => {
  fake = new Fake();
  [sessions, views] = [[], []];
  await fake.start();
});
afterEach(async () => {
  for (const view of views) view.destroy();
  await Promise.all(sessions.map((session) => session.close()));
  await fake.stop();
});

async function editor(session, options = {}) {
  if (!session) {
    session = new DocumentSession({ url: fake.url, id, WebSocket });
    sessions.push(session);
    await until(() => session.status === "online", session);
  }
  const view = new EditorView({ doc: session.doc.toString(), extensions: [collaboration(session, options)], parent: document.body });
  views.push(view);
  return { session, view, text: () => view.state.doc.sliceString(0, undefined, "\n") };
}

const agree =
  (...all) =>
  () =>
    all.every(({ session, text }) => session.saved && session.doc.toString() === fake.doc.toString() && text() === fake.doc.toString());
const type = ({ view }, text, userEvent = "input.type") => {
  for (const char of text) view.dispatch({ ...view.state.replaceSelection(char), userEvent });
};

test("what is done in one editor is done in the others", async () => {
  const [a, b] = [await editor(), await editor()];
  type(a, "one\ntwo 😀");
  await until(agree(a, b), a.session, b.session);
  assert.equal(b.text(), "one\ntwo 😀");
  // Several changes at once.
  b.view.dispatch({
    changes: [
      { from: 0, insert: ">" },
      { from: 3, to: 4, insert: "; " },
      { from: 7, to: 10 },
    ],
  });
  assert.equal(b.text(), ">one; two");
  await until(agree(a, b), a.session, b.session);
  assert.equal(a.text(), ">one; two");
  // Two editors on one session.
  const c = await editor(a.session);
  type(c, "!");
  assert.equal(a.text(), "!>one; two");
  await until(agree(a, b, c), a.session, b.session);
});

test("the selection stays where it is while others edit", async () => {
  const [a, b] = [await editor(), await editor()];
  type(a, "0123456789");
  await until(agree(a, b), a.session, b.session);
  a.view.dispatch({ selection: { anchor: 3, head: 6 } });
  b.view.dispatch({
    changes: [
      { from: 1, to: 2, insert: "abc" },
      { from: 5, insert: "x" },
    ],
  });
  await until(agree(a, b), a.session, b.session);
  const { from, to } = a.view.state.selection.main;
  assert.equal(a.text().slice(from, to), "34x5");
});

test("undo takes back one's own edits, step by step", async (t) => {
  const [a, b] = [await editor(), await editor()];
  type(a, "hello");
  a.view.dispatch({ selection: { anchor: 0 } });
  type(a, "> ");
  await until(agree(a, b), a.session, b.session);
  b.view.dispatch({ changes: { from: 4, to: 7, insert: "LL" } });
  await until(agree(a, b), a.session, b.session);
  assert.equal(a.text(), "> heLL");
  undo(a.view);
  assert.equal(a.text(), "heLL");
  undo(a.view);
  assert.equal(a.text(), "LL");
  undo(a.view);
  assert.equal(a.text(), "LL");
  redo(a.view);
  redo(a.view);
  assert.equal(a.text(), "> heLL");
  assert.equal(a.view.state.selection.main.head, 2);
  await until(agree(a, b), a.session, b.session);
  // A deletion is a step of its own, however soon it follows.
  a.view.dispatch({ changes: { from: 5, to: 6 }, userEvent: "delete.backward", selection: { anchor: 5 } });
  a.view.dispatch({ changes: { from: 4, to: 5 }, userEvent: "delete.backward" });
  assert.equal(a.text(), "> he");
  undo(a.view);
  assert.equal(a.text(), "> heLL");
  // What is composed is one step, whatever others do meanwhile, but not one with what was typed long before.
  const now = performance.now.bind(performance);
  let later = 0;
  t.mock.method(performance, "now", () => now() + later);
  type(a, "!");
  later = 1000;
  a.view.dispatch({ changes: { from: 7, insert: "n" }, userEvent: "input.type.compose" });
  later = 2000;
  b.view.dispatch({ changes: { from: 0, insert: "__" } });
  await until(agree(a, b), a.session, b.session);
  a.view.dispatch({ changes: { from: 9, to: 10, insert: "に" }, userEvent: "input.type.compose" });
  assert.equal(a.text(), "__> heLL!に");
  undo(a.view);
  assert.equal(a.text(), "__> heLL!");
});

test("the document gets lines that end with \\n, and no half characters", async () => {
  const [a, b] = [await editor(), await editor()];
  a.view.dispatch({ changes: { from: 0, insert: a.view.state.toText("one\r\ntwo\rthree\nx") } });
  await until(agree(a, b), a.session, b.session);
  assert.equal(b.text(), "one\ntwo\nthree\nx");
  a.view.dispatch({ changes: { from: 0, insert: "😀" } });
  a.view.dispatch({ changes: { from: 1, to: 2, insert: "\ude01" } });
  await until(agree(a, b), a.session, b.session);
  assert.match(b.text(), /^😁one/);
  a.view.dispatch({ changes: { from: 1, to: 2 } });
  await until(agree(a, b), a.session, b.session);
  assert.match(b.text(), /^\ufffdone/);
  // A document that others have given \r keeps it.
  b.session.replace(0, 1, "\r\n");
  await until(agree(a, b), a.session, b.session);
  assert.equal(a.text(), "\r\none\ntwo\nthree\nx");
  type(a, "y");
  assert.equal(a.session.doc.toString(), a.text());
});

test("the others' carets and selections are shown, and move with the text", async () => {
  const a = await editor(undefined, { name: "Ann", color: "#aa0000" });
  const b = await editor(undefined, { name: "<b>", color: "red; background: url(x)" });
  type(a, "hello world");
  await until(agree(a, b), a.session, b.session);
  a.view.dispatch({ selection: { anchor: 6, head: 11 } });
  b.view.dispatch({ selection: { anchor: 2 } });
  const carets = ({ view }) => [...view.dom.querySelectorAll(".cm-peerCaret")].map((caret) => caret.dataset.name);
  const selected = ({ view }) => [...view.dom.querySelectorAll(".cm-peerSelection")].map((mark) => mark.textContent.replaceAll("\u2060", ""));
  await until(() => selected(b)[0] === "world" && carets(a)[0] === "<b>", a.session, b.session);
  assert.deepEqual([carets(b), selected(a)], [["Ann"], []]);
  assert.match(a.view.dom.querySelector(".cm-peerCaret").getAttribute("style"), /^--peer: #[0-9a-f]{6};$/);
  b.view.dispatch({
    changes: [
      { from: 0, to: 6 },
      { from: 8, insert: "--" },
    ],
  });
  assert.deepEqual(selected(b), ["wo--rld"]);
  await until(agree(a, b), a.session, b.session);
  fake.notify("document_presence", { site: 99, user_id: 1, presence: { selection: { anchor: {}, head: "1" }, name: 7 } });
  await until(() => b.session.peers.size === 2, b.session);
  assert.deepEqual(carets(b), ["Ann"]);
  a.session.disconnect();
  b.session.disconnect();
  assert.deepEqual(carets(b), []);
});

test("who may not write cannot", async () => {
  const a = await editor();
  type(a, "text");
  await until(agree(a), a.session);
  fake.role = "reader";
  const b = await editor();
  assert.equal(b.view.state.readOnly, true);
  type(b, "x");
  undo(b.view);
  assert.equal(b.text(), "text");
  a.view.dispatch({ changes: { from: 0, insert: "x" } });
  await until(() => a.session.status === "failed", a.session);
  assert.equal(a.view.state.readOnly, true);
  type(a, "y");
  assert.equal(a.text(), "xtext");
});

for (let seed = 1; seed <= 3; seed++) {
  test("editors converge: " + seed, async () => {
    const random = randoms(seed);
    const all = [await editor(), await editor(), await editor()];
    for (let i = 0; i < 100; i++) {
      const { view, session } = all[random(3)];
      const { length } = view.state.doc;
      const places = Array.from({ length: 1 + random(3) }, () => random(length + 1)).sort((x, y) => x - y);
      const changes = places.map((from, k) => {
        const to = random(2) ? Math.min(from + random(5), places[k + 1] ?? length) : from;
        return { from, to, insert: ["", "a", "😀b", "\n", "\r\n", "xyz"][random(6)] };
      });
      view.dispatch({ changes, userEvent: ["input.type", "input.paste", "delete"][random(3)] });
      assert.equal(view.state.doc.sliceString(0, undefined, "\n"), session.doc.toString());
      if (random(8) === 0) undo(view);
      if (random(12) === 0) redo(view);
      if (random(20) === 0) session.disconnect();
      if (random(10) === 0) session.connect();
      if (random(4) === 0) await new Promise(setImmediate);
    }
    for (const { session } of all) session.connect();
    await until(agree(...all), ...all.map(({ session }) => session));
  });
}
