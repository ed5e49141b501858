// How the page looks and holds: both themes, narrow and wide, long lists, no server, no pictures.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { ask, browser, demo, look, root, serve, settled } from "./clipsight.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const VIEWS = {
  start: "/",
  found: "/?q=a+boat+-water&t=picture*1*0.5&t=text*at+night*-0.5",
  large: "/?q=a+bird&open=2",
  classify: "/?view=classify&q=an+animal&labels=a+dog%0Aa+cat",
  refused: "/?q=a+boat&t=picture*999999*1",
};
const SIZES = [
  { width: 360, height: 740 },
  { width: 1280, height: 860 },
  { width: 2560, height: 1300 },
];

let chromium;
let server;

before(async () => {
  server = await serve(demo(12));
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** What axe finds wrong. The script is run from outside: the page's own policy would stop it. */
async function violations(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

const settle = (page) => page.waitForLoadState("networkidle");

for (const colorScheme of ["light", "dark"]) {
  test(`every_view_is_accessible_and_fits_its_window_in_${colorScheme}`, async () => {
    for (const viewport of SIZES) {
      const { page } = await look(chromium, server.address, { colorScheme, viewport, reducedMotion: "reduce" });
      for (const [name, path] of Object.entries(VIEWS)) {
        await page.goto(path);
        await settle(page);
        if (name === "classify") {
          await page.locator("form button[type=submit]").last().click();
          await page.getByText("pictures classified").waitFor();
        }
        const where = `${name} at ${viewport.width}`;
        // Nothing but room is different on the widest window, and the check is slow.
        if (viewport.width < 2000) assert.deepEqual(await violations(page), [], where);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${where} is ${wide} pixels too wide`);
      }
      await page.context().close();
    }
  });
}

test("nothing_moves_while_pictures_load", async () => {
  const { page, told } = await look(chromium, server.address);
  await page.addInitScript(() => {
    globalThis.moved = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) globalThis.moved += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto("/?q=a+boat");
  await settle(page);
  await page.mouse.move(640, 500);
  await page.mouse.wheel(0, 1200);
  await settle(page);
  assert.equal(await page.evaluate(() => globalThis.moved), 0);
  assert.deepEqual(told, []);
  await page.context().close();
});

test("of_twenty_thousand_hits_only_those_near_the_screen_are_drawn", async () => {
  // The hits are the server's own, repeated; the grid cannot tell, and the pictures are real.
  const { page } = await look(chromium, server.address);
  const COUNT = 20_000;
  let most = [];
  await page.route("**/v1/search", async (route) => {
    const { limit, offset } = route.request().postDataJSON();
    if (most.length === 0) {
      const first = await route.fetch({ postData: { terms: [{ text: "a boat" }], limit: 50 } });
      most = (await first.json()).hits;
    }
    const count = Math.max(0, Math.min(limit, COUNT - offset));
    const hits = Array.from({ length: count }, (_, at) => {
      const hit = most[(offset + at) % most.length];
      return { ...hit, path: `${offset + at}.jpg`, id: `${hit.id}?${offset + at}` };
    });
    await route.fulfill({ json: { hits, total_indexed: COUNT, took_ms: 1, path_taken: "exact" } });
  });
  await page.route("**/v1/pictures/*/thumbnail*", (route) =>
    route.continue({ url: route.request().url().replace(/%3F\d+/, "") }),
  );
  await page.goto("/?q=a+boat");
  await settled(page);
  let drawn = 0;
  for (let screens = 0; screens < 400; screens += 1) {
    const [count, isEnd] = await page.evaluate(async () => {
      scrollBy(0, 100 * innerHeight);
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const last = [...document.querySelectorAll("ul[aria-busy] li")].at(-1);
      return [document.querySelectorAll("ul[aria-busy] li").length, last?.getAttribute("aria-posinset") === "20000"];
    });
    drawn = Math.max(drawn, count);
    if (isEnd) break;
  }
  await page.locator("li[aria-posinset='20000']").waitFor();
  assert.ok(drawn < 200, `${drawn} hits were drawn at once`);
  await page.context().close();
});

test("pictures_that_were_scrolled_past_are_not_waited_for", async () => {
  const { page } = await look(chromium, server.address);
  const waiting = new Set();
  page.on("requestfailed", (request) => waiting.delete(request.url()));
  // None is ever answered, as by a server that has too much to do.
  await page.route("**/thumbnail*", (route) => void waiting.add(route.request().url()));
  // Pictures that are asked for soon enough hold up the page's load event, here for good.
  await page.goto("/?q=a+boat", { waitUntil: "domcontentloaded" });
  await settled(page);
  await page.locator("li img").first().waitFor();
  const first = await page.locator("li img").evaluateAll((images) => images.map(({ src }) => src));
  await page.evaluate(() => scrollTo(0, 8 * innerHeight));
  await page.locator(`li img[src="${new URL(first[0]).pathname}${new URL(first[0]).search}"]`).waitFor({ state: "detached" });
  await page.waitForFunction(() => document.querySelectorAll("li img").length > 0);
  const shown = await page.locator("li img").evaluateAll((images) => images.map(({ src }) => src));
  const past = first.filter((src) => !shown.includes(src));
  assert.ok(past.length > 0);
  // The browser tells of what it gave up a moment later.
  for (let tries = 0; tries < 100 && past.some((src) => waiting.has(src)); tries += 1) await page.evaluate(() => new Promise(requestAnimationFrame));
  assert.deepEqual(past.filter((src) => waiting.has(src)), []);
  await page.context().close();
});

test("without_pictures_the_page_says_what_to_do_and_without_a_server_that_there_is_none", async () => {
  const empty = await serve([]);
  const { page, told } = await look(chromium, empty.address);
  await page.goto("/");
  await page.getByRole("heading", { name: "There are no pictures yet" }).waitFor();
  assert.deepEqual(await violations(page), []);
  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    page.locator("main").getByRole("button", { name: "Add pictures" }).click(),
  ]);
  await chooser.setFiles(demo(100));
  await page.getByText(/^\d pictures added$/).waitFor();
  await settled(page);
  assert.deepEqual(told, []);
  await ask(page, "a boat");
  await empty.stop();
  await page.getByRole("searchbox").fill("a bird");
  await page.getByRole("alert").getByText("The server does not answer").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.context().close();
});

test("a_folder_is_added_with_what_lies_below_it", async () => {
  const { page, told } = await look(chromium, server.address);
  await page.goto("/");
  await settled(page);
  await page.getByRole("button", { name: "Add", exact: true }).click();
  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    page.locator("#add").getByRole("button", { name: "Add a folder" }).click(),
  ]);
  await chooser.setFiles(join(root, "models/starter/reference"));
  await page.getByRole("status", { name: "News" }).getByText(/^3 pictures added$/).waitFor();
  assert.deepEqual(told, []);
  await page.context().close();
});

test("the_script_is_small_and_comes_with_a_policy_that_lets_nothing_else_in", async () => {
  const assets = join(root, "web/dist/assets");
  const scripts = readdirSync(assets).filter((name) => name.endsWith(".js"));
  const size = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name))).length, 0);
  assert.ok(size > 0 && size <= 100_000, `${size} bytes compressed`);
  const answer = await fetch(server.address);
  assert.doesNotMatch(answer.headers.get("content-security-policy"), /unsafe|\*|http/);
  const [, script] = (await answer.text()).match(/src="(\/assets\/[^"]+\.js)"/);
  const cached = await fetch(new URL(script, server.address));
  assert.match(cached.headers.get("cache-control"), /immutable/);
});
