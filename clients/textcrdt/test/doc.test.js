// The document, alone and beside others.
import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeOps, Doc, encodeOps, formatAnchor, pack, parseAnchor, TextError, unpack } from "../dist/index.js";
import { Naive } from "./naive.js";
import { randomEdit, randoms } from "./random.js";

test("edits are those of a string", () => {
  const random = randoms(1);
  const doc = new Doc(1);
  const naive = new Naive();
  let text = "";
  for (let i = 0; i < 3000; i++) {
    const { pos, deleted, inserted } = randomEdit(random, text);
    const ops = doc.replace(pos, deleted, inserted);
    naive.apply(ops);
    text = text.slice(0, pos) + inserted + text.slice(pos + deleted);
    if (i % 50 === 0) {
      assert.equal(doc.toString(), text);
      assert.equal(naive.toString(), text);
    }
    assert.equal(doc.length, text.length);
  }
  assert.equal(doc.slice(3, 300), text.slice(3, 300));
  const points = [...text];
  for (let k = 0; k <= points.length; k += 7) {
    const pos = points.slice(0, k).join("").length;
    assert.equal(doc.toPoints(pos), k);
    assert.equal(doc.fromPoints(k), pos);
  }
});

for (let seed = 1; seed <= 20; seed++) {
  test(`replicas converge, with what comes late, twice and in another order: ${seed}`, () => {
    const random = randoms(seed);
    const docs = [1, 2, 3, 4].map((site) => new Doc(site, seed % 3));
    const shown = docs.map(() => "");
    const inbox = docs.map(() => []);
    const all = [];
    for (let round = 0; round < 400; round++) {
      const i = random(docs.length);
      if (random(3) > 0) {
        const { pos, deleted, inserted } = randomEdit(random, docs[i].toString(), 6);
        const ops = docs[i].replace(pos, deleted, inserted);
        shown[i] = docs[i].toString();
        if (ops.length === 0) continue;
        all.push(...ops);
        inbox.forEach((box, j) => j !== i && box.push(encodeOps(ops)));
      } else {
        deliver(i, random(5) + 1);
      }
    }
    docs.forEach((_, i) => deliver(i, Infinity));
    const naive = new Naive();
    naive.apply(all.sort((a, b) => a.sum - b.sum));
    for (const [i, doc] of docs.entries()) {
      assert.equal(doc.early, 0);
      assert.deepEqual(doc.snapshot(), docs[0].snapshot());
      assert.equal(doc.toString(), naive.toString());
      assert.equal(shown[i], doc.toString());
      assert.deepEqual(Doc.load(pack(doc.snapshot())).snapshot(), doc.snapshot());
    }
    // The whole history, and the part of it that a replica of some time misses.
    const copy = new Doc();
    const history = docs[0].operations(new Map());
    copy.apply(decodeOps(pack(encodeOps(history))));
    assert.equal(copy.early, 0);
    assert.deepEqual(copy.snapshot(), docs[0].snapshot());
    assert.deepEqual(copy.operations(new Map()), history);
    const old = new Doc();
    old.apply(history.slice(0, history.length / 2));
    const late = Doc.load(old.snapshot());
    for (const doc of [old, late]) {
      doc.apply(docs[1].operations(doc.version));
      assert.deepEqual(doc.snapshot(), docs[0].snapshot());
    }
    assert.deepEqual(late.operations(late.base), old.operations(late.base));

    function deliver(i, n) {
      for (; n > 0 && inbox[i].length > 0; n--) {
        const at = random(inbox[i].length);
        const bytes = inbox[i][at];
        if (random(4) > 0) inbox[i].splice(at, 1);
        docs[i].apply(decodeOps(bytes), ({ pos, deleted, text }) => {
          shown[i] = shown[i].slice(0, pos) + text + shown[i].slice(pos + deleted);
        });
      }
    }
  });
}

test("surrogate pairs stay whole", () => {
  const doc = new Doc(1);
  doc.insert(0, "a😀b");
  assert.deepEqual(
    doc.insert(2, "x").map((op) => op.kind),
    ["delete", "insert"],
  );
  assert.equal(doc.toString(), "a\ufffdx\ufffdb");
  const other = new Doc(1);
  other.insert(0, "a😀b");
  other.replace(2, 1, "\ude01");
  assert.equal(other.toString(), "a😁b");
  other.insert(4, "\ud83d");
  assert.equal(other.toString(), "a😁b\ufffd");
});

test("anchors stay where they are", () => {
  const doc = new Doc(7);
  doc.insert(0, "a😀bc");
  const before = doc.anchor(3, true);
  const after = doc.anchor(3, false);
  assert.deepEqual([formatAnchor(before), formatAnchor(after)], ["7.3b", "7.2a"]);
  doc.insert(3, "xx");
  assert.deepEqual([doc.resolve(before), doc.resolve(after)], [5, 3]);
  doc.delete(1, 5);
  assert.deepEqual([doc.resolve(before), doc.resolve(after)], [1, 1]);
  assert.deepEqual([formatAnchor(doc.anchor(0, false)), formatAnchor(doc.anchor(doc.length, true))], ["0.0a", "0.0b"]);
  assert.deepEqual([doc.resolve(parseAnchor("0.0b")), doc.resolve(parseAnchor("9.1a"))], [doc.length, undefined]);
  for (const bad of ["", "1.2", "1.2c", "01.2a", "0.1a", "1.0a", "4294967296.1a"]) assert.equal(parseAnchor(bad), undefined);
});

test("what cannot be is refused and changes nothing", () => {
  const doc = new Doc(1);
  const ops = [...doc.insert(0, "hello"), ...doc.delete(1, 2)];
  const replica = new Doc();
  replica.apply(ops);
  const was = replica.snapshot();
  const insert = { kind: "insert", id: { site: 2, seq: 1 }, session: 0, sum: 8, n: 1, origin: { site: 1, seq: 1 }, text: "x" };
  const remove = { kind: "delete", id: { site: 2, seq: 1 }, session: 0, sum: 8, n: 2, target: { site: 1, seq: 4 }, back: false };
  const bad = [
    { ...insert, text: "xy" },
    { ...insert, text: "\ud83d" },
    { ...insert, sum: 1, origin: { site: 1, seq: 2 } },
    { ...insert, origin: { site: 1, seq: 6 } },
    { ...insert, origin: { site: 0, seq: 6 } },
    { ...insert, id: { site: 1, seq: 5 } },
    { ...ops[0], sum: 2 },
    { ...ops[1], session: 1 },
    { ...remove, sum: 3 },
    { ...remove, n: 3 },
    { ...remove, n: 0 },
    { ...remove, target: { site: 1, seq: 1 }, back: true },
  ];
  for (const op of bad) {
    assert.throws(
      () => replica.apply([op]),
      (error) => error instanceof TextError && error.reason === "malformed" && error.index === 0,
      JSON.stringify(op),
    );
    assert.deepEqual(replica.snapshot(), was);
  }
  replica.apply([
    { ...insert, sum: 9 },
    { ...insert, id: { site: 2, seq: 2 } },
    { ...insert, origin: { site: 3, seq: 1 } },
  ]);
  assert.equal(replica.early, 3);
  assert.deepEqual(replica.snapshot(), was);
});

test("what waits is bounded", () => {
  const replica = new Doc();
  const insert = (seq, text) => ({ kind: "insert", id: { site: 2, seq }, session: 0, sum: seq, n: text.length, origin: { site: 0, seq: 0 }, text });
  replica.apply([insert(2, "x".repeat(1 << 20))]);
  assert.throws(
    () => replica.apply([insert(1 << 21, "x")]),
    (error) => error instanceof TextError && error.reason === "full",
  );
  const other = new Doc();
  for (let i = 0; i < 10_000; i++) other.apply([insert(2 + i, "x")]);
  assert.throws(
    () => other.apply([insert(20_000, "x")]),
    (error) => error instanceof TextError && error.reason === "full",
  );
  assert.equal(other.early, 10_000);
  other.apply([insert(1, "x")]);
  assert.deepEqual([other.early, other.length], [0, 10_001]);
  other.apply([insert(20_000, "x")]);
  assert.equal(other.early, 1);
});

test("bytes that are none are refused", () => {
  const doc = new Doc(5);
  const ops = [...doc.insert(0, "some text that is long enough"), ...doc.delete(2, 3), ...doc.insert(4, "ü😀")];
  for (const [bytes, decode] of [
    [encodeOps(ops), decodeOps],
    [doc.snapshot(), Doc.load],
  ]) {
    const packed = pack(bytes);
    assert.deepEqual(unpack(packed), bytes);
    assert.deepEqual(pack(packed), packed);
    for (let i = 0; i < bytes.length; i++) {
      const broken = bytes.slice();
      broken[i] ^= 1;
      assert.throws(() => decode(broken), TextError);
      assert.throws(() => decode(bytes.slice(0, i)), TextError);
    }
    assert.throws(() => decode(packed.slice(0, -1)), TextError);
  }
});
