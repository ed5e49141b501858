// How soon the page of a running server stands, and how smoothly its longest list scrolls. `make bench`
// runs it on a collection of 20,000 pictures; by hand: node web/tests/speed.js http://127.0.0.1:8080

import { browser, look, settled } from "./clipsight.js";

const VISITS = 5;
const WINDOWS = { wide: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };
/** Pixels that the list moves in a frame: a screen in a tenth of a second. */
const STEP = 150;
const LONGEST = 60_000;

const at = (numbers, share) => [...numbers].sort((a, b) => a - b)[Math.round(share * (numbers.length - 1))];

/** Milliseconds to the largest paint of a first visit; nothing is kept from the one before. */
async function firstPaint(chromium, address, viewport) {
  const { page } = await look(chromium, address, { viewport });
  await page.goto("/");
  await settled(page);
  await page.waitForLoadState("networkidle");
  const paint = await page.evaluate(
    () =>
      new Promise((found) => {
        new PerformanceObserver((list) => found(list.getEntries().at(-1).startTime)).observe({
          type: "largest-contentful-paint",
          buffered: true,
        });
      }),
  );
  await page.context().close();
  return paint;
}

/** Milliseconds between frames while the list moves to its end, and how many hits went by. */
async function scroll(chromium, address, viewport) {
  const { page } = await look(chromium, address, { viewport });
  await page.goto("/?q=a+boat");
  await settled(page);
  const moved = await page.evaluate(
    async ([step, longest]) => {
      const frame = () => new Promise(requestAnimationFrame);
      const hits = () => [...document.querySelectorAll("ul[aria-busy] li")];
      const frames = [];
      let [start, last] = [await frame(), 0];
      let now = start;
      let still = 0;
      // Frames in which nothing moves are waits for more hits; five seconds of them are the end.
      while (now - start < longest && still < 300) {
        const before = scrollY;
        scrollBy(0, step);
        last = now;
        now = await frame();
        frames.push(now - last);
        still = scrollY === before ? still + 1 : 0;
      }
      return { frames, hits: Number(hits().at(-1).getAttribute("aria-posinset")) };
    },
    [STEP, LONGEST],
  );
  await page.context().close();
  return moved;
}

const address = process.argv[2];
if (!address) throw new Error("usage: node web/tests/speed.js http://127.0.0.1:PORT");
const chromium = await browser();
try {
  console.log("| the page in Chromium | median | slowest |\n|---|---|---|");
  for (const [name, viewport] of Object.entries(WINDOWS)) {
    const paints = [];
    for (let visit = 0; visit < VISITS; visit += 1) paints.push(await firstPaint(chromium, address, viewport));
    console.log(`| largest paint of a first visit, ${name} | ${at(paints, 0.5).toFixed(0)} ms | ${at(paints, 1).toFixed(0)} ms |`);
  }
  for (const [name, viewport] of Object.entries(WINDOWS)) {
    const { frames, hits } = await scroll(chromium, address, viewport);
    const [median, slow] = [at(frames, 0.5), at(frames, 0.99)].map((ms) => ms.toFixed(1));
    console.log(`| a frame while ${hits} hits scroll by, ${name} | ${median} ms | ${slow} ms (99 %) |`);
  }
} finally {
  await chromium.close();
}
