// Undo and redo, alone and among others.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Doc, Undo } from "../dist/index.js";
import { randomEdit, randoms } from "./random.js";

test("alone, undo and redo walk along the texts that there were", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = randoms(seed);
    const doc = new Doc(1);
    doc.insert(0, "0123456789");
    const undo = new Undo(doc);
    let texts = [doc.toString()];
    let at = 0;
    for (let i = 0; i < 60; i++) {
      let shown = doc.toString();
      const changed = ({ pos, deleted, text }) => (shown = shown.slice(0, pos) + text + shown.slice(pos + deleted));
      const move = random(6);
      if (move < 3) {
        const { pos, deleted, inserted } = randomEdit(random, doc.toString(), 6);
        const ops = doc.replace(pos, deleted, inserted, changed);
        if (ops.length === 0) continue;
        if (move < 2) undo.add(ops);
        else undo.extend(ops);
        if (move < 2 || at === 0 || at < texts.length - 1) at++;
        texts = [...texts.slice(0, at), doc.toString()];
      } else if (move < 5) {
        undo.undo(changed);
        at = Math.max(at - 1, 0);
      } else {
        undo.redo(changed);
        at = Math.min(at + 1, texts.length - 1);
      }
      assert.equal(doc.toString(), texts[at]);
      assert.equal(shown, texts[at]);
      assert.deepEqual(undo.steps, { undo: at, redo: texts.length - 1 - at });
    }
  }
});

test("among others, undo takes back one's own", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randoms(seed);
    const [mine, others] = [new Doc(1), new Doc(2)];
    const start = "0123456789";
    others.apply(mine.insert(0, start));
    const undo = new Undo(mine);
    const mineMade = new Set();
    const gone = new Set(); // by the other
    const back = new Set(); // by me, again
    const unheard = new Set(); // of gone
    let toMe = [];
    let toOthers = [];
    let next = [0x41, 0x3b1];
    const exchange = () => {
      mine.apply(toMe);
      others.apply(toOthers);
      toMe = [];
      toOthers = [];
      unheard.clear();
    };
    const undone = (ops) => {
      for (const op of ops)
        for (const char of op.text ?? "") {
          assert.ok(!gone.has(char) || unheard.has(char), `${char} comes back, which the other deleted: ${seed}`);
          back.add(char);
        }
      toOthers.push(...ops);
    };
    for (let i = 0; i < 40; i++) {
      const move = random(7);
      if (move < 4) {
        const me = move % 2;
        const doc = me ? mine : others;
        const pos = random(doc.length + 1);
        const n = Math.min(doc.length - pos, 3);
        if (n > 0 && random(2) === 0) {
          if (!me) for (const char of doc.slice(pos, pos + n)) (gone.add(char), unheard.add(char));
          const ops = doc.delete(pos, n);
          if (me) undo.add(ops);
          (me ? toOthers : toMe).push(...ops);
        } else {
          const text = String.fromCharCode(next[1 - me]++);
          if (me) mineMade.add(text);
          const ops = doc.insert(pos, text);
          if (me) undo.add(ops);
          (me ? toOthers : toMe).push(...ops);
        }
      } else if (move === 4) {
        exchange();
      } else {
        undone(move === 5 ? undo.undo() : undo.redo());
      }
    }
    exchange();
    while (undo.steps.undo > 0) undone(undo.undo());
    exchange();
    assert.equal(mine.toString(), others.toString());
    const text = mine.toString();
    for (const char of mineMade) assert.ok(!text.includes(char), `${char} of mine is still there: ${seed}`);
    for (const char of start) assert.ok(text.includes(char) || gone.has(char), `${char} is lost: ${seed}`);
    for (const char of gone) assert.ok(!text.includes(char) || back.has(char), `${char} is there again: ${seed}`);
  }
});
