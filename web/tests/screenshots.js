// Takes the pictures of the page's main views for README.md, on the whole demo collection.

import { join } from "node:path";
import { browser, demo, look, root, serve } from "./clipsight.js";

const VIEWS = [
  { file: "search.jpg", path: "/?q=a+boat+-water&t=picture*ID*0.5", seed: "a sailing boat", colorScheme: "light" },
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

const server = await serve(demo());
const chromium = await browser();
try {
  for (const { file, path, seed, colorScheme } of VIEWS) {
    const { page } = await look(chromium, server.address, { colorScheme, viewport: { width: 1280, height: 800 } });
    await page.goto(seed ? path.replace("ID", await best(server.address, seed)) : path);
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
