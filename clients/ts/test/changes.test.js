// How changes are followed, over connections that fail in all ways.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, Rowcall, TransportError } from "../dist/index.js";
import { readEvents } from "../dist/events.js";
import { change, farewell, hello, ping, refusal, result, startFake } from "./server.js";

async function withFake(t, answer, options = {}) {
  const fake = await startFake(answer);
  t.after(() => fake.stop());
  return { fake, rc: new Rowcall({ url: fake.url, ...options }) };
}

/** The positions of the changes that come, up to the nth. */
async function take(changes, n) {
  const positions = [];
  for await (const { position } of changes) if (positions.push(position) === n) break;
  return positions;
}

test("changes go on where the connection ended", async (t) => {
  const answers = [
    { events: [hello(5), change(6, 5), change(8, 6), farewell("bye", "shutdown")] },
    undefined,
    refusal(503, "UNAVAILABLE"),
    { status: 502, body: "<html>" },
    { events: [hello(8), ping(11)] },
    { events: [hello(11), change(12, 11), change(15, 13)] }, // 13 is missing
    { events: [hello(12), change(13, 12), change(15, 13)], open: true },
  ];
  const { fake, rc } = await withFake(t, (_, n) => answers[n]);
  const greeted = [];
  const changes = rc.changes({ entities: ["task", "project"], onHello: (h) => greeted.push(h.position) });
  assert.deepEqual(await take(changes, 5), [6, 8, 12, 13, 15]);
  assert.deepEqual(fake.requests.map(({ path }) => path.slice("/api/rpc?".length).replace("%2C", ",")), [
    "entities=task,project",
    ...Array(4).fill("since=8&epoch=e1&entities=task,project"),
    "since=11&epoch=e1&entities=task,project",
    "since=12&epoch=e1&entities=task,project",
  ]);
  assert.equal(fake.requests[0].headers.accept, "text/event-stream");
  assert.deepEqual(greeted, [5, 8, 11, 12]);
});

test("what cannot be followed any longer is an error", async (t) => {
  for (const data of [{ reason: "pruned" }, { reason: "pruned", head: 9, tail: 7 }]) {
    const events = ["head" in data ? "" : hello(3), `event: resync\ndata: ${JSON.stringify(data)}\n\n`];
    const { fake, rc } = await withFake(t, () => ({ events }));
    await assert.rejects(take(rc.changes({ since: 3, epoch: "e0" }), 1), (error) => {
      assert.deepEqual(error.data, data);
      return error.is("RESYNC_REQUIRED");
    });
    assert.equal(fake.requests[0].path, "/api/rpc?since=3&epoch=e0");
  }
  for (const [answer, check] of [
    [refusal(400, "INVALID_PARAMS"), (error) => error.is("INVALID_PARAMS")],
    [refusal(401, "UNAUTHENTICATED"), (error) => error.is("UNAUTHENTICATED")],
    [{ status: 404, body: "<html>" }, (error) => error instanceof TransportError && error.status === 404],
  ]) {
    const { fake, rc } = await withFake(t, () => answer);
    await assert.rejects(take(rc.changes(), 1), check);
    assert.equal(fake.requests.length, 1);
  }
});

test("a stream whose token has expired goes on with another", async (t) => {
  const session = (n) => ({ token: "t" + n, expires_at: new Date(Date.now() + 3_600_000).toISOString(), refresh_token: "r" + n, tenant: {}, user: {} });
  const { fake, rc } = await withFake(
    t,
    (request) => {
      if (request.path === "/api/refresh") return { body: { result: { success: true, ...session(2) } } };
      if (request.headers.authorization === "Bearer t2") return { events: [hello(1), change(2, 1)], open: true };
      return fake.requests.length === 1 ? { events: [hello(0), change(1, 0), farewell("bye", "expired")] } : refusal(401, "UNAUTHENTICATED");
    },
    { session: session(1) },
  );
  assert.deepEqual(await take(rc.changes(), 2), [1, 2]);
  assert.deepEqual(fake.requests.map(({ path, headers }) => [path, headers.authorization]), [
    ["/api/rpc", "Bearer t1"],
    ["/api/rpc?since=1&epoch=e1", "Bearer t1"],
    ["/api/refresh", undefined],
    ["/api/rpc?since=1&epoch=e1", "Bearer t2"],
  ]);
});

test("an abort ends the stream, also while it waits, and nothing is left open", async (t) => {
  for (const answer of [{ events: [hello(1), change(2, 1)], open: true }, { events: [hello(1), change(2, 1)] }, undefined]) {
    const controller = new AbortController();
    const { fake, rc } = await withFake(t, () => answer);
    const stream = take(rc.changes({ signal: controller.signal }), 9);
    while (fake.requests.length === 0) await new Promise(setImmediate);
    controller.abort(new Error("enough"));
    await assert.rejects(stream, { message: "enough" });
  }
  const { fake, rc } = await withFake(t, () => ({ events: [hello(1), change(2, 1)], open: true }));
  assert.deepEqual(await take(rc.changes(), 1), [2]); // and leaves
  await new Promise((done) => setTimeout(done, 50));
  assert.equal(fake.requests.length, 1);
});

test("a connection that is silent is given up", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { fake, rc } = await withFake(t, (_, n) => ({ events: n ? [hello(1), change(2, 1)] : [hello(1)], open: true }));
  const stream = take(rc.changes(), 1);
  while (fake.requests.length < 2) {
    await new Promise(setImmediate);
    t.mock.timers.tick(1000);
  }
  assert.deepEqual(await stream, [2]);
});

test("events are read however they are cut", async () => {
  const text = "\uFEFFid: 7\r\nevent: a\r\ndata: {\"x\":\r\ndata:\"é\"}\r\n\r\n: comment\n\nevent: lost\n\ndata\rdata: y\r\rid\ndata:  z\n\ndata: not whole\n";
  const want = [
    { type: "a", data: '{"x":\n"é"}', id: "7" },
    { type: "message", data: "\ny", id: "7" },
    { type: "message", data: " z", id: "" },
  ];
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const stream = new ReadableStream({
      start(controller) {
        for (let i = 0; i < bytes.length; i += size) controller.enqueue(bytes.slice(i, i + size));
        controller.close();
      },
    });
    const got = [];
    for await (const event of readEvents(stream)) got.push(event);
    assert.deepEqual(got, want, `cut by ${size}`);
  }
});

test("a write that takes a mutation_id carries one, and is repeated with it", async (t) => {
  const access = { get_x: "read", set_x: "once", poke_x: "write" };
  const fake = await startFake((request, n) => (n === 0 ? undefined : n === 1 ? { status: 502, body: "" } : result(request, { data: 1 })));
  t.after(() => fake.stop());
  const client = new Client(access, { url: fake.url });
  await client.call("set_x", { id: 1 });
  const ids = fake.requests.map(({ body }) => body.params.mutation_id);
  assert.match(ids[0], /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.ok(Math.abs(parseInt(ids[0].replaceAll("-", "").slice(0, 12), 16) - Date.now()) < 10_000);
  assert.deepEqual(ids, [ids[0], ids[0], ids[0]]);
  await client.call("set_x", { id: 1, mutation_id: "mine" });
  await client.call("get_x", { id: 1 });
  await client.call("poke_x", { id: 1 });
  const [given, read, poke] = fake.requests.slice(3).map(({ body }) => body.params);
  assert.deepEqual([given, read, poke], [{ id: 1, mutation_id: "mine" }, { id: 1 }, { id: 1 }]);

  for (const [build, want] of [
    [(b) => [b.get_x(), b.set_x({ id: 1 }), b.set_x({ id: 2 })], 2],
    [(b) => [b.set_x({ id: 1 }), b.poke_x()], 1],
  ]) {
    const fake = await startFake((request, n) => (n === 0 ? undefined : result(request, { data: 1 })));
    t.after(() => fake.stop());
    await new Client(access, { url: fake.url }).batch(build).catch((error) => assert.ok(error instanceof TransportError));
    assert.equal(fake.requests.length, want);
    assert.deepEqual(fake.requests[0].body, fake.requests.at(-1).body);
  }
});
