// Sessions, against a server that fails as it is told to.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { IDBFactory } from "fake-indexeddb";
import { WebSocket } from "ws";

import { decodeOps, Doc } from "../dist/index.js";
import { DocumentSession, openIndexedDB, SessionError } from "../dist/provider.js";
import { Fake, id, memory, refusal, until } from "./fake.js";
import { randomEdit, randoms } from "./random.js";

let fake;
let sessions;
beforeEach(async () => {
  fake = new Fake();
  sessions = [];
  await fake.start();
});
afterEach(async () => {
  await Promise.all(sessions.map((session) => session.close()));
  await fake.stop();
});

function open(options = {}) {
  const session = new DocumentSession({ url: fake.url, id, WebSocket, ...options });
  sessions.push(session);
  return session;
}

async function opened(options) {
  const session = open(options);
  await until(() => session.status === "online", session);
  return session;
}

const same = (...all) => all.every((s) => s.saved && s.doc.toString() === fake.doc.toString());
const pushes = () =>
  fake.calls.filter(({ method }) => method === "push_document_operations").map(({ params }) => decodeOps(Buffer.from(params.operations, "base64")));

test("what one does comes to the others", async () => {
  const a = await opened();
  a.replace(0, 0, "hello");
  await until(() => same(a), a);
  fake.compact();
  a.replace(5, 0, " world");
  await until(() => same(a), a);
  const b = await opened();
  assert.equal(b.doc.toString(), "hello world");
  assert.equal(b.document.title, "main.go");
  const seen = [];
  a.on("change", (changes, by) => seen.push({ changes, by }));
  b.replace(0, 5, "Bye,", "me");
  await until(() => same(a, b), a, b);
  assert.equal(a.doc.toString(), "Bye, world");
  assert.ok(seen.every(({ by }) => by === undefined));
  assert.deepEqual(a.doc.snapshot(), b.doc.snapshot());
  assert.notEqual(a.doc.site, b.doc.site);
});

test("a document is opened page by page", async () => {
  const a = await opened();
  for (const word of ["one ", "two ", "three "]) {
    a.replace(0, 0, word);
    await until(() => same(a), a);
  }
  fake.page = 1;
  assert.equal((await opened()).doc.toString(), "three two one ");
});

test("one push is under way at most, and what is typed meanwhile is one run", async () => {
  const a = await opened();
  let answer;
  fake.before = (method) => (method === "push_document_operations" ? new Promise((resolve) => (answer = resolve)) : undefined);
  a.replace(0, 0, "a");
  while (!answer) await new Promise(setImmediate);
  for (const letter of "bcdef") a.replace(a.doc.length, 0, letter);
  a.replace(5, 1, "");
  a.replace(4, 1, "");
  fake.before = () => undefined;
  answer();
  await until(() => same(a), a);
  assert.deepEqual(
    pushes().map((ops) => ops.map((op) => op.text ?? op.n)),
    [["a"], ["bcdef", 2]],
  );
});

test("offline and back: nothing is lost and nothing comes twice", async () => {
  const [a, b] = [await opened(), await opened()];
  a.replace(0, 0, "one two three");
  await until(() => same(a, b) && b.doc.length === 13, a, b);
  const { site } = a.doc;
  a.disconnect();
  assert.equal(a.status, "offline");
  a.replace(4, 3, "2");
  b.replace(13, 0, " four");
  await until(() => same(b), b);
  assert.equal(a.saved, false);
  a.connect();
  await until(() => same(a, b) && b.doc.length === 16, a, b);
  assert.equal(b.doc.toString(), "one 2 three four");
  assert.equal(a.doc.site, site);
  assert.deepEqual(a.doc.snapshot(), b.doc.snapshot());
});

test("an answer that is lost is asked for again", async () => {
  const a = await opened();
  fake.after = (method) => {
    if (method !== "push_document_operations") return undefined;
    fake.after = () => undefined;
    return "cut";
  };
  a.replace(0, 0, "hello");
  a.replace(0, 2, "");
  await until(() => a.status === "offline", a);
  a.replace(3, 0, "!");
  await until(() => same(a), a);
  assert.equal(fake.doc.toString(), "llo!");
  assert.equal(pushes().length, 2);
});

test("what is missing is asked for", async () => {
  const [a, b] = [await opened(), await opened()];
  let lose = true;
  fake.sending = (message) => (message.method === "document_operations" && lose ? undefined : message);
  a.replace(0, 0, "one");
  await until(() => a.saved, a);
  lose = false;
  a.replace(3, 0, " two");
  await until(() => same(a, b) && b.doc.length === 7, a, b);
  assert.ok(fake.calls.filter(({ method }) => method === "open_document").length >= 3);
});

test("a paste of 1 MB goes in parts that the server takes", async () => {
  const [a, b] = [await opened(), await opened()];
  a.replace(0, 0, "ü😀 and more\n".repeat(80_000));
  await until(() => same(a, b) && b.doc.length === a.doc.length, a, b);
  const sizes = fake.calls.filter(({ method }) => method === "push_document_operations").map(({ params }) => (params.operations.length / 4) * 3);
  assert.ok(sizes.length > 4 && sizes.every((size) => size <= 256 << 10), String(sizes));
});

for (const [name, fail, reason] of [
  ["who may no longer write", () => ((fake.role = "reader"), sessions[0].replace(0, 0, "x")), "forbidden"],
  [
    "operations that are not taken",
    () => ((fake.before = (m) => (m === "push_document_operations" ? refusal("VALIDATION") : undefined)), sessions[0].replace(0, 0, "x")),
    "refused",
  ],
  ["a document that is deleted", () => fake.notify("document_closed", { reason: "deleted" }), "deleted"],
  ["a member who is one no longer", () => fake.notify("document_closed", { reason: "forbidden" }), "forbidden"],
  ["a document that is gone", () => ((fake.before = (m) => (m === "open_document" ? refusal("NOT_FOUND") : undefined)), fake.cut()), "deleted"],
  ["a login that has ended", () => ((fake.before = () => refusal("UNAUTHENTICATED")), fake.cut()), "unauthenticated"],
  ["a server that has lost what it had", () => ((fake.log = []), fake.cut()), "diverged"],
  [
    "a server that has forgotten the site",
    () => ((fake.before = (m, { site }) => (m === "open_document" && site ? refusal("FORBIDDEN") : undefined)), fake.cut()),
    "diverged",
  ],
  ["operations that cannot be", () => fake.notify("document_operations", { prev: 1, position: 2, operations: "AAAA" }), "diverged"],
]) {
  test("the end: " + name, async () => {
    const a = await opened();
    a.replace(0, 0, "a");
    await until(() => same(a), a);
    fail();
    await until(() => a.status === "failed", a);
    assert.ok(a.error instanceof SessionError);
    assert.equal(a.error.reason, reason);
    assert.throws(() => a.replace(0, 0, "x"));
    assert.match(a.doc.toString(), /a$/);
  });
}

test("a document that cannot be opened is never ready", async () => {
  fake.before = (method) => (method === "open_document" ? refusal("NOT_FOUND") : undefined);
  await assert.rejects(open().ready(), { reason: "deleted" });
});

test("what the server only has too much of is tried again", async () => {
  const a = await opened();
  let times = 0;
  fake.before = (method) =>
    method === "push_document_operations" && ++times <= 2 ? refusal(times === 1 ? "RATE_LIMITED" : "UNAVAILABLE", { retry_after_ms: 1 }) : undefined;
  a.replace(0, 0, "a");
  await until(() => same(a), a);
  assert.equal(times, 3);
});

test("each connection has a token of its own", async () => {
  let n = 0;
  const a = await opened({ token: async () => "token " + ++n });
  fake.cut();
  await until(() => a.status === "offline", a);
  await until(() => a.status === "online", a);
  assert.deepEqual(
    fake.calls.filter(({ method }) => method === "authenticate").map(({ params }) => params.token),
    ["token 1", "token 2"],
  );
});

test("readers read", async () => {
  const a = await opened();
  a.replace(0, 0, "text");
  await until(() => same(a), a);
  fake.role = "reader";
  const b = await opened();
  assert.equal(b.readOnly, true);
  assert.equal(b.doc.toString(), "text");
  assert.throws(() => b.replace(0, 0, "x"));
});

test("everybody is told where the others are", async () => {
  const [a, b] = [await opened(), await opened()];
  a.present({ name: "never sent" });
  a.present({ name: "Ann", color: "#a00", selection: { anchor: "0.0a", head: "0.0b" } });
  await until(() => b.peers.size === 1, b);
  assert.deepEqual(b.peers.get(a.doc.site).presence, { name: "Ann", color: "#a00", selection: { anchor: "0.0a", head: "0.0b" } });
  const c = await opened();
  assert.equal(c.peers.size, 1);
  assert.equal(a.peers.size, 0);
  b.disconnect();
  assert.equal(b.peers.size, 0);
  a.present(undefined);
  await until(() => c.peers.size === 0, c);
  a.present({ name: "Ann" });
  await until(() => c.peers.size === 1, c);
  await a.close();
  await until(() => c.peers.size === 0, c);
});

for (let seed = 1; seed <= 6; seed++) {
  test("sessions converge, whatever becomes of their connections: " + seed, async () => {
    const random = randoms(seed);
    const all = await Promise.all([opened(), opened(), opened()]);
    for (let i = 0; i < 150; i++) {
      const session = all[random(3)];
      const { pos, deleted, inserted } = randomEdit(random, session.doc.toString(), 10);
      session.replace(pos, deleted, inserted);
      const chance = random(30);
      if (chance === 0) fake.cut();
      if (chance === 1) session.disconnect();
      if (chance === 2) fake.after = (method) => (method === "push_document_operations" && random(2) === 0 ? "cut" : undefined);
      if (chance === 3) fake.sending = (message) => (random(4) === 0 ? undefined : message);
      if (chance < 8) await new Promise(setImmediate);
      if (chance === 4) session.connect();
    }
    fake.after = () => undefined;
    fake.sending = (message) => message;
    fake.cut();
    for (const session of all) session.connect();
    const snapshot = () => Buffer.from(fake.doc.snapshot());
    await until(() => all.every((s) => s.saved && snapshot().equals(s.doc.snapshot())), ...all);
  });
}

test("a page that was closed goes on without the server", async (t) => {
  globalThis.indexedDB = new IDBFactory();
  const held = new Map();
  // Node has no locks, which the pages of an origin share.
  const locks = {
    async request(name, { signal }, use) {
      const aborted = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      aborted.catch(() => {}); // later than that it matters no more
      while (held.has(name)) await Promise.race([held.get(name), aborted]);
      const using = use({});
      held.set(name, using);
      await using;
      held.delete(name);
    },
  };
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  t.after(() => {
    delete globalThis.indexedDB;
    delete globalThis.navigator;
  });

  // What cannot be opened, as it is of a later version, is not held.
  const done = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
  (await done(indexedDB.open("rowcall-textcrdt x", 2))).close();
  await assert.rejects(openIndexedDB("x"), { name: "VersionError" });
  await done(indexedDB.deleteDatabase("rowcall-textcrdt x"));

  let a = await opened({ store: await openIndexedDB("x") });
  a.replace(0, 0, "one");
  await until(() => same(a), a);
  assert.equal(await openIndexedDB("x"), undefined); // another page has it
  const { site } = a.doc;
  const port = fake.port;
  await fake.stop();
  await until(() => a.status === "offline", a);
  a.replace(3, 0, " two");
  const next = openIndexedDB("x"); // while it is being closed
  await a.close();

  a = open({ store: await next });
  await a.ready();
  assert.deepEqual([a.doc.toString(), a.status, a.saved, a.doc.site], ["one two", "offline", false, site]);
  a.replace(7, 0, " three");
  await a.close();

  a = open({ store: await openIndexedDB("x") });
  await a.ready();
  assert.equal(a.doc.toString(), "one two three");
  await fake.start(port);
  await until(() => a.status === "online" && same(a), a);
  assert.equal(fake.doc.toString(), "one two three");
  assert.equal(a.doc.site, site);
});

test("the network's end is heard of at once, and the page's", async (t) => {
  const page = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) {
    globalThis[name] = page[name].bind(page);
    t.after(() => delete globalThis[name]);
  }
  const kept = [];
  let writing = Promise.resolve();
  const keep = (...what) => (kept.push(...what), writing);
  const store = { load: async () => undefined, save: keep, append: (entries) => keep(...entries), close() {} };
  const a = await opened({ store });
  const b = await opened();
  page.dispatchEvent(new Event("offline"));
  await until(() => a.status === "offline", a);
  await until(() => a.status === "online", a);
  a.present({ name: "Ann" });
  await until(() => b.peers.size === 1, b);
  a.replace(0, 0, "sent ");
  await until(() => same(a), a);
  page.dispatchEvent(new Event("pagehide"));
  await until(() => b.peers.size === 0, b);
  a.disconnect();
  a.replace(5, 0, "unsent");
  const before = kept.length;
  let written;
  writing = new Promise((resolve) => (written = resolve));
  page.dispatchEvent(new Event("pagehide"));
  assert.equal(kept.length, before + 1);
  a.replace(0, 0, "while that is written ");
  page.dispatchEvent(new Event("pagehide"));
  assert.equal(kept.length, before + 2);
  written();
});

test("what is done is stored at once, and what is done while that is written, next", async () => {
  const events = [];
  let written = () => {};
  const write = (what) => {
    events.push(what);
    return new Promise((resolve) => (written = resolve));
  };
  const texts = (entries) => entries.flatMap(({ operations }) => decodeOps(operations).map(({ text }) => text));
  const store = { load: async () => undefined, save: () => write("state"), append: (entries) => write(texts(entries)), close() {} };
  const a = await opened({ store });
  a.disconnect();
  const type = async (letter) => {
    a.replace(a.doc.length, 0, letter);
    await new Promise(setImmediate);
  };
  const finish = async () => {
    events.push("written");
    written();
    await new Promise(setImmediate);
  };
  await type("a");
  await type("b");
  await finish();
  await type("c");
  await type("d");
  await finish();
  await finish();
  await type("e");
  store.save = store.append = async () => {}; // or the session would not close
  await finish();
  assert.deepEqual(events, ["state", "written", ["ab"], "written", ["cd"], "written", ["e"], "written"]);
});

test("a page that dies forgets nothing that it has sent", async () => {
  const store = memory();
  const a = await opened({ store });
  a.replace(0, 0, "one");
  await until(() => same(a), a);
  const b = await opened();
  let copy;
  fake.after = (method) => {
    if (method !== "push_document_operations") return undefined;
    copy = store.copy();
    fake.after = () => undefined;
    a.disconnect();
    return "cut";
  };
  a.replace(3, 0, " two");
  await until(() => copy, b);
  b.replace(0, 0, "zero ");
  await until(() => same(b), b);

  const back = open({ store: copy, url: "ws://127.0.0.1:1" });
  await back.ready();
  assert.deepEqual([back.doc.toString(), back.doc.site], ["one two", a.doc.site]);
  back.replace(7, 0, " three");
  await back.close();
  const again = open({ store: copy });
  await until(() => again.status === "online" && same(again), again);
  assert.equal(fake.doc.toString(), "zero one two three");
});

test("what the server has is known after a restart, too", async () => {
  const store = memory();
  const a = await opened({ store });
  a.replace(0, 0, "one");
  await until(() => same(a), a);
  await a.close();
  const b = open({ store: store.copy(), url: "ws://127.0.0.1:1" });
  await b.ready();
  assert.deepEqual([b.doc.toString(), b.saved], ["one", true]);
});

test("who has diverged begins anew, and keeps the text", async () => {
  const store = memory();
  const a = await opened({ store });
  a.replace(0, 0, "before the backup");
  await until(() => same(a), a);
  const backup = { log: [...fake.log], doc: Doc.load(fake.doc.snapshot()) };
  a.replace(0, 0, "after it, and ");
  await until(() => same(a), a);
  await assert.rejects(a.discard(), /has not failed/);
  Object.assign(fake, backup);
  fake.cut();
  a.replace(0, 0, "unsent, ");
  await until(() => a.status === "failed", a);
  const again = open({ store: store.copy() });
  await until(() => again.status === "failed", again);
  assert.equal(again.error.reason, "diverged");
  assert.equal(await again.discard(), "unsent, after it, and before the backup");
  assert.equal(again.status, "closed");

  assert.equal(await a.discard(), "unsent, after it, and before the backup");
  const b = await opened({ store });
  assert.equal(b.doc.toString(), "before the backup");
  b.replace(0, 0, "now ");
  await until(() => same(b), b);
  assert.notEqual(b.doc.site, a.doc.site);
});

test("a store that fails ends the session, and one that cannot be read is begun anew", async () => {
  const store = memory();
  const a = await opened({ store });
  store.append = store.save = () => Promise.reject(new Error("full"));
  a.replace(0, 0, "x");
  await until(() => a.status === "failed", a);
  assert.equal(a.error.reason, "store");
  assert.equal(pushes().length, 0);

  const bad = memory({ site: 1, session: 1, snapshot: new Uint8Array(9), pending: new Uint8Array(), position: 3, opened: {} });
  const b = await opened({ store: bad });
  b.replace(0, 0, "y");
  await until(() => same(b), b);
  assert.notEqual(b.doc.site, 1);
});
