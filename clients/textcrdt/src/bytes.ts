// The bytes of docs/textcrdt.md: numbers, the frame around a body, DEFLATE.

import { deflateSync, inflateSync } from "fflate";

import { insidePair, TextError } from "./op.js";

/** How long an inflated body may be. */
const maxBody = 64 << 20;
/** DEFLATE makes no more than this many bytes of one. */
const maxRatio = 1032;

export function malformed(what: string): TextError {
  return new TextError("malformed", what);
}

export class Writer {
  #bytes = new Uint8Array(256);
  #length = 0;

  /** Writes unsigned LEB128. */
  uvarint(x: number): void {
    this.#reserve(10);
    for (; x >= 128; x = Math.floor(x / 128)) this.#bytes[this.#length++] = (x % 128) | 128;
    this.#bytes[this.#length++] = x;
  }

  /** Writes a number that may be negative, zigzag. */
  svarint(x: number): void {
    this.uvarint(x < 0 ? -2 * x - 1 : 2 * x);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  text(text: string): void {
    this.raw(new TextEncoder().encode(text));
  }

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #reserve(n: number): void {
    if (this.#length + n <= this.#bytes.length) return;
    const grown = new Uint8Array(2 * (this.#length + n));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}

export class Reader {
  #at = 0;

  constructor(readonly bytes: Uint8Array) {}

  uvarint(most = Number.MAX_SAFE_INTEGER): number {
    let x = 0;
    for (let i = 0, scale = 1; i < 10; i++, scale *= 128) {
      const byte = this.bytes[this.#at++];
      if (byte === undefined) throw malformed("it ends too early");
      x += (byte & 127) * scale;
      if (byte < 128) {
        if ((byte === 0 && i > 0) || x > most) break;
        return x;
      }
    }
    throw malformed("a number is too large or too long");
  }

  svarint(): number {
    const x = this.uvarint();
    return x % 2 === 0 ? x / 2 : -(x + 1) / 2;
  }

  /** Reads how many things follow, each of at least size bytes. */
  count(size: number): number {
    const n = this.uvarint();
    if (n * size > this.bytes.length - this.#at) throw malformed("it ends too early");
    return n;
  }

  /** Gives pieces of the text, UTF-8, that goes to the end, each with the given number of code points. */
  texts(): Texts {
    try {
      return new Texts(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.bytes.subarray(this.#at)));
    } catch {
      throw malformed("the text is no UTF-8");
    }
  }
}

/** Text that is taken in pieces. */
export class Texts {
  #at = 0;

  constructor(readonly text: string) {}

  /** The next n code points. */
  take(n: number): string {
    const from = this.#at;
    for (let left = n; left > 0 && this.#at < this.text.length + 1; left--) this.#at += insidePair(this.text, this.#at + 1) ? 2 : 1;
    if (this.#at > this.text.length) throw malformed("the text is too short");
    return this.text.slice(from, this.#at);
  }

  end(): void {
    if (this.#at < this.text.length) throw malformed("the text is too long");
  }
}

/** What an encoding is of: operations or a snapshot. */
export type Kind = "o" | "s";

const version = 1;
const packed = 128;
const headSize = 4;
const sumSize = 4;

/** Puts the frame around a body. */
export function frame(kind: Kind, body: Uint8Array, flags = 0): Uint8Array {
  const bytes = new Uint8Array(headSize + body.length + sumSize);
  bytes.set([0x72, 0x63, kind.charCodeAt(0), version | flags]);
  bytes.set(body, headSize);
  new DataView(bytes.buffer).setUint32(headSize + body.length, crc32c(bytes.subarray(0, headSize + body.length)), true);
  return bytes;
}

/** Takes the frame off, and inflates. */
export function unframe(bytes: Uint8Array, want?: Kind): { kind: Kind; body: Uint8Array; packed: boolean } {
  const end = bytes.length - sumSize;
  const kind = String.fromCharCode(bytes[2] ?? 0);
  if (end < headSize || bytes[0] !== 0x72 || bytes[1] !== 0x63 || !(kind === "o" || kind === "s") || (want && kind !== want))
    throw malformed("it is no such encoding");
  if ((bytes[3]! & ~packed) !== version) throw malformed("it is of another version");
  const sum = new DataView(bytes.buffer, bytes.byteOffset).getUint32(end, true);
  if (sum !== crc32c(bytes.subarray(0, end))) throw malformed("its check sum is wrong");
  const body = bytes.subarray(headSize, end);
  if (!(bytes[3]! & packed)) return { kind, body, packed: false };
  return { kind, body: inflate(body), packed: true };
}

function inflate(body: Uint8Array): Uint8Array {
  let at = 0;
  while (body[at]! >= 128) at++;
  const deflated = body.subarray(++at);
  const length = new Reader(body).uvarint(Math.min(maxBody, deflated.length * maxRatio));
  let inflated: Uint8Array;
  try {
    inflated = inflateSync(deflated, { out: new Uint8Array(length) });
  } catch {
    throw malformed("it cannot be inflated");
  }
  if (inflated.length !== length) throw malformed("it has another length");
  return inflated;
}

/** The same encoding with its body deflated. */
export function pack(bytes: Uint8Array): Uint8Array {
  const plain = unframe(bytes);
  if (plain.packed) return bytes;
  const body = new Writer();
  body.uvarint(plain.body.length);
  body.raw(deflateSync(plain.body));
  return frame(plain.kind, body.bytes(), packed);
}

/** The same encoding with its body not deflated. */
export function unpack(bytes: Uint8Array): Uint8Array {
  const plain = unframe(bytes);
  return plain.packed ? frame(plain.kind, plain.body) : bytes;
}

const castagnoli = Uint32Array.from({ length: 256 }, (_, i) => {
  for (let bit = 0; bit < 8; bit++) i = i & 1 ? (i >>> 1) ^ 0x82f63b78 : i >>> 1;
  return i;
});

function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = castagnoli[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Bytes as JSON has them. */
export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (unit) => unit.charCodeAt(0));
}
