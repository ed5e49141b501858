// Takes the pictures of the page's main views for README.md, on the whole demo collection.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { browser, demo, look, root, serve } from "./clipsight.js";

const VIEWS = [
  { file: "search.jpg", path: "/?q=a+boat&t=picture*ID*0.75&t=text*a+ferry*-0.5", seed: "a schooner with white sails", colorScheme: "light" },
  { file: "picture.jpg", path: "/?q=a+red+bus&open=ID", seed: "a red bus", colorScheme: "dark" },
  {
    file: "classify.jpg",
    path: `/?view=classify&q=a+musical+instrument&labels=${encodeURIComponent("a piano\na guitar\na saxophone\na drum")}`,
    colorScheme: "light",
  },
];

/** The best hit for some words. */
async function best(address, text) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ terms: [{ text }], limit: 1 });
  const answer = await fetch(new URL("/v1/search", address), { method: "POST", headers, body });
  return (await answer.json()).hits[0].id;
}

/** Adds a picture as a visitor does, so that the place that is shown is no folder of this machine. */
async function upload(address, path) {
  const body = new FormData();
  body.append("image", new Blob([readFileSync(path)]), "red bus.jpg");
  await fetch(new URL("/v1/pictures", address), { method: "POST", body });
}

const BUS = join(root, "demo/coco/000000568290.jpg");
const server = await serve(demo().filter((path) => path !== BUS));
const chromium = await browser();
try {
  await upload(server.address, BUS);
  for (const { file, path, seed, colorScheme } of VIEWS) {
    const { page } = await look(chromium, server.address, { colorScheme, viewport: { width: 1280, height: 800 } });
    // The last time, the server has seen the words and made the small copies.
    for (const _ of [1, 2, 3]) {
      await page.goto(seed ? path.replace("ID", await best(server.address, seed)) : path);
      await page.waitForLoadState("networkidle");
    }
    if (file === "classify.jpg") {
      await page.locator("form button[type=submit]").last().click();
      await page.getByText("20 pictures classified").waitFor();
    }
    await page.waitForLoadState("networkidle");
    await page.evaluate(() => document.activeElement.blur());
    await page.screenshot({ path: join(root, "docs", file), type: "jpeg", quality: 72 });
    await page.context().close();
  }
} finally {
  await chromium.close();
  await server.stop();
}
