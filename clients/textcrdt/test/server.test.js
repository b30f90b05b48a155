// Sessions against the real server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";

import { startRowcall } from "../../ts/test/server.js";
import { DocumentSession } from "../dist/provider.js";
import { memory, until } from "./fake.js";

let server;
let one, two;
before(async () => {
  server = await startRowcall({ ROWCALL_TOKEN_TTL: "3s" });
  [one, two] = await Promise.all(["demo1", "demo2"].map(login));
});
after(() => server.stop());

async function post(path, body, token) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: "Bearer " + token }) };
  const response = await fetch(server.url + path, { method: "POST", headers, body: JSON.stringify(body) });
  const { result, error } = await response.json();
  assert.equal(error, undefined, JSON.stringify(error));
  return result;
}

/** A user, who has a new token for each connection. */
async function login(username) {
  let session = await post("/api/login", { username, pwd: "welcome" });
  let renewing;
  const token = () => {
    renewing ??= post("/api/refresh", { refresh_token: session.refresh_token }).then((next) => {
      session = next;
      renewing = undefined;
      return next.token;
    });
    return renewing;
  };
  const call = async (method, params) => (await post("/api/rpc", { id: 1, method, params }, await token())).data;
  return { id: session.user.id, token, call };
}

async function newDocument(text, role = "editor") {
  const { id } = await one.call("create_document", { data: { title: "main.go" }, text });
  const member = await one.call("create_document_member", { data: { document_id: id, user_id: two.id, role } });
  return { id, member };
}

async function open(t, user, id, options = {}) {
  const session = new DocumentSession({ url: server.url.replace("http", "ws") + "/api/rpc", id, token: user.token, WebSocket, ...options });
  t.after(() => session.close());
  await until(() => session.status === "online", session);
  return session;
}

const same = (...all) => all.every((s) => s.saved && s.doc.toString() === all[0].doc.toString());

test("two edit one document, with offline and back", async (t) => {
  const { id } = await newDocument("package main\n");
  const [a, b] = await Promise.all([open(t, one, id), open(t, two, id)]);
  assert.equal(a.doc.toString(), "package main\n");
  a.replace(13, 0, "\nfunc main() {}\n");
  await until(() => same(a, b) && b.doc.length === 29, a, b);
  a.present({ name: "Ann", color: "#a00", selection: { anchor: "0.0a", head: "0.0b" } });
  await until(() => b.peers.size === 1, b);
  assert.deepEqual([...b.peers.values()][0].presence, { name: "Ann", color: "#a00", selection: { anchor: "0.0a", head: "0.0b" } });
  const { site } = a.doc;
  a.disconnect();
  await until(() => b.peers.size === 0, b);
  a.replace(0, 7, "PACKAGE");
  b.replace(29, 0, "// 😀\n");
  await until(() => b.saved, b);
  a.connect();
  await until(() => same(a, b) && a.doc.length === 35, a, b);
  assert.equal(b.doc.toString(), "PACKAGE main\n\nfunc main() {}\n// 😀\n");
  assert.equal(a.doc.site, site);
  assert.deepEqual(a.doc.snapshot(), b.doc.snapshot());
  assert.equal((await two.call("get_document_text", { id })).text, b.doc.toString());
  // What comes without the library is an edit like others.
  await one.call("edit_document", { id, edits: [{ at: 0, delete: 7, insert: "package" }] });
  await until(() => same(a, b) && a.doc.toString().startsWith("package"), a, b);
});

test("a connection goes on with newer tokens", async (t) => {
  const { id } = await newDocument("");
  const a = await open(t, one, id);
  const statuses = [];
  a.on("status", () => statuses.push(a.status));
  const end = Date.now() + 7000; // two tokens' lives
  while (Date.now() < end) {
    a.replace(0, 0, "x");
    await until(() => a.saved, a);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  assert.deepEqual(
    statuses.filter((status) => status !== "online"),
    [],
  );
});

test("a paste of 1 MB arrives, and a page that comes later opens it", async (t) => {
  const { id } = await newDocument("");
  const [a, b] = await Promise.all([open(t, one, id), open(t, two, id)]);
  a.replace(0, 0, "one line of many, that is pasted 😀\n".repeat(28_000));
  await until(() => same(a, b) && b.doc.length === a.doc.length, a, b);
  const c = await open(t, two, id);
  assert.deepEqual(c.doc.snapshot(), a.doc.snapshot());
});

test("the end, for who is a member no longer, and of the document", async (t) => {
  const { id, member } = await newDocument("x", "reader");
  const [a, b] = await Promise.all([open(t, one, id), open(t, two, id)]);
  assert.equal(b.readOnly, true);
  await one.call("delete_document_member", { id: member.id });
  await until(() => b.status === "failed", b);
  assert.equal(b.error.reason, "forbidden");
  await one.call("delete_document", { id });
  await until(() => a.status === "failed", a);
  assert.equal(a.error.reason, "deleted");
  const c = new DocumentSession({ url: server.url.replace("http", "ws") + "/api/rpc", id, token: two.token, WebSocket });
  await assert.rejects(c.ready(), { reason: "deleted" });
});

test("who may no longer write is told", async (t) => {
  const { id, member } = await newDocument("x");
  const b = await open(t, two, id);
  await one.call("update_document_member", { id: member.id, data: { role: "commenter" } });
  b.replace(0, 0, "y");
  await until(() => b.status === "failed" || b.readOnly, b);
  assert.equal((await one.call("get_document_text", { id })).text, "x");
});

test("who has a site that the server does not know begins anew, and keeps the text", async (t) => {
  const { id } = await newDocument("x");
  const store = memory();
  const b = await open(t, two, id, { store });
  b.disconnect();
  b.replace(0, 0, "y");
  await b.close();
  // The site is another user's, as it may be after a restore from a backup.
  const options = { url: server.url.replace("http", "ws") + "/api/rpc", id, token: one.token, WebSocket, store };
  const lost = new DocumentSession(options);
  await until(() => lost.status === "failed", lost);
  assert.equal(lost.error.reason, "diverged");
  assert.equal(await lost.discard(), "yx");
  const a = await open(t, one, id, { store });
  a.replace(0, 0, "z");
  await until(() => a.saved, a);
  assert.equal((await one.call("get_document_text", { id })).text, "zx");
});
