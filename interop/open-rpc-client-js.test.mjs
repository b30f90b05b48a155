import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { before, test } from "node:test";

import { Client, HTTPTransport, RequestManager } from "@open-rpc/client-js";

import { assertError, call, createProject, endpoint, errors, lockedTask, login } from "./rowcall.mjs";

let headers, client, project;

const newManager = (headers) => new RequestManager([new HTTPTransport(endpoint, { headers })]);

function newClient(headers, told = []) {
  const client = new Client(newManager(headers));
  client.onError((error) => told.push(error)); // else it loses the code of an error without an id
  return client;
}

before(async () => {
  headers = await login();
  client = newClient(headers);
  project = await createProject(headers, "@open-rpc/client-js");
});

test("results", async () => {
  const made = await client.request({
    method: "create_task",
    params: { data: { project_id: project.id, title: "é🚀" } },
  });
  assert.equal(made.data.title, "é🚀");
  assert.deepEqual((await client.request({ method: "get_task", params: { id: made.data.id } })).data, made.data);
  assert.ok((await client.request({ method: "list_tasks", params: {} })).data.length > 0);
});

// It sends an empty array for params that are left out.
test("params that are left out", async () => {
  await assert.rejects(client.request({ method: "list_tasks" }), (error) => {
    assertError(error, -32602, "INVALID_PARAMS");
    return true;
  });
});

test("errors", async () => {
  for (const [method, params, ...want] of errors) {
    await assert.rejects(client.request({ method, params }), (error) => {
      assertError(error, ...want);
      return true;
    });
  }
  await assert.rejects(newClient({}).request({ method: "list_tasks", params: {} }), (error) => {
    assertError(error, 4010, "UNAUTHENTICATED");
    return true;
  });
});

/** A manager that notes what it sends. */
function newSpy() {
  const sent = [];
  const fetcher = (url, options) => {
    sent.push(JSON.parse(options.body));
    return fetch(url, options);
  };
  return { sent, manager: new RequestManager([new HTTPTransport(endpoint, { headers, fetcher })]) };
}

test("a batch", async () => {
  const { sent, manager } = newSpy();
  manager.startBatch();
  const calls = [
    manager.request({ method: "get_project", params: { id: project.id } }),
    manager.request({ method: "list_tasks", params: {} }, true),
    manager.request({ method: "nonsense", params: {} }),
    manager.request({ method: "get_task", params: { id: 2 ** 50 } }),
    manager.request({ method: "list_tasks", params: {} }),
  ];
  manager.stopBatch();
  const [first, notified, unknown, missing, last] = await Promise.allSettled(calls);
  assert.deepEqual(sent.map(({ length }) => length), [5]);
  assert.equal(first.value.data.name, "@open-rpc/client-js");
  assert.equal(notified.value, undefined);
  assertError(unknown.reason, -32601, "METHOD_NOT_FOUND");
  assertError(missing.reason, 4040, "NOT_FOUND", { entity: "task", id: 2 ** 50 });
  assert.ok(Array.isArray(last.value.data));
});

// A client's call waits for the connection before it joins the batch, which has gone by then.
test("a batch of the client, not of the manager", async () => {
  const { sent, manager } = newSpy();
  const client = new Client(manager);
  client.startBatch();
  const calls = [1, 2].map(() => client.request({ method: "list_tasks", params: {} }));
  client.stopBatch();
  await Promise.all(calls);
  assert.deepEqual(sent.map(({ method }) => method), ["list_tasks", "list_tasks"]);
});

test("notifications", async () => {
  const task = await call(headers, "create_task", { data: { project_id: project.id, title: "before" } });
  await client.notify({ method: "update_task", params: { id: task.id, data: { title: "after" } } });
  await client.notify({ method: "nonsense", params: {} });
  const manager = newManager(headers);
  manager.startBatch();
  const calls = ["list_tasks", "nonsense"].map((method) => manager.request({ method, params: {} }, true));
  manager.stopBatch();
  assert.deepEqual(await Promise.all(calls), [undefined, undefined]);
  assert.equal((await call(headers, "get_task", { id: task.id })).title, "after");
});

test("ids", async () => {
  const ids = ["a", 7, "é\"\\\n🚀"].values();
  const manager = new RequestManager([new HTTPTransport(endpoint, { headers })], () => ids.next().value);
  for (let n = 0; n < 3; n++) {
    assert.ok((await manager.request({ method: "list_tasks", params: {} })).data);
  }
});

test("concurrent calls", async () => {
  const titles = Array.from({ length: 32 }, (_, n) => `concurrent ${n}`);
  const made = await Promise.all(
    titles.map((title) => client.request({ method: "create_task", params: { data: { project_id: project.id, title } } })),
  );
  assert.deepEqual(made.map(({ data }) => data.title), titles);
});

test("a call that is given up", async () => {
  let signal = AbortSignal.timeout(100);
  const fetcher = (url, options) => fetch(url, { ...options, signal });
  const manager = new RequestManager([new HTTPTransport(endpoint, { headers, fetcher })]);
  const change = { id: lockedTask, data: { done: true } };
  await assert.rejects(manager.request({ method: "update_task", params: change }), /timeout/);
  signal = undefined;
  assert.ok((await manager.request({ method: "list_tasks", params: {} })).data);
});

// The promise that its timeout rejects is not handed out before the answer is there.
test("a timeout of the client", () => {
  const script = `
    import { HTTPTransport, RequestManager } from "@open-rpc/client-js";
    const fetcher = () => new Promise((resolve) => setTimeout(resolve, 10_000));
    const manager = new RequestManager([new HTTPTransport("http://127.0.0.1", { fetcher })]);
    await manager.request({ method: "list_tasks", params: {} }, false, 1).catch(() => console.log("caught"));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8" });
  assert.equal(status, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /Request timeout/);
});

test("a status", async () => {
  const wrong = { Authorization: "Bearer nonsense" };
  const told = [];
  await assert.rejects(newClient(wrong, told).request({ method: "list_tasks", params: {} }), (error) => {
    assertError(error, 4010, "UNAUTHENTICATED");
    return true;
  });
  assert.equal(told.length, 1);
  const deaf = new Client(newManager(wrong));
  await assert.rejects(deaf.request({ method: "list_tasks", params: {} }), { code: 7979 });
});
