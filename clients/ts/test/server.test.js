// The client against the real server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Rowcall, RowcallError } from "../dist/index.js";
import { startRowcall } from "./server.js";

const demo1 = { username: "demo1", pwd: "welcome" };
let server;
before(async () => (server = await startRowcall()));
after(() => server.stop());

async function loggedIn(options = {}) {
  const rc = new Rowcall({ url: server.url, ...options });
  await rc.login(demo1);
  return rc;
}

async function newProject(rc) {
  return (await rc.create_project({ data: { name: "project " + crypto.randomUUID() } })).data;
}

test("login, calls, logoff", async () => {
  const told = [];
  const rc = await loggedIn({ onSession: (session) => told.push(session?.user.username) });
  assert.equal(rc.session.tenant.slug, "demo");
  const project = await newProject(rc);
  const { data: made } = await rc.create_tasks({ data: ["a", "b", "c"].map((title) => ({ project_id: project.id, title })) });
  const { data, next_cursor, total } = await rc.list_tasks({
    filters: { project_id: project.id, title: { $in: ["a", "c"] } },
    list_options: { order_bys: "!title", total: true },
  });
  assert.deepEqual([data.map((task) => task.title), next_cursor, total], [["c", "a"], null, 2]);
  const { data: updated } = await rc.update_task({ id: made[0].id, version: 1, data: { done: true } });
  assert.deepEqual([updated.done, updated.version], [true, 2]);
  const rows = [];
  for await (const task of rc.rows("list_tasks", { filters: { project_id: project.id } })) rows.push(task.id);
  assert.deepEqual(rows, made.map((task) => task.id));
  await rc.logoff();
  await rc.logoff();
  assert.equal(rc.session, undefined);
  assert.deepEqual(told.slice(0, 2), ["demo1", undefined]);
  await assert.rejects(rc.list_tasks(), (error) => error.is("UNAUTHENTICATED") && error.status === 200);
});

test("errors have their kind and its data", async () => {
  const rc = await loggedIn();
  const { id } = await newProject(rc);
  await rc.update_project({ id, data: { name: "renamed " + id } });
  await assert.rejects(rc.update_project({ id, version: 1, data: { name: "x" } }), (error) => {
    assert.ok(error instanceof RowcallError && error.is("CONFLICT"));
    assert.equal(error.code, 4090);
    assert.equal(error.data.current.name, "renamed " + id);
    assert.match(error.requestId, /^[0-9a-f-]{36}$/);
    return true;
  });
  await assert.rejects(rc.call("list_tasks", { filters: { titel: "x" } }), (error) => {
    assert.ok(error.is("INVALID_PARAMS"));
    assert.equal(error.data.issues[0].path, "params.filters.titel");
    return error.data.issues[0].allowed.includes("title");
  });
  await assert.rejects(rc.login({ ...demo1, pwd: "wrong" }), (error) => error.is("UNAUTHENTICATED") && error.status === 401);
});

test("a batch has a result or an error for each call", async () => {
  const rc = await loggedIn();
  const { id } = await newProject(rc);
  const [project, missing, users] = await rc.batch((b) => [b.get_project({ id }), b.get_task({ id: 1 }), b.list_users()]);
  assert.equal(project.data.id, id);
  assert.ok(missing instanceof RowcallError && missing.is("NOT_FOUND") && missing.data.entity === "task");
  assert.ok(users.data.some((user) => user.username === "demo2"));
  assert.deepEqual(await rc.batch(() => []), []);
});

test("an atomic batch is all or nothing", async () => {
  const rc = await loggedIn();
  const name = "atomic " + crypto.randomUUID();
  const make = (title) =>
    rc.batch(
      (b) => {
        const project = b.create_project({ data: { name } });
        return [project, b.create_task({ data: { project_id: project.data.id, title } })];
      },
      { atomic: true },
    );
  const failure = await make("").catch((error) => error);
  assert.ok(failure.is("VALIDATION"), failure);
  assert.equal((await rc.count_projects({ filters: { name } })).data.count, 0);
  const [project, task] = await make("x");
  assert.equal(task.data.project_id, project.data.id);
});

test("references can be included, and rows selected", async () => {
  const rc = await loggedIn();
  const project = await newProject(rc);
  await rc.create_tasks({ data: ["a", "b", "c"].map((title) => ({ project_id: project.id, title, meta: { color: title } })) });
  const { data } = await rc.list_tasks({
    filters: { "project.name": project.name, "meta.color": { $in: ["a", "b"] } },
    list_options: { fields: ["title"], include: { project: { fields: ["name"] } }, order_bys: "title" },
  });
  const included = { name: project.name };
  assert.deepEqual(data, [{ title: "a", project: included }, { title: "b", project: included }]);
  const titles = [];
  for await (const task of rc.rows("list_tasks", { filters: { project: { name: project.name } }, list_options: { limit: 2, order_bys: "!title" } })) {
    titles.push(task.title);
  }
  assert.deepEqual(titles, ["c", "b", "a"]);
  const counted = await rc.aggregate_tasks({ filters: { project_id: project.id }, aggregates: { n: "count" } });
  assert.equal(counted.data[0].n, 3);
});

test("an API key does without a session", async () => {
  const rc = await loggedIn();
  const { data } = await rc.create_api_key({ data: { name: crypto.randomUUID(), scopes: ["read"] } });
  const reader = new Rowcall({ url: server.url, token: data.key });
  assert.ok((await reader.list_users()).data.length > 0);
  await assert.rejects(newProject(reader), (error) => error.is("FORBIDDEN"));
});

test("the server describes the methods that the client has", async () => {
  const rc = new Rowcall({ url: server.url });
  const document = await rc["rpc.discover"]();
  for (const { name } of document.methods) assert.equal(typeof rc[name], "function", name);
});

test("cookies log in too", async () => {
  const rc = new Rowcall({ url: server.url, cookies: true, fetch: withCookies() });
  await rc.login(demo1);
  assert.ok((await rc.list_users()).data.length > 0);
  await rc.logoff();
  await assert.rejects(rc.list_users(), (error) => error.is("UNAUTHENTICATED"));
});

test("a write whose answer was lost is not made twice", async () => {
  let lost = 0;
  const losing = async (url, init) => {
    const response = await fetch(url, init);
    if (url.endsWith("/login") || lost++ % 2 === 1) return response;
    await response.text();
    throw new TypeError("the answer was lost");
  };
  const rc = await loggedIn({ fetch: losing });
  const project = await newProject(rc);
  const { data: task } = await rc.create_task({ data: { project_id: project.id, title: "a" } });
  const { data: updated } = await rc.update_task({ id: task.id, version: 1, data: { title: "b" } });
  assert.deepEqual([updated.title, updated.version], ["b", 2]);
  const [one, two] = await rc.batch((b) => ["c", "d"].map((title) => b.create_task({ data: { project_id: project.id, title } })), { atomic: true });
  const time = Date.now().toString(16).padStart(12, "0");
  const mutation_id = `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`;
  const { data: pushed } = await rc.sync_push({ mutations: [{ mutation_id, op: "delete", entity: "task", id: two.data.id }] });
  assert.equal(pushed[0].status, "applied");
  const { data: tasks } = await rc.list_tasks({ filters: { project_id: project.id } });
  assert.deepEqual(tasks.map(({ id, title }) => [id, title]), [[task.id, "b"], [one.data.id, "c"]]);
  assert.ok(lost >= 10);
});

test("changes come as they are made, from where one was", async () => {
  const rc = await loggedIn();
  const { data: before } = await rc.sync_head();
  const project = await newProject(rc);
  const { data: task } = await rc.create_task({ data: { project_id: project.id, title: "a" } });
  let late;
  const seen = [];
  for await (const change of rc.changes({ since: before.position, epoch: before.epoch, entities: ["task"] })) {
    if (change.id !== task.id) continue;
    seen.push([change.op, change.data?.title, change.version]);
    late ??= rc.update_task({ id: task.id, data: { title: "b" } }).then(() => rc.delete_task({ id: task.id })); // while it is followed
    if (change.op === "delete") break;
  }
  await late;
  assert.deepEqual(seen, [["create", "a", 1], ["update", "b", 2], ["delete", undefined, 3]]);
  await assert.rejects(rc.changes({ since: 1_000_000 }).next(), (error) => error.is("RESYNC_REQUIRED"));
  await assert.rejects(rc.changes({ since: before.position, epoch: "another" }).next(), (error) => error.is("RESYNC_REQUIRED"));
  await assert.rejects(rc.changes({ entities: ["nothing"] }).next(), (error) => error.is("INVALID_PARAMS"));
  await assert.rejects(new Rowcall({ url: server.url }).changes().next(), (error) => error.is("UNAUTHENTICATED"));
});

test("a stream ends with its session", async () => {
  const rc = await loggedIn();
  let begun;
  const hello = new Promise((done) => (begun = done));
  const next = rc.changes({ onHello: begun }).next();
  next.catch(() => {});
  await hello;
  await rc.logoff();
  await assert.rejects(next, (error) => error.is("UNAUTHENTICATED"));
});

/** A fetch that keeps cookies, as a browser's does. */
function withCookies() {
  let cookie = "";
  return async (url, init) => {
    assert.equal(init.headers.Authorization, undefined);
    const response = await fetch(url, { ...init, headers: { ...init.headers, Cookie: cookie } });
    for (const set of response.headers.getSetCookie()) cookie = set.split(";")[0];
    return response;
  };
}

test("calls at once renew an ended session once", async (t) => {
  const brief = await startRowcall({ ROWCALL_TOKEN_TTL: "4s" });
  t.after(() => brief.stop());
  let refreshes = 0;
  const counting = (url, init) => ((refreshes += url.endsWith("/api/refresh") ? 1 : 0), fetch(url, init));
  const rc = new Rowcall({ url: brief.url, fetch: counting });
  const first = await rc.login(demo1);

  // Before it ends, a call renews it.
  await new Promise((done) => setTimeout(done, 3400));
  await Promise.all(Array.from({ length: 20 }, () => rc.list_users()));
  assert.equal(refreshes, 1);
  assert.notEqual(rc.session.refresh_token, first.refresh_token);

  // One that has ended unnoticed (a stored session, which its clock calls fresh) is renewed after the refusal.
  await new Promise((done) => setTimeout(done, 4200));
  const stored = { ...rc.session, expires_at: new Date(Date.now() + 3_600_000).toISOString() };
  const later = new Rowcall({ url: brief.url, fetch: counting, session: stored });
  const made = await Promise.all(Array.from({ length: 20 }, () => newProject(later)));
  assert.equal(new Set(made.map((project) => project.id)).size, 20);
  assert.equal(refreshes, 2);

  // Of a caller that leaves, the others hear nothing.
  await new Promise((done) => setTimeout(done, 3400));
  const controller = new AbortController();
  const leaving = later.list_users(undefined, { signal: controller.signal });
  const staying = later.list_users();
  controller.abort(new Error("left"));
  await assert.rejects(leaving, { message: "left" });
  assert.ok((await staying).data.length > 0);
  assert.equal(refreshes, 3);

  // A family that has ended gives one clear error, and the client forgets it.
  const lost = new Rowcall({ url: brief.url, session: { ...first, expires_at: "2020-01-01T00:00:00Z" } });
  const outcomes = await Promise.allSettled([lost.list_users(), lost.list_users()]);
  for (const { reason } of outcomes) assert.ok(reason.is("UNAUTHENTICATED") && reason.status === 401);
  assert.equal(lost.session, undefined);

  // A stream outlives its tokens, and misses nothing.
  const live = new Rowcall({ url: brief.url });
  await live.login(demo1);
  const { data: head } = await live.sync_head();
  let hellos = 0;
  const followed = live.changes({ since: head.position, entities: ["project"], onHello: () => hellos++ });
  for (let i = 0; i < 10; i++) {
    const { id } = await newProject(live);
    assert.equal((await followed.next()).value.id, id);
    await new Promise((done) => setTimeout(done, 600));
  }
  await followed.return();
  assert.ok(hellos > 1, hellos);
});
