// What a person does with the page, in a real browser against the real server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { ask, browser, demo, drop, look, names, root, serve, settled } from "./clipsight.js";

let chromium;
let server;
let page;
let told;

before(async () => {
  server = await serve(demo(8));
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});
beforeEach(async () => {
  ({ page, told } = await look(chromium, server.address));
});
afterEach(async () => {
  await page.context().close();
  assert.deepEqual(told, [], "nothing on the console, nothing from elsewhere");
});

const chips = () => page.getByRole("search").getByRole("group");
const viewer = () => page.getByRole("dialog");
const param = (name) => new URL(page.url()).searchParams.getAll(name);
const base64 = (path) => readFileSync(path).toString("base64");
const ofOurs = (name) => ({ name, type: "image/png", base64: base64(join(root, "models/starter/reference", name)) });

/** The terms of the next search. */
async function termsOf(act) {
  const asked = page.waitForRequest((request) => request.url().endsWith("/v1/search"));
  await act();
  return (await asked).postDataJSON().terms;
}

test("words_find_pictures_and_the_address_finds_them_again", async () => {
  await page.goto("/");
  await ask(page, "a sunflower");
  assert.deepEqual(param("q"), ["a sunflower"]);
  const first = await names(page);
  assert.match(first[0], /sunflower/);
  await page.goto(page.url());
  assert.deepEqual((await names(page)).slice(0, 5), first.slice(0, 5));
});

test("a_line_parts_good_hits_from_weaker_ones_and_says_when_nothing_matches", async () => {
  const line = page.locator("p.line");
  await page.goto("/?q=a+sunflower");
  await settled(page);
  await page.getByText(/^\d+ good match(es)?\./).waitFor();
  await line.getByText("Weaker matches below").waitFor();
  const good = Number((await page.getByRole("status").first().textContent()).match(/^\d+/)[0]);
  const place = await line.boundingBox();
  const tile = (index) => page.locator(`[data-index="${index}"]`).boundingBox();
  assert.ok((await tile(good - 1)).y + (await tile(good - 1)).height <= place.y + 1);
  assert.ok((await tile(good)).y >= place.y + place.height - 1);
  await ask(page, "a hot-air balloon over a glacier");
  await line.getByText("These come nearest").waitFor();
  assert.equal((await page.getByRole("status").first().textContent()).split(".")[0], "Nothing here really matches");
  // Its bar is as short as that: being the best of what there is makes no good match.
  const fits = await page.locator("[data-index='0']").getAttribute("aria-label");
  assert.ok(Number(fits.match(/fits (\d+) %/)[1]) < 50, fits);
  // Nobody can tell for pictures, and nothing was asked for at the start.
  await page.locator("[data-index='0']").focus();
  await page.keyboard.press("+");
  await line.waitFor({ state: "detached" });
  await page.goto("/");
  await settled(page);
  assert.equal(await line.count(), 0);
});

test("the_button_back_leads_to_the_search_before_and_to_its_place", async () => {
  await page.goto("/?q=an+animal");
  const first = await names(page);
  await page.mouse.move(640, 500);
  await page.mouse.wheel(0, 1500);
  await page.waitForURL((url) => Number(url.searchParams.get("at")) > 0);
  const place = await page.evaluate(() => scrollY);
  await ask(page, "a boat");
  await page.waitForFunction(() => scrollY === 0);
  await page.goBack();
  await page.waitForFunction((place) => Math.abs(scrollY - place) < 300, place);
  await page.evaluate(() => scrollTo(0, 0));
  await page.waitForFunction(() => document.querySelector("[data-index='0']"));
  assert.deepEqual((await names(page)).slice(0, 4), first.slice(0, 4));
});

test("a_minus_before_a_word_steers_away", async () => {
  await page.goto("/");
  const terms = await termsOf(() => ask(page, 'a boat -water -"many people"'));
  assert.deepEqual(terms, [
    { text: "a boat", weight: 1 },
    { text: "water", weight: -0.5 },
    { text: "many people", weight: -0.5 },
  ]);
});

test("more_and_less_become_chips_that_are_weighed_and_removed", async () => {
  await page.goto("/?q=a+boat");
  await settled(page);
  const hit = page.locator("ul[aria-busy] li").first();
  await hit.hover();
  const [, more] = await termsOf(() => hit.getByRole("button", { name: "More like" }).click());
  assert.equal(more.weight, 1);
  const lighter = await termsOf(() => chips().getByRole("button", { name: "Counts less" }).click());
  assert.equal(lighter[1].weight, 0.75);
  assert.match(param("t")[0], /^picture\*\d+\*0\.75$/);
  await settled(page);
  await page.locator("[data-index='3']").focus();
  const [, , less] = await termsOf(() => page.keyboard.press("-"));
  assert.equal(less.weight, -0.5);
  assert.equal(await chips().count(), 2);
  await termsOf(() => chips().first().getByRole("button", { name: "Remove" }).click());
  assert.equal(await chips().count(), 1);
});

test("words_become_a_chip_that_can_be_weighed", async () => {
  await page.goto("/?q=people");
  await settled(page);
  await page.getByRole("button", { name: "Weigh these words" }).click();
  await settled(page);
  for (const weight of [0.75, 0.5, 0.25, -0.25]) {
    const [term] = await termsOf(() => chips().getByRole("button", { name: "Counts less" }).click());
    assert.deepEqual(term, { text: "people", weight });
  }
});

test("a_hit_is_dragged_into_the_box_and_its_chip_out_again", async () => {
  await page.goto("/?q=a+boat");
  await settled(page);
  const box = page.getByRole("search");
  const dragged = await termsOf(() => page.locator("[data-index='1']").dragTo(box));
  assert.ok(dragged[1].picture, JSON.stringify(dragged));
  await settled(page);
  await chips().locator("img").dragTo(page.locator("main"), { targetPosition: { x: 300, y: 200 } });
  await page.waitForURL((url) => !url.searchParams.has("t"));
  assert.equal(await chips().count(), 0);
});

test("a_dropped_picture_is_looked_for_by_an_address_that_others_can_open", async () => {
  await page.goto("/");
  await settled(page);
  const [term] = await termsOf(() => drop(page, [ofOurs("landscape.png")], 0.2));
  assert.ok(term.vector.length > 100);
  await chips().locator("img").waitFor();
  const found = await names(page);
  const other = await look(chromium, server.address);
  await other.page.goto(page.url());
  assert.deepEqual((await names(other.page)).slice(0, 5), found.slice(0, 5));
  await other.page.context().close();
  assert.deepEqual(other.told, []);
});

test("a_link_with_a_picture_as_another_model_saw_it_is_told", async () => {
  await page.goto("/");
  await settled(page);
  await termsOf(() => drop(page, [ofOurs("stripes.png")], 0.2));
  await page.goto(page.url().replace(/vector\*[0-9a-f]{8}/, "vector*00000000"));
  await page.getByRole("alert").getByText("another model").waitFor();
});

test("a_dropped_text_file_is_refused_with_a_reason", async () => {
  await page.goto("/");
  await settled(page);
  await drop(page, [{ name: "notes.txt", type: "text/plain", base64: btoa("no picture") }], 0.2);
  await page.getByRole("alert").getByText("JPEG, PNG").waitFor();
});

test("keys_go_through_the_pictures_and_back_to_the_grid", async () => {
  await page.goto("/?q=a+bird");
  const [first, second] = await names(page);
  await page.locator("[data-index='0']").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Enter");
  await viewer().getByRole("heading", { name: first }).waitFor();
  await viewer().locator("dd").first().waitFor();
  await page.keyboard.press("ArrowRight");
  await viewer().getByRole("heading", { name: second }).waitFor();
  await page.keyboard.press("ArrowLeft");
  await viewer().getByRole("heading", { name: first }).waitFor();
  await page.keyboard.press("Escape");
  await viewer().waitFor({ state: "detached" });
  assert.deepEqual(param("open"), []);
  await page.waitForFunction(() => document.activeElement.dataset.index === "0");
  await page.goForward();
  await viewer().waitFor();
});

test("a_picture_that_is_seen_large_shows_its_record_and_what_is_similar", async () => {
  await page.goto("/?q=a+bird");
  await settled(page);
  await page.locator("[data-index='0']").click();
  await viewer().getByText("1 place").waitFor();
  const similar = viewer().getByRole("listitem").getByRole("link");
  await similar.first().waitFor();
  assert.ok((await similar.count()) >= 5);
  const before = page.url();
  await similar.first().click();
  await page.waitForURL((url) => url.href !== before && url.searchParams.has("open"));
});

test("a_deleted_picture_comes_back_by_undo_and_is_gone_without", async () => {
  await page.clock.install();
  await page.goto("/?q=a+chair");
  const [first, second] = await names(page);
  const gone = [];
  page.on("request", (request) => request.method() === "DELETE" && gone.push(request.url()));
  await page.locator("[data-index='0']").focus();
  await page.keyboard.press("Delete");
  await page.getByText("1 picture deleted").waitFor();
  assert.equal((await names(page))[0], second);
  await page.waitForFunction(() => document.activeElement.dataset.index === "0");
  await page.getByRole("button", { name: "Undo" }).click();
  assert.equal((await names(page))[0], first);
  await page.clock.fastForward(10_000);
  assert.deepEqual(gone, []);
  await page.locator("[data-index='0']").click();
  await viewer().getByRole("button", { name: "Delete" }).click();
  await viewer().getByRole("heading", { name: second }).waitFor();
  const removed = page.waitForResponse((response) => response.request().method() === "DELETE");
  await page.clock.fastForward(10_000);
  assert.equal((await removed).status(), 204);
  await page.goto("/?q=a+chair");
  assert.ok(!(await names(page)).includes(first));
});

test("added_files_are_counted_refused_ones_told_and_all_taken_back", async () => {
  await page.goto("/");
  await settled(page);
  const hostile = "<img src=x onerror=alert(1)>.png";
  const files = [
    { ...ofOurs("landscape.png"), name: hostile },
    { name: "broken.png", type: "image/png", base64: btoa("no picture") },
    { name: "notes.txt", type: "text/plain", base64: btoa("no picture") },
  ];
  await drop(page, files, 0.8);
  const news = page.getByRole("status", { name: "News" });
  await news.getByText("1 picture added, 2 refused").waitFor();
  await news.getByText("broken.png: not a picture").waitFor();
  await news.getByText("notes.txt: not a picture, not sent").waitFor();
  await page.goto("/?q=a+landscape+with+mountains");
  const shown = async () => (await page.locator(".name").allTextContents()).includes(hostile);
  await settled(page);
  assert.ok(await shown());
  // What was added in another visit stays; here it is sent again and taken out.
  await drop(page, [files[0]], 0.8);
  await news.getByText("0 pictures added, 1 there already").waitFor();
  assert.equal(await news.getByRole("button", { name: "Undo" }).count(), 0);
  told.splice(0, told.length, ...told.filter((line) => !line.includes("422")));
});

test("a_dropped_folder_is_added_with_what_lies_below_it", async () => {
  await page.goto("/");
  await settled(page);
  const folder = mkdtempSync(join(tmpdir(), "clipsight-drop-"));
  mkdirSync(join(folder, "deeper"));
  cpSync(join(root, "models/starter/reference/stripes.png"), join(folder, "deeper/stripes.png"));
  writeFileSync(join(folder, "notes.txt"), "no picture");
  // A drop as the system makes it; a script cannot make one that holds a folder.
  const system = await page.context().newCDPSession(page);
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    const data = { items: [], files: [folder], dragOperationsMask: 1 };
    await system.send("Input.dispatchDragEvent", { type, x: 1000, y: 400, data });
  }
  const news = page.getByRole("status", { name: "News" });
  await news.getByText("1 picture added, 1 refused").waitFor();
  rmSync(folder, { recursive: true });
});

test("a_dropped_folder_without_pictures_is_told_file_by_file_and_changes_nothing", async () => {
  await page.goto("/");
  await settled(page);
  const folder = mkdtempSync(join(tmpdir(), "clipsight-drop-"));
  mkdirSync(join(folder, "deeper"));
  for (const name of ["notes.txt", "deeper/table.csv", "deeper/page.html"]) writeFileSync(join(folder, name), "no picture");
  writeFileSync(join(folder, "no-ending"), "no picture");
  const system = await page.context().newCDPSession(page);
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    const data = { items: [], files: [folder], dragOperationsMask: 1 };
    await system.send("Input.dispatchDragEvent", { type, x: 1000, y: 400, data });
  }
  const news = page.getByRole("status", { name: "News" });
  await news.getByText("0 pictures added, 4 refused").waitFor();
  await news.getByText("page.html: not a picture, not sent").waitFor();
  // What has no type is for the server to judge.
  await news.getByText("no-ending: not a picture in a format").waitFor();
  assert.equal(await news.getByRole("button", { name: "Undo" }).count(), 0);
  rmSync(folder, { recursive: true });
  told.splice(0, told.length, ...told.filter((line) => !line.includes("422")));
});

test("a_dropped_drawing_is_added_and_nothing_in_it_runs", async () => {
  await page.goto("/");
  await settled(page);
  let reached = 0;
  const elsewhere = createServer((_, answer) => answer.end(String((reached += 1)))).listen(0, "127.0.0.1");
  await once(elsewhere, "listening");
  const evil = `http://127.0.0.1:${elsewhere.address().port}`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2" onload="document.title='ran'">
    <script>document.title = "ran"; fetch("${evil}/")</script>
    <style>@import "${evil}/x.css";</style><image href="${evil}/x.png" width="4" height="2"/>
    <rect width="4" height="2" fill="#b8d8f0"/><circle cx="2" cy="1" r=".8" fill="#d02020"/></svg>`;
  await drop(page, [{ name: "drawing.svg", type: "image/svg+xml", base64: btoa(svg) }], 0.8);
  await page.getByRole("status", { name: "News" }).getByText("1 picture added").waitFor();
  await page.goto("/?q=a+red+circle+on+blue");
  await settled(page);
  const hit = page.locator("ul[aria-busy] li a", { hasText: "drawing.svg" });
  await hit.click();
  await viewer().getByRole("heading", { name: "drawing.svg" }).waitFor();
  const shown = viewer().getByRole("img", { name: "drawing.svg" });
  await page.waitForFunction((image) => image.naturalWidth === 1024, await shown.elementHandle());
  // The file itself, opened as a page: a browser knows no better way to run it.
  const file = await page.context().newPage();
  await file.goto(await viewer().getByRole("link", { name: "Download" }).evaluate((link) => link.href));
  assert.notEqual(await file.title(), "ran");
  await file.close();
  assert.equal(reached, 0, "something outside was asked for");
  elsewhere.close();
});

test("ten_thousand_labels_are_refused_in_the_servers_words_and_none_at_all_beforehand", async () => {
  await page.goto("/?view=classify&q=an+animal");
  const labels = page.getByLabel("Labels, one in a line");
  const classify = page.locator("form button[type=submit]").last();
  await labels.fill(" \n,\n");
  assert.ok(await classify.isDisabled());
  // By hand, since the driver types so many lines one by one.
  const many = Array.from({ length: 10_000 }, (_, at) => `label ${at}`).join("\n");
  await labels.evaluate((box, many) => {
    box.value = many;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }, many);
  await page.getByText("10,000 labels").waitFor();
  await classify.click();
  await page.getByRole("alert").getByText("at most 2000 labels are accepted, found 10000").waitFor();
  told.splice(0, told.length, ...told.filter((line) => !line.includes("422")));
});

test("a_pasted_picture_is_looked_for", async () => {
  await page.goto("/");
  await settled(page);
  const picture = ofOurs("landscape.png");
  const [term] = await termsOf(() =>
    page.evaluate(({ name, type, base64 }) => {
      const clipboardData = new DataTransfer();
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      clipboardData.items.add(new File([bytes], name, { type }));
      dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
    }, picture),
  );
  assert.ok(term.vector.length > 100);
});

test("adding_can_be_undone", async () => {
  await page.goto("/");
  await settled(page);
  await drop(page, [ofOurs("tower.png")], 0.8);
  const news = page.getByRole("status", { name: "News" });
  await news.getByText("1 picture added").waitFor();
  const removed = page.waitForResponse((response) => response.request().method() === "DELETE");
  await news.getByRole("button", { name: "Undo" }).click();
  assert.equal((await removed).status(), 204);
});

test("what_was_found_is_classified_and_the_table_downloaded", async () => {
  await page.goto("/?view=classify&q=a+musical+instrument");
  await page.getByLabel("Labels, one in a line").fill("a piano\na car\na piano\nan animal");
  await page.getByText("3 labels; 1 that came twice left out").waitFor();
  await page.locator("form button[type=submit]").last().click();
  await page.getByText("20 pictures classified").waitFor();
  assert.equal(await page.locator("tbody tr").count(), 20);
  assert.deepEqual(param("labels"), ["a piano\na car\na piano\nan animal"]);
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download CSV" }).click();
  const lines = readFileSync(await (await saving).path(), "utf8").trim().split("\r\n");
  assert.equal(lines[0], "picture,path,rank,label,probability,score");
  assert.equal(lines.length, 1 + 20 * 3);
});

test("one_picture_is_classified_with_every_label", async () => {
  await page.goto("/?q=a+sunflower");
  await settled(page);
  await page.locator("[data-index='0']").click();
  await viewer().getByRole("button", { name: "Classify" }).click();
  await page.getByLabel("Labels, one in a line").fill("a flower, a car, a ship");
  await page.locator("form button[type=submit]").last().click();
  await page.getByText("1 picture classified").waitFor();
  const rows = await page.locator("tbody tr").allTextContents();
  assert.equal(rows.length, 3);
  assert.match(rows[0], /a flower/);
});

test("what_the_server_does_not_accept_is_told_in_its_words", async () => {
  await page.goto("/?q=a+boat&t=picture*999999*1");
  await page.getByRole("alert").getByText("999999").waitFor();
  told.splice(0, told.length, ...told.filter((line) => !line.includes("404")));
});
