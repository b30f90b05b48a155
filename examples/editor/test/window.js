// What a test does in the page, and sees there.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

/** Starts the example. make editor-test has built it. */
export async function startEditor(server) {
  const program = fileURLToPath(new URL("../../../bin/editor", import.meta.url));
  const editor = spawn(program, ["-addr", "127.0.0.1:0", "-server", server], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(editor, "exit");
  const [line] = await once(createInterface({ input: editor.stdout }), "line");
  return {
    url: /http:\S+/.exec(line)[0],
    async stop() {
      editor.kill("SIGTERM");
      await exited;
    },
  };
}

export const startBrowser = () =>
  chromium.launch({
    executablePath: "/usr/bin/chromium",
    // Whoever is root has no sandbox; what the pages are is ours.
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });

/** What is put into each page: the editor as its own code sees it. */
function putProbe() {
  const view = () => document.querySelector(".cm-content")?.cmTile.root.view; // as EditorView.findFromDOM does
  globalThis.probe = {
    text: () => view()?.state.sliceDoc(),
    select(selection) {
      view().focus();
      view().dispatch({ selection });
    },
    paste(text) {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", text);
      view().contentDOM.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    },
    /** Keeps in saved what the text last was when the page said that the server has it. */
    noteSaved() {
      const status = document.querySelector("[data-testid=status]");
      const note = () => status.dataset.saved === "true" && (probe.saved = probe.text());
      new MutationObserver(note).observe(status, { attributes: true });
      note();
    },
    async stored() {
      const done = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
      for (const { name } of await indexedDB.databases()) {
        const db = await done(indexedDB.open(name));
        await done(db.transaction("state").objectStore("state").count());
        db.close();
      }
    },
    /** Lets the page need so many milliseconds for its end. */
    lingerOnClose(ms) {
      addEventListener("pagehide", () => {
        for (const end = performance.now() + ms; performance.now() < end; );
      });
    },
    carets() {
      return [...document.querySelectorAll(".cm-peerCaret")].map((caret) => `${caret.dataset.name} at ${view().posAtDOM(caret)}`);
    },
  };
}

/** A window in which somebody has logged in. */
export class Window {
  /** What the page has complained of in the console. */
  errors = [];

  /** Opens a window of a browser of one's own, or of a context that there is. */
  static async open(browser, url, username, context) {
    const it = new Window();
    it.context = context ?? (await browser.newContext({ viewport: { width: 1100, height: 640 } }));
    it.page = await it.context.newPage();
    await it.page.addInitScript(putProbe);
    it.page.setDefaultTimeout(20_000);
    it.page.on("pageerror", (error) => it.errors.push(error));
    await it.page.goto(url);
    await it.the("username").fill(username);
    await it.the("password").fill("welcome");
    await it.the("log-in").click();
    await it.the("me").waitFor();
    return it;
  }

  /** An element of the page. */
  the(name) {
    return this.page.locator(`[data-testid=${name}]`);
  }

  /** Opens a document, and waits until it can be edited. */
  async show(id) {
    await this.page.evaluate((id) => (location.hash = id), id);
    await this.status("online");
    await this.page.locator(".cm-content").focus();
  }

  /** Waits for a status. */
  async status(status) {
    await this.page.locator(`[data-testid=status][data-status=${status}]`).waitFor();
  }

  /** Waits until the server has all that was done here. */
  async saved() {
    await this.page.locator("[data-testid=status][data-saved=true]").waitFor();
  }

  /** The text in the editor. (Of its lines, the page has those that one has scrolled to.) */
  text() {
    return this.page.evaluate(() => probe.text());
  }

  /** Waits until the text is this. */
  async has(text) {
    await this.page.waitForFunction((text) => probe.text() === text, text).catch(async (error) => {
      throw new Error(`it is ${JSON.stringify((await this.text()).slice(0, 1000))} and should be ${JSON.stringify(text.slice(0, 1000))}`, { cause: error });
    });
  }

  /** Waits until the text has this somewhere. */
  async contains(text) {
    await this.page.waitForFunction((text) => probe.text().includes(text), text);
  }

  /** Types, where the cursor is or after so many units of the text. */
  async type(text, at) {
    if (at !== undefined) await this.select(at);
    await this.page.keyboard.type(text);
  }

  /** Pastes, after so many units of the text. */
  async paste(text, at) {
    await this.select(at);
    await this.page.evaluate((text) => probe.paste(text), text);
  }

  /** Puts in a text at once, where the cursor is. */
  async insert(text) {
    await this.page.keyboard.insertText(text);
  }

  async press(...keys) {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  /** Puts the cursor after so many units of the text, or selects from there to another place. */
  async select(anchor, head = anchor) {
    await this.page.evaluate((selection) => probe.select(selection), { anchor, head });
  }

  /** Waits until somebody's caret is after so many units of the text. */
  async caret(name, at) {
    await this.page.waitForFunction((caret) => probe.carets().includes(caret), `${name} at ${at}`).catch(async (error) => {
      throw new Error(`${name} should be at ${at}: ${await this.page.evaluate(() => probe.carets())}`, { cause: error });
    });
  }

  /** Waits until all is stored that the page has begun to store. */
  async stored() {
    await this.page.evaluate(() => probe.stored());
  }

  /** Lets the page die, which hears nothing of it. */
  async crash() {
    const crashed = this.page.waitForEvent("crash");
    const devtools = await this.context.newCDPSession(this.page);
    devtools.send("Page.crash").catch(() => {}); // nobody answers any more
    await crashed;
    await this.page.close();
  }

  /** Closes the browser of the window. */
  async close() {
    await this.context.close();
  }
}
