/** An event that a server sends. */
export interface ServerEvent {
  type: string;
  data: string;
  /** The last id that the server sent, with this event or before it. */
  id: string;
}

/**
 * Gives the events of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html) until that ends, in whatever way:
 * a connection that is cut is no error of who reads it.
 */
export async function* readEvents(stream: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent, void, undefined> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let type = "";
  let id = "";
  let data: string[] = [];
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const lines = text.split(/\r\n|\n|\r(?!$)/); // one at the end may be the half of \r\n
    text = lines.pop() ?? "";
    for (const line of lines) {
      const colon = line.indexOf(":");
      const name = colon < 0 ? line : line.slice(0, colon);
      const said = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "event") type = said;
      else if (name === "data") data.push(said);
      else if (name === "id") id = said;
      else if (line === "") {
        if (data.length > 0) yield { type: type || "message", data: data.join("\n"), id };
        type = "";
        data = [];
      }
    }
  }
}
