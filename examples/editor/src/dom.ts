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
