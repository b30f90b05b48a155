import assert from "node:assert/strict";
import { before, test } from "node:test";

import { createJSONRPCNotification, createJSONRPCRequest, JSONRPCClient } from "json-rpc-2.0";

import { assertError, call, createProject, endpoint, errors, lockedTask, login } from "./rowcall.mjs";

let headers, client, project;

/** A client as its documentation has it; a call may bring a signal, and the statuses of the answers are noted. */
function newClient(headers, statuses = []) {
  const client = new JSONRPCClient(async (request, signal) => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: JSON.stringify(request),
      signal,
    });
    statuses.push(response.status);
    if (response.status === 200) {
      client.receive(await response.json());
    } else if (response.status !== 204) {
      throw new Error((await response.json()).error.message);
    }
  });
  return client;
}

before(async () => {
  headers = await login();
  client = newClient(headers);
  project = await createProject(headers, "json-rpc-2.0");
});

test("results", async () => {
  const made = await client.request("create_task", { data: { project_id: project.id, title: "é🚀" } });
  assert.equal(made.data.title, "é🚀");
  assert.deepEqual((await client.request("get_task", { id: made.data.id })).data, made.data);
  assert.ok((await client.request("list_tasks")).data.length > 0, "without params");
});

test("errors", async () => {
  for (const [method, params, ...want] of errors) {
    await assert.rejects(client.request(method, params), (error) => {
      assertError(error, ...want);
      return true;
    });
  }
  await assert.rejects(newClient({}).request("list_tasks"), (error) => {
    assertError(error, 4010, "UNAUTHENTICATED");
    return true;
  });
});

test("a batch, with ids that are strings and integers", async () => {
  const answers = await client.requestAdvanced([
    createJSONRPCRequest("a", "get_project", { id: project.id }),
    createJSONRPCNotification("list_tasks"),
    createJSONRPCRequest(7, "nonsense"),
    createJSONRPCRequest("b", "get_task", { id: 2 ** 50 }),
    createJSONRPCRequest(0, "list_tasks"),
  ]);
  assert.deepEqual(answers.map(({ id }) => id), ["a", 7, "b", 0]);
  assert.equal(answers[0].result.data.name, "json-rpc-2.0");
  assertError(answers[1].error, -32601, "METHOD_NOT_FOUND");
  assertError(answers[2].error, 4040, "NOT_FOUND", { entity: "task", id: 2 ** 50 });
  assert.ok(Array.isArray(answers[3].result.data));
});

test("notifications", async () => {
  const statuses = [];
  const client = newClient(headers, statuses);
  const task = await call(headers, "create_task", { data: { project_id: project.id, title: "before" } });
  await client.requestAdvanced(createJSONRPCNotification("update_task", { id: task.id, data: { title: "after" } }));
  await client.requestAdvanced([createJSONRPCNotification("nonsense"), createJSONRPCNotification("list_tasks")]);
  assert.deepEqual(statuses, [204, 204]);
  assert.equal((await call(headers, "get_task", { id: task.id })).title, "after");
});

test("concurrent calls", async () => {
  const titles = Array.from({ length: 32 }, (_, n) => `concurrent ${n}`);
  const made = await Promise.all(
    titles.map((title) => client.request("create_task", { data: { project_id: project.id, title } })),
  );
  assert.deepEqual(made.map(({ data }) => data.title), titles);
});

// The client's own timeout waits for the request to end, so it is the request that needs one.
test("a call that is given up", async () => {
  const change = { id: lockedTask, data: { done: true } };
  await assert.rejects(client.request("update_task", change, AbortSignal.timeout(100)), /aborted due to timeout/);
  const signal = AbortSignal.timeout(200);
  await assert.rejects(client.timeout(1).request("update_task", change, signal), /Request timeout/);
  assert.ok(signal.aborted);
  assert.ok((await client.request("list_tasks")).data);
});

test("a status", async () => {
  await assert.rejects(newClient({ Authorization: "Bearer nonsense" }).request("list_tasks"), (error) => {
    assert.ok(error.message);
    return true;
  });
});

// Nothing in the one answer says which calls it is about, so a client that waits for ids waits for ever, or for a timeout.
test("a batch that is too large", async () => {
  const batch = Array.from({ length: 101 }, (_, id) => createJSONRPCRequest(id, "count_tasks"));
  const answers = await client.timeout(100).requestAdvanced(batch);
  assert.ok(answers.every(({ error }) => error.message === "Request timeout"));
  assert.ok((await client.requestAdvanced(batch.slice(1))).every(({ result }) => result.data.count >= 0));
});
