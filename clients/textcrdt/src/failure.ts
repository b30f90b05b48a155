// Why sessions end.

import { TextError } from "./op.js";
import { ServerError } from "./socket.js";

/**
 * Why a session has given up. deleted: there is no such document, or not for the user. forbidden: the user is no longer a member, or may no longer
 * write. unauthenticated: there is no login. diverged: the server has another history than it had, such as after a restore from a backup. refused:
 * it does not take the own operations. store: what is done cannot be kept.
 */
export class SessionError extends Error {
  override readonly name = "SessionError";

  constructor(
    readonly reason: "deleted" | "forbidden" | "unauthenticated" | "diverged" | "refused" | "store",
    cause: unknown,
  ) {
    super(`The document cannot be followed: ${reason}`, { cause });
  }
}

/** The store has failed. */
class StoreError extends Error {
  constructor(cause: unknown) {
    super("What is done cannot be kept", { cause });
  }
}

/** What a store gives. */
export async function kept<T>(promise: Promise<T> | undefined): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    throw new StoreError(error);
  }
}

/** Why an error is the end of a session; undefined: it is not, and a new connection may help. */
export function reasonOf(error: unknown, refusedAgain: boolean): SessionError["reason"] | undefined {
  if (error instanceof SessionError) return error.reason;
  if (error instanceof StoreError) return "store";
  if (error instanceof TextError) return "diverged";
  if (!(error instanceof ServerError)) return undefined;
  switch (error.kind) {
    case "NOT_FOUND":
      return "deleted";
    case "FORBIDDEN":
      return "forbidden";
    case "RESYNC_REQUIRED":
      return "diverged";
    case "UNAUTHENTICATED":
      return refusedAgain ? "unauthenticated" : undefined;
    case "VALIDATION":
    case "INVALID_PARAMS":
    case "INVALID_REQUEST":
    case "METHOD_NOT_FOUND":
      return "refused";
    default:
      return undefined;
  }
}
