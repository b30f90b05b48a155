export { decodeOps, encodeOps } from "./batch.js";
export { pack, unpack } from "./bytes.js";
export { type Anchor, type Change, Doc, formatAnchor, parseAnchor, type Stretch } from "./doc.js";
export { Undo } from "./undo.js";
export { type Delete, type Id, type Insert, type Op, TextError, type Version } from "./op.js";
