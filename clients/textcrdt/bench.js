// Replays what somebody typed: node bench.js ../../../shared/data/traces/automerge-paper.json.gz
// The format is that of github.com/josephg/editing-traces. It prints the best of five runs, in milliseconds.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

import { decodeOps, Doc, encodeOps, pack } from "./dist/index.js";

const { txns, endContent } = JSON.parse(gunzipSync(readFileSync(process.argv[2])));
const edits = txns.flatMap(({ patches }) => patches);
const best = {};

function time(name, work) {
  const start = performance.now();
  const result = work();
  best[name] = Math.min(best[name] ?? Infinity, performance.now() - start);
  return result;
}

function check(doc) {
  if (doc.toString() !== endContent) throw new Error("it ends otherwise");
}

for (let run = 0; run < 5; run++) {
  const doc = new Doc(1);
  const batches = time("local", () => edits.map(([pos, deleted, text]) => doc.replace(pos, deleted, text)));
  check(doc);
  const other = new Doc();
  time("remote, per edit", () => batches.forEach((ops) => other.apply(ops, () => {})));
  check(other);
  const snapshot = time("snapshot, packed", () => pack(doc.snapshot()));
  check(time("load it", () => Doc.load(snapshot)));
  const history = time("history, packed", () => pack(encodeOps(doc.operations(new Map()))));
  const late = new Doc();
  time("apply it", () => late.apply(decodeOps(history)));
  check(late);
  Object.assign(best, { "bytes of the snapshot": snapshot.length, "bytes of the history": history.length });
}
for (const [name, value] of Object.entries(best)) console.log(name.padEnd(24), Math.round(value * 10) / 10);
