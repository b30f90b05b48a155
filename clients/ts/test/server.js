// Starts servers to test against.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Starts "rowcall dev" with the settings, in a folder of its own. make clients has built it. */
export async function startRowcall(settings = {}) {
  const folder = await mkdtemp(join(tmpdir(), "rowcall-"));
  const { DATABASE_URL, ...environment } = process.env;
  const program = fileURLToPath(new URL("../../../bin/rowcall", import.meta.url));
  let address = "127.0.0.1:0";
  let server;
  let exited;
  const it = {
    url: "",
    /** Starts it again, where it was, after end. */
    async start() {
      server = spawn(program, ["dev"], {
        env: { ...environment, ROWCALL_DATA_DIR: folder, ROWCALL_ADDR: address, ...settings },
        stdio: ["ignore", "ignore", "pipe"],
      });
      exited = once(server, "exit");
      const log = [];
      address = await new Promise((resolve, reject) => {
        server.on("error", reject);
        server.on("exit", () => reject(new Error("the server did not start:\n" + log.join("\n"))));
        createInterface({ input: server.stderr }).on("line", (line) => {
          log.push(line);
          const found = /serving\s+\{"address": "([^"]+)"/.exec(line);
          if (found) resolve(found[1]);
        });
      });
      it.url = "http://" + address;
    },
    /** Ends it by the signal. */
    async end(signal) {
      server.kill(signal);
      await exited;
    },
    /** Ends it, and all that it has kept. */
    async stop() {
      await it.end("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
  await it.start();
  return it;
}

/**
 * Starts an HTTP server that answers with answer(request, n) for the nth request: {status, headers, body}, or undefined to
 * break the connection. An answer with events is a stream of them, which ends if it is asked to. requests are what it was asked.
 */
export async function startFake(answer) {
  const requests = [];
  const server = createServer(async (req, res) => {
    let text = "";
    for await (const chunk of req) text += chunk;
    const request = { path: req.url, headers: req.headers, body: text && JSON.parse(text) };
    requests.push(request);
    const a = await answer(request, requests.length - 1);
    if (!a) return req.socket.destroy();
    if (a.events) {
      res.writeHead(200, { "Content-Type": "text/event-stream" });
      for (const event of a.events) res.write(event);
      return a.open ? undefined : res.end();
    }
    res.writeHead(a.status ?? 200, a.headers).end(typeof a.body === "string" ? a.body : JSON.stringify(a.body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: "http://127.0.0.1:" + server.address().port,
    requests,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** The answer to a call or a batch of which every item has the result. */
export function result(request, value) {
  const one = (call) => ({ jsonrpc: "2.0", id: call.id, result: value });
  return { body: Array.isArray(request.body) ? request.body.map(one) : one(request.body) };
}

/** A refusal of the whole request. */
export function refusal(status, kind, data = {}) {
  return { status, body: { jsonrpc: "2.0", id: null, error: { code: 1, message: kind, data: { kind, request_id: "r", ...data } } } };
}

/** Server-sent events, as the server has them. */
export const hello = (position, epoch = "e1") =>
  `id: ${position}\nevent: hello\ndata: ${JSON.stringify({ position, epoch, server_time: "2026-01-01T00:00:00Z" })}\n\n`;
export const change = (position, prev, params = {}) =>
  `id: ${position}\nevent: change\ndata: ${JSON.stringify({ jsonrpc: "2.0", method: "change", params: { position, prev, ...params } })}\n\n`;
export const ping = (position) => `id: ${position}\nevent: ping\ndata: {"position":${position}}\n\n`;
export const farewell = (event, reason) => `event: ${event}\ndata: ${JSON.stringify({ reason })}\n\n`;
