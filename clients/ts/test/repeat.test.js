// What is repeated, and what is not, seen by a server that fails on demand.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Rowcall, RowcallError, TransportError } from "../dist/index.js";
import { refusal, result, startFake } from "./server.js";

const data = { data: { id: 1 } };
const badGateway = { status: 502, body: "<html>" };

async function withFake(t, answer, options = {}) {
  const fake = await startFake(answer);
  t.after(() => fake.stop());
  return { fake, rc: new Rowcall({ url: fake.url, ...options }) };
}

/** Calls a reading and a writing method when the first failures of the server are those given. */
async function calls(t, failures, options) {
  const outcome = {};
  for (const [method, params] of [
    ["get_task", { id: 1 }],
    ["register_replica", { id: 1 }],
  ]) {
    const { fake, rc } = await withFake(t, (request, n) => (n < failures.length ? failures[n] : result(request, data)), options);
    const value = await rc.call(method, params).catch((error) => error);
    outcome[method] = { requests: fake.requests.length, ok: value?.data?.id === 1, error: value };
  }
  return outcome;
}

test("a request that the server refuses as a whole is repeated", async (t) => {
  for (const failures of [[refusal(503, "UNAVAILABLE")], [refusal(429, "RATE_LIMITED", { retry_after_ms: 1 })]]) {
    const { get_task, register_replica } = await calls(t, [...failures, ...failures]);
    assert.deepEqual([get_task.requests, get_task.ok], [3, true]);
    assert.deepEqual([register_replica.requests, register_replica.ok], [3, true]);
  }
});

test("an answer that is lost is asked for again only where that is safe", async (t) => {
  for (const failure of [undefined, badGateway, { status: 503, body: "busy" }, { status: 504, body: "" }, { status: 500, body: "{}" }]) {
    const { get_task, register_replica } = await calls(t, [failure]);
    assert.deepEqual([get_task.requests, get_task.ok], [2, true]);
    assert.equal(register_replica.requests, 1);
    assert.ok(register_replica.error instanceof TransportError);
    assert.equal(register_replica.error.status, failure?.status);
  }
});

test("a call that the server answers with an error is not repeated, except where it did not begin", async (t) => {
  const answered = (kind) => (request) => ({ body: { ...refusal(200, kind).body, id: request.body.id } });
  for (const [kind, read, write] of [["NOT_FOUND", 1, 1], ["INTERNAL", 1, 1], ["TIMEOUT", 1, 1], ["UNAVAILABLE", 2, 1], ["RATE_LIMITED", 2, 2]]) {
    for (const [method, want] of [["get_task", read], ["register_replica", write]]) {
      const { fake, rc } = await withFake(t, (request, n) => (n === 0 ? answered(kind)(request) : result(request, data)));
      const value = await rc.call(method, { id: 1 }).catch((error) => error);
      assert.equal(fake.requests.length, want, `${method} after ${kind}`);
      if (want === 1) assert.ok(value instanceof RowcallError && value.is(kind) && value.requestId === "r");
    }
  }
});

test("a client asks a bounded number of times, and no more when told to wait long", async (t) => {
  const always = await withFake(t, () => refusal(503, "UNAVAILABLE"), { retries: 2 });
  await assert.rejects(always.rc.list_tasks(), (error) => error instanceof RowcallError && error.status === 503);
  assert.equal(always.fake.requests.length, 3);
  const later = await withFake(t, () => refusal(429, "RATE_LIMITED", { retry_after_ms: 900_000 }));
  await assert.rejects(later.rc.list_tasks(), (error) => error.is("RATE_LIMITED") && error.data.retry_after_ms === 900_000);
  assert.equal(later.fake.requests.length, 1);
});

test("it waits as long as the server asks", async (t) => {
  const { rc } = await withFake(t, (request, n) => (n === 0 ? refusal(429, "RATE_LIMITED", { retry_after_ms: 400 }) : result(request, data)));
  const start = performance.now();
  await rc.get_task({ id: 1 });
  assert.ok(performance.now() - start >= 395);
});

test("an abort ends a call, also while it waits to be repeated", async (t) => {
  for (const answer of [() => new Promise(() => {}), () => refusal(503, "UNAVAILABLE", { retry_after_ms: 9000 })]) {
    const { fake, rc } = await withFake(t, answer);
    const controller = new AbortController();
    const call = rc.get_task({ id: 1 }, { signal: controller.signal });
    while (fake.requests.length === 0) await new Promise(setImmediate);
    controller.abort(new Error("enough"));
    await assert.rejects(call, { message: "enough" });
  }
  const { fake, rc } = await withFake(t, () => ({}));
  await assert.rejects(rc.get_task({ id: 1 }, { signal: AbortSignal.abort(new Error("too late")) }), { message: "too late" });
  assert.equal(fake.requests.length, 0);
});

test("a call ends at its timeout", async (t) => {
  const { rc } = await withFake(t, () => new Promise(() => {}));
  await assert.rejects(rc.get_task({ id: 1 }, { timeout: 50 }), { name: "TimeoutError" });
});

test("a batch is repeated only if all of it may be", async (t) => {
  for (const [build, want] of [
    [(b) => [b.get_task({ id: 1 }), b.list_tasks()], 2],
    [(b) => [b.get_task({ id: 1 }), b.register_replica({ id: 1 })], 1],
  ]) {
    const { fake, rc } = await withFake(t, (request, n) => (n === 0 ? badGateway : result(request, data)));
    await rc.batch(build).catch((error) => assert.ok(error instanceof TransportError));
    assert.equal(fake.requests.length, want);
  }
});

test("references go into a batch as places", async (t) => {
  const { fake, rc } = await withFake(t, (request) => result(request, data));
  await rc.batch(
    (b) => {
      const project = b.create_project({ data: { name: "x" } });
      const tasks = b.create_tasks({ data: [{ project_id: project.data.id, title: "y" }] });
      return [project, tasks, b.delete_task({ id: tasks.data[0].id })];
    },
    { atomic: true },
  );
  const [{ headers, body }] = fake.requests;
  assert.equal(headers["rowcall-atomic"], "true");
  assert.deepEqual(body[1].params.data, [{ project_id: { $ref: "0.id" }, title: "y" }]);
  assert.deepEqual(body[2].params.id, { $ref: "1.0.id" });
  await assert.rejects(rc.batch((b) => [b.delete_task({ id: b.create_project({ data: { name: "x" } }).data.id })]), /not in the batch/);
});

test("rows go on from page to page", async (t) => {
  const { fake, rc } = await withFake(t, (request, n) => result(request, { data: [{ id: n }], next_cursor: n < 2 ? "c" + n : null }));
  const ids = [];
  for await (const row of rc.rows("list_tasks", { filters: { done: true }, list_options: { limit: 1, offset: 5 } })) ids.push(row.id);
  assert.deepEqual(ids, [0, 1, 2]);
  assert.deepEqual(fake.requests.map((request) => request.body.params), [
    { filters: { done: true }, list_options: { limit: 1, offset: 5 } },
    { filters: { done: true }, list_options: { limit: 1, cursor: "c0" } },
    { filters: { done: true }, list_options: { limit: 1, cursor: "c1" } },
  ]);
});

test("cookies replace the token, and a lapsed one is renewed", async (t) => {
  const sent = [];
  const session = { token: "t", expires_at: "2020-01-01T00:00:00Z", refresh_token: "r1", tenant: {}, user: {} };
  const { fake, rc } = await withFake(
    t,
    (request, n) => {
      if (request.path === "/api/refresh") return { body: { result: { success: true, ...session, refresh_token: "r2" } } };
      // Without its cookie the call is anonymous, which JSON-RPC answers.
      return n === 0 ? { body: { ...refusal(200, "UNAUTHENTICATED").body, id: request.body.id } } : result(request, data);
    },
    { cookies: true, session, fetch: (url, init) => (sent.push(init.credentials), fetch(url, init)) },
  );
  assert.equal((await rc.get_task({ id: 1 })).data.id, 1);
  assert.deepEqual(fake.requests.map((request) => [request.path, request.headers.authorization]), [["/api/rpc", undefined], ["/api/refresh", undefined], ["/api/rpc", undefined]]);
  assert.deepEqual(sent, ["include", "include", "include"]);
  assert.equal(rc.session.refresh_token, "r2");
});

/** A session of which the client thinks that it has so many milliseconds to live. */
const sessionFor = (life, refresh_token = "r1") => ({
  token: "t" + refresh_token,
  expires_at: new Date(Date.now() + life).toISOString(),
  refresh_token,
  tenant: {},
  user: {},
});

const renewed = () => ({ body: { result: { success: true, ...sessionFor(3_600_000, "r2") } } });
const paths = (fake) => fake.requests.map((request) => request.path);

/** Lets nine seconds pass for the clock that tells when to renew a session. */
function pass(t) {
  const now = performance.now.bind(performance);
  t.mock.method(performance, "now", () => now() + 9_000);
}

/** A client whose session is to be renewed, and whose token holds for some seconds more. */
async function aboutToEnd(t, answer, options = {}) {
  const made = await withFake(t, answer, { session: sessionFor(10_000), ...options });
  pass(t);
  return made;
}

/** The rejections that nobody has handled until the test ends. */
function unhandled(t) {
  const errors = [];
  const hear = (error) => errors.push(error);
  process.on("unhandledRejection", hear);
  t.after(() => process.off("unhandledRejection", hear));
  return errors;
}

test("a call that was aborted before it began sends nothing, and nothing fails unheard", async (t) => {
  const unheard = unhandled(t);
  const aborted = { signal: AbortSignal.abort(new Error("too late")) };
  // The session is to be renewed: before the call, and, since the call is aborted while it has its answer, after.
  const early = await aboutToEnd(t, () => refusal(503, "UNAVAILABLE"));
  await assert.rejects(early.rc.get_task({ id: 1 }, aborted), { message: "too late" });
  assert.deepEqual(paths(early.fake), []);
  const controller = new AbortController();
  const abortAfter = async (url, init) => {
    const { signal, ...rest } = init;
    const response = await fetch(url, rest);
    const text = await response.text();
    controller.abort(new Error("left"));
    return new Response(text, { status: response.status });
  };
  const late = await withFake(t, () => refusal(401, "UNAUTHENTICATED"), { session: sessionFor(3_600_000), fetch: abortAfter });
  await assert.rejects(late.rc.get_task({ id: 1 }, { signal: controller.signal }), { message: "left" });
  assert.deepEqual(paths(late.fake), ["/api/rpc"]);
  await new Promise(setImmediate);
  assert.deepEqual(unheard, []);
});

test("an atomic batch renews the session too", async (t) => {
  const error = (call, kind) => ({ ...refusal(200, kind).body, id: call.id });
  for (const kinds of [["UNAUTHENTICATED", "ABORTED"], ["ABORTED", "UNAUTHENTICATED"], ["UNAUTHENTICATED", "UNAUTHENTICATED"]]) {
    const { fake, rc } = await withFake(
      t,
      (request, n) => {
        if (request.path === "/api/refresh") return renewed();
        return n === 0 ? { body: request.body.map((call, i) => error(call, kinds[i])) } : result(request, data);
      },
      { cookies: true, session: sessionFor(3_600_000) },
    );
    const results = await rc.batch((b) => [b.delete_task({ id: 1 }), b.delete_task({ id: 2 })], { atomic: true });
    assert.deepEqual(results, [data, data]);
    assert.deepEqual(paths(fake), ["/api/rpc", "/api/refresh", "/api/rpc"]);
  }
  // Another error is the batch's own.
  const { fake, rc } = await withFake(t, (request) => ({ body: request.body.map((call, i) => error(call, ["ABORTED", "CONFLICT"][i])) }), {
    cookies: true,
    session: sessionFor(3_600_000),
  });
  await assert.rejects(rc.batch((b) => [b.delete_task({ id: 1 }), b.delete_task({ id: 2 })], { atomic: true }), (e) => e.is("CONFLICT"));
  assert.equal(fake.requests.length, 1);
});

test("an early renewal that fails leaves the token in use, and is tried again later", async (t) => {
  const { fake, rc } = await aboutToEnd(t, (request, n) => {
    if (request.path === "/api/refresh") return n === 0 ? refusal(503, "UNAVAILABLE") : renewed();
    return result(request, data);
  });
  assert.equal((await rc.delete_task({ id: 1 })).data.id, 1);
  assert.equal((await rc.delete_task({ id: 1 })).data.id, 1);
  assert.deepEqual(paths(fake), ["/api/refresh", "/api/rpc", "/api/rpc"]);
  assert.equal(fake.requests[2].headers.authorization, "Bearer tr1");
  pass(t);
  await rc.delete_task({ id: 1 });
  assert.deepEqual(paths(fake).slice(3), ["/api/refresh", "/api/rpc"]);
  assert.equal(rc.session.refresh_token, "r2");
});

test("a refresh token whose answer was lost is not sent again", async (t) => {
  for (const lost of [undefined, badGateway]) {
    const told = [];
    let ended = false;
    const { fake, rc } = await aboutToEnd(
      t,
      (request) => {
        if (request.path === "/api/refresh") return lost;
        return ended ? refusal(401, "UNAUTHENTICATED") : result(request, data);
      },
      { onSession: (session) => told.push(session) },
    );
    for (let i = 0; i < 3; i++) assert.equal((await rc.get_task({ id: 1 })).data.id, 1);
    ended = true;
    await assert.rejects(rc.get_task({ id: 1 }), (error) => error.is("UNAUTHENTICATED"));
    assert.deepEqual(paths(fake), ["/api/refresh", "/api/rpc", "/api/rpc", "/api/rpc", "/api/rpc"]);
    assert.deepEqual([rc.session, told], [undefined, [undefined]]);
    t.mock.restoreAll();
  }
});

test("a refresh that never left is sent again", async (t) => {
  let down = true;
  const refused = Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error(), { code: "ECONNREFUSED" }) });
  const { fake, rc } = await aboutToEnd(t, (request) => (request.path === "/api/refresh" ? renewed() : refusal(401, "UNAUTHENTICATED")), {
    fetch: (url, init) => (down ? Promise.reject(refused) : fetch(url, init)),
    retries: 0,
  });
  await assert.rejects(rc.get_task({ id: 1 }), TransportError);
  down = false;
  await assert.rejects(rc.get_task({ id: 1 }), (error) => error.is("UNAUTHENTICATED"));
  assert.deepEqual(paths(fake), ["/api/rpc", "/api/refresh", "/api/rpc"]);
});

test("an early renewal that the server refuses ends the session", async (t) => {
  const { fake, rc } = await aboutToEnd(t, () => refusal(401, "UNAUTHENTICATED"));
  await assert.rejects(rc.get_task({ id: 1 }), (error) => error.is("UNAUTHENTICATED"));
  assert.deepEqual([paths(fake), rc.session], [["/api/refresh"], undefined]);
});

test("whoever is told of a session's end may log in again", async (t) => {
  let again;
  const { rc } = await aboutToEnd(
    t,
    (request) => (request.path === "/api/refresh" ? refusal(401, "UNAUTHENTICATED") : request.path === "/api/login" ? renewed() : result(request, data)),
    { onSession: (session) => (again ??= session ?? rc.login({ username: "demo1", pwd: "welcome" })) },
  );
  await assert.rejects(rc.get_task({ id: 1 }), (error) => error.is("UNAUTHENTICATED"));
  assert.equal((await again).refresh_token, "r2");
  assert.equal((await rc.get_task({ id: 1 })).data.id, 1);
});
