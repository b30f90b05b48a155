type Attributes = Record<string, string | boolean | ((event: Event) => unknown)>;

/** Makes an element: attributes by name, listeners as onclick and so on, data-testid as testid. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name === "testid" ? "data-testid" : name, value);
  }
  element.append(...children);
  return element;
}

const colors = ["#d9480f", "#2b8a3e", "#1864ab", "#862e9c", "#a61e4d", "#0b7285", "#5f3dc4", "#846358"];

/** The colour of a user, the same everywhere. */
export function colorOf(user: number): string {
  return colors[user % colors.length]!;
}

/** Tells the user of an error. */
export function complain(error: unknown): void {
  const it = document.querySelector("[data-testid=message]");
  if (it) it.textContent = error instanceof Error ? error.message : String(error);
}

/**
 * Returns what shows items in a list. The element of an item stays, where it is if it can, as long as the item's key does: so it can be clicked
 * while others come and go.
 */
export function keyed<T>(list: Element, key: (item: T) => string, make: (item: T) => Element): (items: T[]) => void {
  let shown = new Map<string, Element>();
  return (items) => {
    const next = new Map(items.map((item) => [key(item), shown.get(key(item)) ?? make(item)]));
    for (const [key, element] of shown) if (!next.has(key)) element.remove();
    let place = list.firstElementChild;
    for (const element of next.values()) {
      if (element === place) place = place.nextElementSibling;
      else list.insertBefore(element, place);
    }
    shown = next;
  };
}

/** Returns what does the work a time after it is asked for, in milliseconds: once for all who ask in the meantime, and never beside itself. */
export function soon(work: () => Promise<void>, after: number, stop: AbortSignal): () => void {
  let asked = false;
  let busy = false;
  const run = async () => {
    while (asked) {
      await new Promise((resolve) => setTimeout(resolve, after));
      asked = false;
      if (!stop.aborted) await work().catch(complain);
    }
    busy = false;
  };
  return () => {
    asked = true;
    if (busy) return;
    busy = true;
    void run();
  };
}
