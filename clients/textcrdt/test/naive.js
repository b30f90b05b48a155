// docs/textcrdt.md word for word, with an array of characters.

const greater = (a, b) => a.session - b.session || a.sum - b.sum || a.site - b.site;

export class Naive {
  #characters = [];

  /** Applies operations, of which none may be early. */
  apply(ops) {
    for (const op of ops) {
      for (let i = 0; i < op.n; i++) {
        const { site } = op.id;
        const seq = op.id.seq + i;
        if (op.kind === "delete") {
          this.#characters[this.#index({ site: op.target.site, seq: op.target.seq + (op.back ? -i : i) })].deleted = true;
          continue;
        }
        const it = { site, seq, session: op.session, sum: op.sum + i, text: [...op.text][i] };
        let at = this.#index(i === 0 ? op.origin : { site, seq: seq - 1 }) + 1;
        while (at < this.#characters.length && greater(this.#characters[at], it) > 0) at++;
        this.#characters.splice(at, 0, it);
      }
    }
  }

  toString() {
    return this.#characters
      .filter((it) => !it.deleted)
      .map((it) => it.text)
      .join("");
  }

  #index({ site, seq }) {
    return site === 0 ? -1 : this.#characters.findIndex((it) => it.site === site && it.seq === seq);
  }
}
