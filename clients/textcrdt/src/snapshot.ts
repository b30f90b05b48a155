import { frame, malformed, Reader, type Texts, unframe, Writer } from "./bytes.js";
import { maxNumber, maxSite } from "./op.js";
import { Site } from "./site.js";
import { joinable, maxSpan, Span } from "./tree.js";

// The flags of a span's head.
const isDeleted = 1;
const otherSite = 2;
const otherLag = 4;
const otherSession = 8;
const flags = 16;

/** What a snapshot says. */
interface Snapshot {
  readonly spans: Iterable<Span>;
  readonly sites: Map<number, Site>;
}

export function writeSnapshot({ spans, sites }: Snapshot): Uint8Array {
  const ids = [...sites.keys()].sort((a, b) => a - b);
  const out = new Writer();
  const states = new Map<Site, { index: number; next: number; lag: number }>();
  out.uvarint(ids.length);
  ids.forEach((id, i) => {
    const site = sites.get(id)!;
    out.uvarint(id - (ids[i - 1] ?? 0));
    out.uvarint(site.seq);
    out.uvarint(site.sum - site.seq);
    out.uvarint(site.session);
    states.set(site, { index: i, next: 1, lag: site.sum - site.seq });
  });
  const body = new Writer();
  const text: string[] = [];
  let count = 0;
  let site: Site | undefined;
  let session = 0;
  const write = (first: Span, n: number) => {
    const state = states.get(first.site)!;
    const lag = first.sum - first.seq;
    let head = first.deleted ? isDeleted : 0;
    if (first.site !== site) head |= otherSite;
    if (lag !== state.lag) head |= otherLag;
    if (first.session !== session) head |= otherSession;
    body.uvarint(n * flags + head);
    if (head & otherSite) body.uvarint(state.index);
    if (head & otherLag) body.svarint(lag - state.lag);
    if (head & otherSession) body.uvarint(first.session);
    body.svarint(first.seq - state.next);
    state.next = first.seq + n;
    state.lag = lag;
    site = first.site;
    session = first.session;
    count++;
  };
  // Neighbours that continue one another are written as one.
  let first: Span | undefined;
  let last: Span | undefined;
  let n = 0;
  for (const span of spans) {
    if (last && joinable(last, span)) {
      n += span.n;
    } else {
      if (first) write(first, n);
      first = span;
      n = span.n;
    }
    last = span;
    if (!span.deleted) text.push(span.text);
  }
  if (first) write(first, n);
  body.text(text.join(""));
  out.uvarint(count);
  out.raw(body.bytes());
  return frame("s", out.bytes());
}

export function readSnapshot(bytes: Uint8Array): Snapshot & { spans: Span[] } {
  const body = new Reader(unframe(bytes, "s").body);
  const vector: { site: Site; next: number; lag: number }[] = [];
  for (let id = 0, k = body.count(4); k > 0; k--) {
    const more = body.uvarint(maxSite - id);
    if (more === 0) throw malformed("the sites do not rise");
    id += more;
    const site = new Site(id);
    site.seq = body.uvarint(maxNumber);
    if (site.seq === 0) throw malformed("a site has done nothing");
    const lag = body.uvarint(maxNumber - site.seq);
    site.sum = site.seq + lag;
    site.session = body.uvarint(maxNumber);
    vector.push({ site, next: 1, lag });
  }
  const read: Span[] = [];
  let state: (typeof vector)[number] | undefined;
  let session = 0;
  for (let m = body.count(2); m > 0; m--) {
    const head = body.uvarint();
    const bits = head % flags;
    const n = (head - bits) / flags;
    const before = { state, session };
    if (bits & otherSite) state = vector[body.uvarint()];
    if (!state) throw malformed("a span has no site");
    const { lag } = state;
    if (bits & otherLag) state.lag += body.svarint();
    if (bits & otherSession) session = body.uvarint(maxNumber);
    const needless =
      (bits & otherSite && state === before.state) || (bits & otherLag && state.lag === lag) || (bits & otherSession && session === before.session);
    if (needless) throw malformed("a span is not told in the shortest way");
    const seq = state.next + body.svarint();
    const span = new Span(state.site, seq, n, session, seq + state.lag, (bits & isDeleted) !== 0, "");
    const ok = n > 0 && seq > 0 && state.lag >= 0 && fits(span, state.site);
    if (!ok) throw malformed("a span contradicts the last of its site");
    const last = read[read.length - 1];
    if (last && joinable(last, span)) throw malformed("two spans could be one");
    state.next = seq + n;
    read.push(span);
  }
  const texts = body.texts();
  const spans = read.flatMap((span) => (span.deleted ? span : cut(span, texts)));
  texts.end();
  const own = new Map(vector.map(({ site }) => [site, [] as Span[]]));
  for (const span of spans) own.get(span.site)!.push(span);
  for (const [site, its] of own) {
    its.sort((a, b) => a.seq - b.seq);
    const sound = its.every((span, i) => i === 0 || precedes(its[i - 1]!, span));
    if (!sound) throw malformed("two spans contradict each other");
    site.fill(its);
  }
  return { spans, sites: new Map(vector.map(({ site }) => [site.id, site])) };
}

/** Tells whether what the site did last is the end of the span, or can be behind it. */
function fits(span: Span, site: Site): boolean {
  const left = site.seq - (span.seq + span.n - 1);
  const lag = site.sum - site.seq - (span.sum - span.seq);
  const sessions = site.session - span.session;
  return left === 0 ? lag === 0 && sessions === 0 : left > 0 && lag >= 0 && sessions >= 0;
}

/** Tells whether a site can have done the one before the other. A site's sums never fall back behind its seqs. */
function precedes(a: Span, b: Span): boolean {
  return a.seq + a.n <= b.seq && a.sum - a.seq <= b.sum - b.seq && a.session <= b.session;
}

/** The span with its text, in pieces of the size that edits are quick in. */
function cut(span: Span, texts: Texts): Span[] {
  const pieces: Span[] = [];
  for (let k = 0; k < span.n; k += maxSpan) {
    const n = Math.min(maxSpan, span.n - k);
    pieces.push(new Span(span.site, span.seq + k, n, span.session, span.sum + k, false, texts.take(n)));
  }
  return pieces;
}
