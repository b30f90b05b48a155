// What the tests of all clients need of the server that TestClients started.

import assert from "node:assert/strict";

export const url = process.env.ROWCALL_URL;
assert.ok(url, "ROWCALL_URL is not set: run make interop");

export const endpoint = `${url}/api/rpc`;

// A task that is locked, so that a call which changes it does not end.
export const lockedTask = Number(process.env.ROWCALL_LOCKED_TASK);

/** Logs in and returns the headers that a call needs. */
export async function login() {
  const response = await fetch(`${url}/api/login`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username: "demo1", pwd: "welcome" }),
  });
  assert.equal(response.status, 200);
  const { result } = await response.json();
  return { Authorization: `Bearer ${result.token}` };
}

/** Calls without a client, to look at what one did. */
export async function call(headers, method, params) {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify({ id: 1, method, params }),
  });
  const { result } = await response.json();
  return result.data;
}

/** Makes a project for the tests of one client. */
export const createProject = (headers, name) => call(headers, "create_project", { data: { name } });

/** Asserts that an error has the code, a message, the kind and whatever else is expected of its data. */
export function assertError(error, code, kind, data = {}) {
  assert.equal(error?.code, code, `${error}`);
  assert.ok(error.message);
  assert.ok(error.data.request_id);
  const { request_id: _, ...rest } = error.data;
  if (kind !== "INVALID_PARAMS") {
    assert.deepEqual(rest, { kind, ...data });
  } else {
    assert.equal(rest.kind, kind);
    assert.ok(rest.issues[0].path.startsWith("params"));
  }
}

// The calls that every client makes to see an error: method, params, code, kind and data.
export const errors = [
  ["nonsense", {}, -32601, "METHOD_NOT_FOUND"],
  ["get_task", { id: 2 ** 50 }, 4040, "NOT_FOUND", { entity: "task", id: 2 ** 50 }],
  ["get_task", { id: "x" }, -32602, "INVALID_PARAMS"],
  ["get_task", { ID: 1 }, -32602, "INVALID_PARAMS"],
  ["get_task", [1], -32602, "INVALID_PARAMS"],
  ["list_tasks", [], -32602, "INVALID_PARAMS"],
];
