// Chance that can be had again.

/** Gives a function that gives numbers under its argument (mulberry32). */
export function randoms(seed) {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const pieces = ["a", "b", "xyz", "\n", "é", "漢字", "😀", "🏳️‍🌈", "the quick brown fox "];

/** An edit of the text that splits no surrogate pair. */
export function randomEdit(random, text, most = 30) {
  const whole = (at) => (at > 0 && (text.charCodeAt(at) & 0xfc00) === 0xdc00 ? at - 1 : at);
  const pos = whole(random(text.length + 1));
  const deleted = random(3) === 0 ? whole(Math.min(text.length, pos + random(most))) - pos : 0;
  const inserted = random(3) > 0 || deleted <= 0 ? pieces[random(pieces.length)] : "";
  return { pos, deleted: Math.max(deleted, 0), inserted };
}
