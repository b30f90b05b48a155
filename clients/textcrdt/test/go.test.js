// The port beside the Go library: what one makes, the other takes, and both come to the same bytes.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { decodeOps, Doc, encodeOps, pack } from "../dist/index.js";
import { randomEdit, randoms } from "./random.js";

const folder = mkdtempSync(join(tmpdir(), "textcrdt-"));
before(() => {
  const built = spawnSync("go", ["build", "-o", join(folder, "replica"), "./replica"], {
    cwd: fileURLToPath(new URL(".", import.meta.url)),
    stdio: "inherit",
  });
  assert.equal(built.status, 0);
});
after(() => rmSync(folder, { recursive: true }));

/** Starts a replica of the Go library. */
function start() {
  const child = spawn(join(folder, "replica"), { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async do(command, bytes) {
      child.stdin.write(JSON.stringify({ ...command, ...(bytes && { bytes: Buffer.from(bytes).toString("base64") }) }) + "\n");
      const answer = JSON.parse((await lines.next()).value);
      assert.equal(answer.error, undefined);
      return { ...answer, bytes: new Uint8Array(Buffer.from(answer.bytes, "base64")) };
    },
    stop: () => child.kill(),
  };
}

for (let seed = 1; seed <= 5; seed++) {
  test("Go and TypeScript converge: " + seed, async (t) => {
    const random = randoms(seed);
    const go = start();
    t.after(() => go.stop());
    await go.do({ do: "open", site: 1, session: seed % 2 });
    const mine = [new Doc(2, 0), new Doc(3, 1)];
    const boxes = [[], [], []]; // of Go's and mine
    let text = ""; // Go's
    for (let i = 0; i < 250; i++) {
      const who = random(3);
      if (random(3) === 0) {
        const box = boxes[who];
        if (box.length === 0) continue;
        const at = random(box.length);
        const [bytes] = random(4) > 0 ? box.splice(at, 1) : [box[at]];
        if (who > 0) mine[who - 1].apply(decodeOps(bytes));
        else ({ text } = await go.do({ do: "apply" }, random(2) ? bytes : pack(bytes)));
        continue;
      }
      const doc = mine[who - 1];
      const edit = randomEdit(random, doc ? doc.toString() : text, 8);
      let bytes;
      if (doc) {
        bytes = encodeOps(doc.replace(edit.pos, edit.deleted, edit.inserted));
      } else {
        const was = text;
        const points = (from, to) => [...was.slice(from, to)].length;
        const command = { do: "edit", pos: points(0, edit.pos), deleted: points(edit.pos, edit.pos + edit.deleted), text: edit.inserted };
        ({ bytes, text } = await go.do(command));
        assert.equal(text, was.slice(0, edit.pos) + edit.inserted + was.slice(edit.pos + edit.deleted));
      }
      boxes.forEach((box, j) => j !== who && box.push(bytes));
    }
    for (const bytes of boxes[0]) await go.do({ do: "apply" }, bytes);
    mine.forEach((doc, i) => boxes[i + 1].forEach((bytes) => doc.apply(decodeOps(bytes))));
    const { bytes: snapshot, text: end, early } = await go.do({ do: "snapshot" });
    assert.equal(early, 0);
    for (const doc of mine) {
      assert.equal(doc.toString(), end);
      assert.deepEqual(doc.snapshot(), snapshot);
    }
    // Each tells its whole history to an empty replica of the other.
    const history = await go.do({ do: "history" });
    const copy = new Doc();
    copy.apply(decodeOps(history.bytes));
    assert.deepEqual(copy.snapshot(), snapshot);
    assert.deepEqual(encodeOps(mine[0].operations(new Map())), encodeOps(decodeOps(history.bytes)));
    await go.do({ do: "open" });
    await go.do({ do: "apply" }, pack(encodeOps(mine[1].operations(new Map()))));
    assert.deepEqual((await go.do({ do: "snapshot" })).bytes, snapshot);
    // And goes on from a snapshot of the other.
    await go.do({ do: "open", site: 4 }, pack(mine[0].snapshot()));
    const { bytes } = await go.do({ do: "edit", pos: 0, text: ">" });
    const late = Doc.load(pack(snapshot), 5);
    late.apply(decodeOps(bytes));
    await go.do({ do: "apply" }, encodeOps(late.insert(0, "<")));
    assert.deepEqual((await go.do({ do: "snapshot" })).bytes, late.snapshot());
  });
}
