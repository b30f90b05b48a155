import assert from "node:assert/strict";
import { before, test } from "node:test";

import jayson from "jayson/promise/index.js";

import { assertError, call, createProject, endpoint, errors, lockedTask, login } from "./rowcall.mjs";

let headers, client, project;

const newClient = (headers, options) => {
  const { hostname, port, pathname: path } = new URL(endpoint);
  return jayson.Client.http({ hostname, port, path, headers, ...options });
};

before(async () => {
  headers = await login();
  client = newClient(headers);
  project = await createProject(headers, "jayson");
});

test("results", async () => {
  const made = await client.request("create_task", { data: { project_id: project.id, title: "é🚀" } });
  assert.equal(made.error, undefined);
  assert.equal(made.result.data.title, "é🚀");
  const got = await client.request("get_task", { id: made.result.data.id });
  assert.deepEqual(got.result.data, made.result.data);
  const all = await client.request("list_tasks", null);
  assert.ok(all.result.data.length > 0, "without params");
});

test("errors", async () => {
  for (const [method, params, ...want] of errors) {
    const { error, result } = await client.request(method, params);
    assert.equal(result, undefined);
    assertError(error, ...want);
  }
  const { error } = await newClient({}).request("list_tasks", {});
  assertError(error, 4010, "UNAUTHENTICATED");
});

test("ids", async () => {
  for (const id of ["a", "é\"\\\n🚀", "", 0, -1, Number.MAX_SAFE_INTEGER]) {
    const answer = await client.request("list_tasks", {}, id);
    assert.equal(answer.id, id);
    assert.ok(answer.result);
  }
});

test("a batch", async () => {
  const batch = [
    client.request("get_project", { id: project.id }, "a", false),
    client.request("list_tasks", {}, null, false),
    client.request("nonsense", {}, 7, false),
    client.request("get_task", { id: 2 ** 50 }, "b", false),
    client.request("list_tasks", {}, undefined, false),
  ];
  const answers = await client.request(batch);
  assert.deepEqual(answers.map(({ id }) => id), ["a", 7, "b", batch[4].id]);
  assert.equal(answers[0].result.data.name, "jayson");
  assertError(answers[1].error, -32601, "METHOD_NOT_FOUND");
  assertError(answers[2].error, 4040, "NOT_FOUND", { entity: "task", id: 2 ** 50 });
  assert.ok(Array.isArray(answers[3].result.data));
});

test("notifications", async () => {
  const task = await call(headers, "create_task", { data: { project_id: project.id, title: "before" } });
  assert.equal(await client.request("update_task", { id: task.id, data: { title: "after" } }, null), undefined);
  assert.equal(await client.request("nonsense", {}, null), undefined);
  const batch = [client.request("list_tasks", {}, null, false), client.request("nonsense", {}, null, false)];
  assert.equal(await client.request(batch), undefined);
  assert.equal((await call(headers, "get_task", { id: task.id })).title, "after");
});

// Version 1 of the protocol has null for the id of a notification; here null is an id.
test("version 1", async () => {
  const client = newClient(headers, { version: 1 });
  const answer = await client.request("list_tasks", {});
  assert.ok(answer.result);
  assert.equal((await client.request("list_tasks", {}, null)).id, null);
});

test("concurrent calls", async () => {
  const titles = Array.from({ length: 32 }, (_, n) => `concurrent ${n}`);
  const made = await Promise.all(
    titles.map((title) => client.request("create_task", { data: { project_id: project.id, title } })),
  );
  assert.deepEqual(made.map(({ result }) => result.data.title), titles);
});

test("a call that is given up", async () => {
  const change = { id: lockedTask, data: { done: true } };
  await assert.rejects(newClient(headers, { timeout: 100 }).request("update_task", change), { code: "ECONNRESET" });
  assert.ok((await client.request("list_tasks", {})).result);
});

test("a status", async () => {
  await assert.rejects(newClient({ Authorization: "Bearer nonsense" }).request("list_tasks", {}), (error) => {
    assert.equal(error.code, 401);
    assertError(JSON.parse(error.message).error, 4010, "UNAUTHENTICATED");
    return true;
  });
});

test("a batch that is too large", async () => {
  const batch = Array.from({ length: 101 }, (_, id) => client.request("count_tasks", {}, id, false));
  const answer = await client.request(batch);
  assert.equal(answer.id, null);
  assertError(answer.error, -32600, "INVALID_REQUEST");
  assert.equal((await client.request(batch.slice(1))).length, 100);
});
