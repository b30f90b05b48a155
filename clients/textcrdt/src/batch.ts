import { frame, malformed, Reader, unframe, Writer } from "./bytes.js";
import { type Id, maxNumber, maxSite, type Op, start } from "./op.js";

// The flags of a run's head.
const isDelete = 1;
const otherSite = 2;
const otherSum = 4;
const otherSession = 8;
const otherRefSite = 16;
const isBack = 32;
const flags = 64;

/** What is known of a site after some runs. */
interface SiteState {
  readonly id: number;
  /** Its place in the table of sites. */
  readonly index: number;
  /** The seq of its first run, and of its next one. */
  first: number;
  next: number;
  /** The seq that was last referred to. */
  touched: number;
}

/** The bytes of operations. Each site's must follow one another without a gap, as those of edits in a row do. */
export function encodeOps(ops: readonly Op[]): Uint8Array {
  const sites = new Map<number, SiteState>();
  const state = (id: number) => {
    let site = sites.get(id);
    if (!site) sites.set(id, (site = { id, index: sites.size, first: 0, next: 0, touched: 0 }));
    return site;
  };
  for (const op of ops) {
    const own = state(op.id.site);
    if (own.first === 0) own.first = own.next = op.id.seq;
    if (op.id.seq !== own.next) throw new RangeError("the site's operations do not follow one another");
    own.next += op.n;
    if (refOf(op).site !== 0) state(refOf(op).site);
  }
  const out = new Writer();
  out.uvarint(sites.size);
  for (const { id, first } of sites.values()) {
    out.uvarint(id);
    out.uvarint(first);
  }
  out.uvarint(ops.length);
  let site = 0;
  let sum = 1;
  let session = 0;
  const text: string[] = [];
  for (const op of ops) {
    const own = state(op.id.site);
    const ref = refOf(op);
    const refs = ref.site === 0 ? undefined : state(ref.site);
    let head = 0;
    if (op.kind === "delete") head |= isDelete | (op.back ? isBack : 0);
    if (op.id.site !== site) head |= otherSite;
    if (op.sum !== sum) head |= otherSum;
    if (op.session !== session) head |= otherSession;
    if (refs !== own) head |= otherRefSite;
    out.uvarint(op.n * flags + head);
    if (head & otherSite) out.uvarint(own.index);
    if (head & otherSum) out.svarint(op.sum - sum);
    if (head & otherSession) out.uvarint(op.session);
    if (head & otherRefSite) out.uvarint(refs ? 1 + refs.index : 0);
    if (refs) out.svarint(ref.seq - refs.touched);
    touch(op, own, refs);
    if (op.kind === "insert") text.push(op.text);
    site = op.id.site;
    session = op.session;
    sum = op.sum + op.n;
  }
  out.text(text.join(""));
  return frame("o", out.bytes());
}

/** The operations of bytes, deflated or not. It throws a TextError if they are none. */
export function decodeOps(bytes: Uint8Array): Op[] {
  const body = new Reader(unframe(bytes, "o").body);
  const sites: SiteState[] = [];
  for (let index = 0, k = body.count(2); index < k; index++) {
    const id = body.uvarint(maxSite);
    const first = body.uvarint(maxNumber);
    sites.push({ id, index, first, next: first, touched: 0 });
  }
  if (new Set(sites.map(({ id }) => id)).size < sites.length || sites.some(({ id }) => id === 0)) throw malformed("a site is 0 or there twice");
  // They stand in the order in which the runs mention them.
  let mentioned = 0;
  const at = (index: number) => {
    const site = sites[index];
    if (!site || index > mentioned) throw malformed("there is no such site");
    if (index === mentioned) mentioned++;
    return site;
  };
  const ops: Op[] = [];
  let own: SiteState | undefined;
  let sum = 1;
  let session = 0;
  for (let m = body.count(2); m > 0; m--) {
    const head = body.uvarint();
    const bits = head % flags;
    const n = (head - bits) / flags;
    const before = { own, sum, session };
    if (bits & otherSite) own = at(body.uvarint());
    if (!own || own.next === 0) throw malformed("a run has no site");
    if (bits & otherSum) sum += body.svarint();
    if (bits & otherSession) session = body.uvarint(maxNumber);
    let refs: SiteState | undefined = own;
    if (bits & otherRefSite) {
      const index = body.uvarint();
      refs = index === 0 ? undefined : at(index - 1);
    }
    const needless =
      (bits & otherSite && own === before.own) ||
      (bits & otherSum && sum === before.sum) ||
      (bits & otherSession && session === before.session) ||
      (bits & otherRefSite && refs === own);
    if (needless) throw malformed("a run is not told in the shortest way");
    const ref = refs ? { site: refs.id, seq: refs.touched + body.svarint() } : start;
    const id = { site: own.id, seq: own.next };
    const within = n > 0 && id.seq + n - 1 <= maxNumber && sum > 0 && sum + n - 1 <= maxNumber && (!refs || (ref.seq > 0 && ref.seq <= maxNumber));
    if (!within) throw malformed("a number is out of bounds");
    if (bits & isDelete) {
      const back = (bits & isBack) !== 0;
      if (!refs || (back ? ref.seq < n : ref.seq + n - 1 > maxNumber)) throw malformed("a deletion has no targets");
      ops.push({ kind: "delete", id, session, sum, n, target: ref, back });
    } else {
      if (bits & isBack) throw malformed("an insertion is none backwards");
      ops.push({ kind: "insert", id, session, sum, n, origin: ref, text: "" });
    }
    touch(ops[ops.length - 1]!, own, refs);
    own.next += n;
    sum += n;
  }
  if (mentioned < sites.length || sites.some(({ first, next }) => first !== 0 && next === first)) throw malformed("a site has no runs");
  const texts = body.texts();
  const whole = ops.map((op) => (op.kind === "insert" ? { ...op, text: texts.take(op.n) } : op));
  texts.end();
  return whole;
}

function refOf(op: Op): Id {
  return op.kind === "insert" ? op.origin : op.target;
}

function touch(op: Op, own: SiteState, refs: SiteState | undefined): void {
  if (op.kind === "delete") return void (refs!.touched = op.target.seq + (op.back ? 1 - op.n : op.n - 1));
  if (refs) refs.touched = op.origin.seq;
  own.touched = op.id.seq + op.n - 1;
}
