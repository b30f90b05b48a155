export { SessionError } from "./failure.js";
export type { Peer, Presence } from "./peers.js";
export * from "./session.js";
export * from "./store.js";
