// The page, in Chromium, on real servers.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Rowcall } from "../../../clients/ts/dist/index.js";
import { startRowcall } from "../../../clients/ts/test/server.js";
import { startBrowser, startEditor, Window } from "./window.js";

let server;
let editor;
let browser;
let owner;
before(async () => {
  [server, browser] = await Promise.all([startRowcall(), startBrowser()]);
  editor = await startEditor(server.url);
  owner = new Rowcall({ url: server.url });
  await owner.login({ username: "demo1", pwd: "welcome" });
});
after(async () => {
  await browser.close();
  await editor.stop();
  await server.stop();
});

/** Opens a new document of demo1's in windows of demo1 and demo2. */
async function together(t, text, role = "editor") {
  const { data: document } = await owner.create_document({ data: { title: t.name.slice(0, 40) + ".md" }, text });
  const { data: users } = await owner.list_users({ filters: { username: "demo2" } });
  await owner.create_document_member({ data: { document_id: document.id, user_id: users[0].id, role } });
  const [a, b] = await Promise.all(["demo1", "demo2"].map((user) => open(t, user, document.id)));
  return { a, b, id: document.id };
}

async function open(t, username, id, context) {
  const window = await Window.open(browser, editor.url, username, context);
  t.after(async () => {
    await window.close();
    assert.deepEqual(window.errors, []);
  });
  if (id) await window.show(id);
  return window;
}

/** Does something while there is no server, which the signal has ended. */
async function down(signal, work) {
  await server.end(signal);
  try {
    await work();
  } finally {
    await server.start();
  }
}

/** Waits until the windows have sent all they have, and then until each has what the server has. */
async function agree(id, ...windows) {
  await Promise.all(windows.map((window) => window.saved()));
  const { data } = await owner.get_document_text({ id });
  await Promise.all(windows.map((window) => window.has(data.text)));
  return data.text;
}

test("two make a document and type in it, at the same time and place", async (t) => {
  const [a, b] = await Promise.all(["demo1", "demo2"].map((user) => open(t, user)));
  await a.the("new-title").fill("minutes.md");
  await a.the("create").click();
  await a.status("online");
  await a.the("share").selectOption({ label: "demo2" });
  await b.the("document").filter({ hasText: "minutes.md" }).click();
  await b.status("online");
  const id = new URL(a.page.url()).hash.slice(1);
  await a.type("Minutes\n\n");
  await b.has("Minutes\n\n");
  await Promise.all([a.type("one from the first", 9), b.type("two from the second", 9)]);
  const text = await agree(id, a, b);
  assert.ok(["Minutes\n\none from the firsttwo from the second", "Minutes\n\ntwo from the secondone from the first"].includes(text), text);
});

test("each sees where the other is", async (t) => {
  const { a, b } = await together(t, "first line\nsecond line\n");
  await a.select(5);
  await b.caret("Demo One", 5);
  await b.select(0);
  await b.type(">> ");
  await b.caret("Demo One", 8);
  await a.caret("Demo Two", 3);
  assert.equal(await a.page.locator(".cm-peerCaret").evaluate((caret) => getComputedStyle(caret, "::after").content), '"Demo Two"');
  await a.select(14, 20);
  await b.page.locator(".cm-peerSelection", { hasText: "second" }).waitFor();
  assert.equal(await b.the("peer").getAttribute("title"), "Demo One");
  await a.page.close();
  await b.the("peer").waitFor({ state: "detached" });
  await b.page.locator(".cm-peerCaret, .cm-peerSelection").waitFor({ state: "detached" });
});

test("a comment stays at its text", async (t) => {
  const { a, b } = await together(t, "one two three\n");
  await a.select(4, 7);
  await a.the("comment-body").fill("Why two?");
  await a.the("comment").click();
  await b.the("comment-item").filter({ hasText: "Why two?" }).waitFor();
  const resolve = await b.the("resolve").elementHandle();
  await a.type("zero ", 0);
  await a.type("--", 10);
  await b.the("quote").getByText("t--wo", { exact: true }).waitFor();
  await resolve.click(); // it is still the same button
  await a.the("comment-item").waitFor({ state: "detached" });
});

test("undo takes back one's own", async (t) => {
  const { a, b, id } = await together(t, "shared ");
  await a.type("mine", 7);
  await b.has("shared mine");
  await b.type("yours ", 7);
  await b.type("!", 17);
  await a.has("shared yours mine!");
  await a.press("Control+z");
  assert.equal(await a.text(), "shared yours !");
  await a.press("Control+z");
  assert.equal(await agree(id, a, b), "shared yours !");
  await a.press("Control+y");
  assert.equal(await agree(id, a, b), "shared yours mine!");
  await b.press("Control+z", "Control+z");
  assert.equal(await agree(id, a, b), "shared mine");
});

for (const [by, leave, come] of [
  ["the page's switch", (window) => window.the("offline").check(), (window) => window.the("offline").uncheck()],
  ["the network", (window) => window.context.setOffline(true), (window) => window.context.setOffline(false)],
]) {
  test("nothing is lost of what is done offline, by " + by, async (t) => {
    const { a, b, id } = await together(t, "one\ntwo\nthree\n");
    await leave(a);
    await a.status("offline");
    await a.type("A", 0);
    await a.type("offline ", 5);
    await a.select(17, 18);
    await a.press("Delete");
    await b.type("online ", 4);
    await b.type("B", 0);
    await b.saved();
    assert.equal(await a.text(), "Aone\noffline two\nhree\n");
    assert.equal(await b.text(), "Bone\nonline two\nthree\n");
    await come(a);
    await a.status("online");
    assert.match(await agree(id, a, b), /^(AB|BA)one\n(offline online|online offline) two\nhree\n$/);
  });
}

test("a window that is closed offline still has its edits", async (t) => {
  const { a, b, id } = await together(t, "before\n");
  await a.the("offline").check();
  await a.type("unsent ", 0);
  await a.page.close();
  await b.type("after\n", 7);
  await b.saved();
  const again = await open(t, "demo1", id, a.context);
  assert.equal(await agree(id, again, b), "unsent before\nafter\n");
  // And it goes on as it was.
  await again.type("more ", 0);
  await again.page.reload();
  await again.status("online");
  assert.equal(await agree(id, again, b), "more unsent before\nafter\n");
});

test("a window that dies offline still has its edits", async (t) => {
  const { a, b, id } = await together(t, "before\n");
  await a.the("offline").check();
  await a.select(0);
  await a.stored();
  await a.insert("unsent ");
  await a.crash();
  const again = await open(t, "demo1", id, a.context);
  assert.equal(await agree(id, again, b), "unsent before\n");
});

test("a window that is opened while another one is closed has its edits", async (t) => {
  const { a, b, id } = await together(t, "before\n");
  const next = await open(t, "demo1", undefined, a.context);
  await a.the("offline").check();
  await a.type("unsent ", 0);
  await a.page.evaluate(() => probe.lingerOnClose(300));
  await Promise.all([a.page.close(), next.show(id)]);
  assert.equal(await agree(id, next, b), "unsent before\n");
});

test("who goes from document to document is at the last one", async (t) => {
  const ids = await Promise.all(
    ["first", "second", "third"].map(async (text) => (await owner.create_document({ data: { title: text + ".md" }, text })).data.id),
  );
  const a = await open(t, "demo1", ids[0]);
  await a.page.evaluate(async ([, second, third]) => {
    const changed = new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
    location.hash = second;
    await changed;
    location.hash = third;
  }, ids);
  await a.has("third");
  await a.status("online");
  await a.type("the ", 0);
  assert.equal(await agree(ids[2], a), "the third");
});

test("a megabyte can be pasted", async (t) => {
  const { a, b, id } = await together(t, "end");
  const text = Array.from({ length: 30_000 }, (_, i) => `${i} of the lines that were pasted\r\n\r\n`).join("").slice(0, 1 << 20);
  await a.paste(text, 0);
  await b.type("THE ", 0);
  const got = await agree(id, a, b);
  assert.ok(got.replace("THE ", "") === text.replaceAll("\r\n", "\n") + "end", "it is another text");
  await b.page.reload();
  await b.status("online");
  await b.has(got);
});

test("characters of any kind, composed or not", async (t) => {
  const { a, b, id } = await together(t, "[]");
  await a.type("😀👩‍👩‍👧🇺🇳é", 1);
  await b.has("[😀👩‍👩‍👧🇺🇳é]");
  await b.type("x", 3);
  assert.equal(await agree(id, a, b), "[😀x👩‍👩‍👧🇺🇳é]");
  await a.press("Backspace", "Backspace", "Backspace");
  assert.equal(await agree(id, a, b), "[😀x]");
  const keyboard = await a.context.newCDPSession(a.page);
  const compose = (text) => keyboard.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
  await compose("k");
  await compose("か");
  await b.has("[😀xか]");
  await b.type("while that goes on ", 0);
  await a.has("while that goes on [😀xか]");
  await compose("かん");
  await compose("漢");
  await keyboard.send("Input.insertText", { text: "漢" });
  assert.equal(await agree(id, a, b), "while that goes on [😀x漢]");
  await a.type("字");
  assert.equal(await agree(id, a, b), "while that goes on [😀x漢字]");
});

test("a reader sees all, and cannot type", async (t) => {
  const { a, b, id } = await together(t, "text\n", "reader");
  await b.the("status").filter({ hasText: "read only" }).waitFor();
  await b.type("nothing", 0);
  await b.press("Enter", "Delete", "Control+z");
  await b.paste("nothing", 0);
  await a.type("more ", 0);
  assert.equal(await agree(id, a, b), "more text\n");
});

test("a text that is restored changes in all windows", async (t) => {
  const { a, b, id } = await together(t, "first\n");
  const { data: version } = await owner.create_document_version({ data: { document_id: id, name: "the first" } });
  await Promise.all([a.type("one ", 0), b.type("two ", 5)]);
  await agree(id, a, b);
  await owner.restore_document({ id, version_id: version.id });
  await Promise.all([a.has("first\n"), b.has("first\n")]);
  await a.type("still ", 0);
  assert.equal(await agree(id, a, b), "still first\n");
});

test("windows go on when the server comes back", async (t) => {
  const { a, b, id } = await together(t, "");
  const typed = (name, i) => Array.from({ length: 30 }, (_, n) => `${name}${i}${n} `).join("");
  for (const [i, signal] of ["SIGTERM", "SIGKILL"].entries()) {
    const typing = Promise.all([a.type(typed("a", i)), b.type(typed("b", i))]);
    await b.contains(`a${i}5 `);
    await down(signal, async () => {
      await typing;
      await Promise.all([a.status("offline"), b.status("offline")]);
    });
    await Promise.all([a.status("online"), b.status("online")]);
    const text = await agree(id, a, b);
    for (const name of ["a", "b"]) assert.equal(text.match(new RegExp(`${name}${i}\\d+ `, "g")).join(""), typed(name, i));
  }
});

test("a page that is loaded without the server has its text", async (t) => {
  const { a, b, id } = await together(t, "kept\n");
  await a.type("all ", 0);
  await agree(id, a, b);
  await down("SIGKILL", async () => {
    const refusal = await b.page.evaluate(async () => (await fetch("/api/refresh", { method: "POST" })).json());
    assert.equal(refusal.error.data.kind, "UNAVAILABLE"); // or the window would think that its login is spent
    await a.page.reload();
    await a.has("all kept\n");
    await a.type("is ", 4);
    await b.type("!", 8);
  });
  assert.equal(await agree(id, a, b), "all is kept!\n");
  assert.equal(await a.the("message").textContent(), "");
});

test("a server that is killed has all that it has acknowledged", async (t) => {
  const { a, id } = await together(t, "");
  await a.page.evaluate(() => probe.noteSaved());
  const typing = a.type("0123456789".repeat(50));
  await a.page.waitForFunction(() => probe.saved.length > 100);
  let acknowledged;
  await down("SIGKILL", async () => {
    await typing;
    acknowledged = await a.page.evaluate(() => probe.saved);
    await a.close();
  });
  const { data } = await owner.get_document_text({ id });
  assert.ok(data.text.startsWith(acknowledged), `it has ${data.text.length} of the ${acknowledged.length} characters`);
});

test("who has more than a server that was restored begins anew, and keeps the text", async (t) => {
  const { a, b, id } = await together(t, "kept\n");
  await a.the("offline").check();
  await a.type("lost ", 0);
  await a.page.routeWebSocket("**/api/rpc", (page) => {
    const server = page.connectToServer();
    page.onMessage((message) => {
      const { id, method, params } = JSON.parse(message);
      const known = method === "open_document" && params.since !== undefined;
      const error = { code: 4100, message: "It is ahead", data: { kind: "RESYNC_REQUIRED", head: 0, request_id: "r" } };
      if (known) page.send(JSON.stringify({ jsonrpc: "2.0", id, error }));
      else server.send(message);
    });
  });
  await a.page.reload();
  await a.the("status").filter({ hasText: "stopped: diverged" }).waitFor();
  await a.the("begin-anew").click();
  await a.status("online");
  await a.has("kept\n");
  await a.type("still ", 0);
  assert.equal(await agree(id, a, b), "still kept\n");
  await a.the("document").filter({ hasText: "(copy)" }).click();
  await a.has("lost kept\n");
});
