// What the Go library does, byte for byte.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decodeOps, Doc, encodeOps, formatAnchor, parseAnchor, TextError } from "../dist/index.js";
import { randoms } from "./random.js";

const vectors = JSON.parse(readFileSync(new URL("../../../modules/textcrdt/testdata/vectors.json", import.meta.url)));
const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));

function op(v) {
  const { site, seq, session, sum, n, text = "" } = v;
  const ref = { site: v.ref_site, seq: v.ref_seq };
  const run = { id: { site, seq }, session, sum, n };
  return v.delete ? { kind: "delete", ...run, target: ref, back: v.back ?? false } : { kind: "insert", ...run, origin: ref, text };
}

/** Operations as they are sent. */
const sent = (ops) => ops.map(({ newest, ...rest }) => rest);

for (const h of vectors.histories) {
  test("history: " + h.name, () => {
    const docs = new Map();
    for (const b of h.batches) {
      let doc = docs.get(b.site);
      if (!doc) doc = { doc: new Doc(b.site, b.session), session: b.session };
      else if (doc.session !== b.session) doc = { doc: Doc.load(doc.doc.snapshot(), b.site, b.session), session: b.session };
      docs.set(b.site, doc);
      for (const i of b.heard) doc.doc.apply(decodeOps(bytes(h.batches[i].bytes)));
      assert.equal(doc.doc.early, 0);
      const ops = b.edits.flatMap(({ pos, deleted = 0, text = "" }) => {
        const from = doc.doc.fromPoints(pos);
        const deletes = doc.doc.delete(from, doc.doc.fromPoints(pos + deleted) - from);
        return [...deletes, ...doc.doc.insert(from, text)];
      });
      assert.deepEqual(sent(ops), b.ops.map(op));
      assert.deepEqual(encodeOps(ops), bytes(b.bytes));
      assert.deepEqual(decodeOps(bytes(b.bytes)), b.ops.map(op));
    }
    const random = randoms(1);
    for (let round = 0; round < 4; round++) {
      const order = h.batches.map((_, i) => i);
      if (round > 0) order.sort(() => random(3) - 1);
      const doc = new Doc();
      for (const i of [...order, order[0]]) doc.apply(decodeOps(bytes(h.batches[i].bytes)));
      assert.equal(doc.toString(), h.text);
      assert.deepEqual(doc.snapshot(), bytes(h.snapshot));
      assert.deepEqual(Object.fromEntries(doc.version), h.version);
      assert.deepEqual(encodeOps(doc.operations(new Map())), bytes(h.history));
      assert.deepEqual(Doc.load(bytes(h.snapshot)).snapshot(), bytes(h.snapshot));
      for (const { pos, before, anchor, utf16 } of h.anchors) {
        assert.equal(doc.fromPoints(pos), utf16);
        assert.equal(doc.toPoints(utf16), pos);
        assert.equal(formatAnchor(doc.anchor(utf16, before)), anchor);
        assert.equal(doc.resolve(parseAnchor(anchor)), utf16);
      }
    }
  });
}

test("verdicts", () => {
  for (const j of vectors.judged) {
    if ((j.op.delete && j.op.text) || (!j.op.delete && j.op.back)) continue; // the types have no such thing
    const doc = new Doc();
    doc.apply(j.history.map(op));
    const docs = [doc];
    if (j.op.seq > (doc.version.get(j.op.site) ?? 0)) docs.push(Doc.load(doc.snapshot()));
    for (const doc of docs) {
      let verdict = "ok";
      try {
        doc.apply([op(j.op)]);
        if (doc.early > 0) verdict = "early";
      } catch (error) {
        verdict = error instanceof TextError ? error.reason : error;
      }
      assert.equal(verdict, j.verdict, j.name);
      assert.equal(doc.toString(), j.text, j.name);
    }
  }
});

test("encodings", () => {
  for (const e of vectors.encodings) {
    let ok = true;
    try {
      if (e.kind === "snapshot") Doc.load(bytes(e.bytes), 1);
      else decodeOps(bytes(e.bytes));
    } catch (error) {
      assert.ok(error instanceof TextError, `${e.name}: ${error.stack}`);
      ok = false;
    }
    assert.equal(ok, e.ok, e.name);
  }
});
