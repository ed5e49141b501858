// The real server on a few pictures of the demo, and the real browser that looks at it.

import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";

export const root = resolve(import.meta.dirname, "../..");
const binary = process.env["CLIPSIGHT_BINARY"] ?? join(root, "target/debug/clipsight");
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
  "--no-first-run",
];

/** The demo's pictures, every `step`-th of them, in folder order. */
export function demo(step = 1) {
  const folders = ["coco", "caltech101"].map((name) => join(root, "demo", name));
  const all = folders.flatMap((folder) => readdirSync(folder).sort().map((name) => join(folder, name)));
  return all.filter((_, at) => at % step === 0);
}

/** A server on a data folder of its own that holds `pictures`. */
export async function serve(pictures) {
  const folder = mkdtempSync(join(tmpdir(), "clipsight-page-"));
  const data = join(folder, "data");
  if (pictures.length > 0) {
    const collection = join(folder, "pictures");
    mkdirSync(collection);
    for (const path of pictures) cpSync(path, join(collection, path.split("/").at(-1)));
    const indexed = spawnSync(binary, ["index", collection, "--data", data], { cwd: root });
    if (indexed.status !== 0) throw new Error(`clipsight index: ${indexed.stderr}`);
  }
  const child = spawn(binary, ["serve", "--data", data, "--listen", "127.0.0.1:0"], { cwd: root });
  let told = "";
  const address = await new Promise((found, failed) => {
    const read = (part) => {
      told += part;
      const [, url] = told.match(/Open (http:\S+)/) ?? [];
      if (url) found(url);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", (code) => failed(new Error(`clipsight serve ended with ${code}: ${told}`)));
  });
  const ended = new Promise((done) => child.on("exit", done));
  return {
    address,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function browser() {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: FLAGS });
}

/** A new page whose console errors and requests to other hosts are kept in `told`. */
export async function look(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, baseURL: address, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const told = [];
  page.on("console", (message) => {
    if (message.type() === "error") told.push(message.text());
  });
  page.on("pageerror", (error) => told.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    const isOurs = url.origin === new URL(address).origin || ["data:", "blob:"].includes(url.protocol);
    if (!isOurs) told.push(`a request to ${url}`);
  });
  return { page, told };
}

/** Once the hits of the address are on screen. */
export async function settled(page) {
  await page.locator("ul[aria-busy=false] li").first().waitFor();
}

/** The names of the hits on screen, the best first. */
export async function names(page) {
  await settled(page);
  const links = await page.locator("ul[aria-busy] li a").all();
  return Promise.all(links.map((link) => link.locator(".name").textContent()));
}

/** Types words into the box and waits for what they find. */
export async function ask(page, words) {
  const answered = page.waitForResponse((response) => response.url().endsWith("/v1/search"));
  await page.getByRole("searchbox").fill(words);
  await page.getByRole("searchbox").press("Enter");
  await answered;
  await settled(page);
}

/** Drops files, as [{ name, type, base64 }], at a share of the page's width. */
export async function drop(page, files, share) {
  await page.evaluate(
    ([files, share]) => {
      const data = new DataTransfer();
      for (const { name, type, base64 } of files) {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], name, { type }));
      }
      const place = { clientX: innerWidth * share, clientY: 300, bubbles: true, cancelable: true };
      for (const kind of ["dragenter", "dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(kind, { ...place, dataTransfer: data }));
      }
    },
    [files, share],
  );
}
