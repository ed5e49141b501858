// The parts of the page that are plain functions.

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { after, test } from "node:test";
import { createServer } from "vite";

const vite = await createServer({
  configFile: resolve(import.meta.dirname, "../vite.config.ts"),
  root: resolve(import.meta.dirname, "../src"),
  server: { middlewareMode: true, ws: false },
  optimizeDeps: { noDiscovery: true },
  logLevel: "error",
});
const load = (name) => vite.ssrLoadModule(`/${name}`);
const { rows, within, rowOf, heightOf } = await load("rows.ts");
const { read, write } = await load("address.ts");
const { heavier, pack, typed, unpack } = await load("terms.ts");
const { csv } = await load("csv.ts");
const { percent } = await load("names.ts");
const { listed } = await load("classifying.svelte.ts");
after(() => vite.close());

const FRAME = { width: 1000, gap: 10, height: 200, below: 0, line: 48 };

test("full_rows_fill_the_width_and_keep_every_ratio", () => {
  const ratios = [1.5, 0.8, 1, 1.33, 2, 0.75, 1.5, 1.2, 0.9, 1.7, 1];
  const made = rows(ratios, FRAME, false);
  assert.ok(made.length >= 2);
  for (const { cells, height } of made) {
    const last = cells.at(-1);
    assert.ok(Math.abs(last.left + last.width - FRAME.width) < 1e-6);
    assert.ok(height <= FRAME.height);
    for (const { index, width } of cells) assert.ok(Math.abs(width / height - ratios[index]) < 1e-9);
  }
});

test("more_hits_leave_the_rows_before_them_as_they_are", () => {
  const ratios = Array.from({ length: 300 }, (_, at) => 0.6 + ((at * 7) % 13) / 10);
  const few = rows(ratios.slice(0, 100), FRAME, false);
  assert.deepEqual(rows(ratios, FRAME, true).slice(0, few.length), few);
});

test("an_unfinished_row_waits_for_more_and_is_shown_at_the_end", () => {
  assert.deepEqual(rows([1, 1], FRAME, false), []);
  const [row] = rows([1, 1], FRAME, true);
  assert.deepEqual(row.cells.map(({ width }) => width), [200, 200]);
  assert.equal(heightOf([row], FRAME), 200);
});

test("weaker_hits_begin_a_row_of_their_own_below_a_free_line", () => {
  const ratios = Array.from({ length: 40 }, () => 1);
  const plain = rows(ratios, FRAME, true);
  const made = rows(ratios, FRAME, true, 7);
  const below = rowOf(made, 7);
  assert.equal(below.cells[0].index, 7);
  const above = made[made.indexOf(below) - 1];
  assert.equal(below.top - above.top - above.height, FRAME.gap + FRAME.line);
  assert.deepEqual(made[0], plain[0]);
  assert.equal(rows(ratios, FRAME, true, 0)[0].top, FRAME.line);
  assert.equal(made.flatMap(({ cells }) => cells).length, 40);
});

test("rows_near_the_screen_are_found_as_by_looking_at_each", () => {
  const made = rows(Array.from({ length: 200 }, () => 1), FRAME, true);
  for (const [from, to] of [[-500, 0], [0, 1], [350, 900], [1e6, 2e6]]) {
    const plain = made.filter((row) => row.top + row.height > from && row.top < to);
    assert.deepEqual(made.slice(...within(made, from, to)), plain);
  }
  for (const index of [0, 7, 199]) assert.ok(rowOf(made, index).cells.some((cell) => cell.index === index));
});

test("an_address_gives_the_state_that_it_was_made_of", () => {
  const state = {
    view: "classify",
    words: "50 % off & more*",
    terms: [
      { kind: "text", value: "a*b -c", weight: -0.5 },
      { kind: "picture", value: "17", weight: 1 },
    ],
    at: 40,
    open: "17",
    on: "3",
    labels: "a dog\na cat",
    templates: "a {}",
  };
  assert.deepEqual(read(write(state)), state);
});

test("a_damaged_address_is_read_as_far_as_it_goes", () => {
  const { terms, at } = read("?t=picture&t=picture*1&t=**&t=movie*1*1&t=text*a*zero&t=text*a*0&t=text*ok*2&at=-4");
  assert.deepEqual(terms, [{ kind: "text", value: "ok", weight: 2 }]);
  assert.equal(at, 0);
});

test("a_vector_in_an_address_points_where_it_pointed", () => {
  const vector = Array.from({ length: 384 }, (_, at) => Math.sin(at * at) / 20);
  const packed = pack(vector, "c6bd03b39078");
  assert.match(packed, /^c6bd03b3\.[\w-]+$/);
  const back = unpack(packed);
  const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);
  const cosine = dot(vector, back) / Math.sqrt(dot(vector, vector) * dot(back, back));
  assert.ok(cosine > 0.9999, String(cosine));
  assert.deepEqual(unpack("c6bd03b3.%%%"), []);
});

test("typed_words_part_into_terms", () => {
  assert.deepEqual(typed("  well-known  place -'s"), [
    { kind: "text", value: "well-known place", weight: 1 },
    { kind: "text", value: "'s", weight: -0.5 },
  ]);
  assert.deepEqual(typed("-"), [{ kind: "text", value: "-", weight: 1 }]);
});

test("a_weight_is_never_zero_and_has_an_end", () => {
  assert.equal(heavier(0.25, -1), -0.25);
  assert.equal(heavier(-0.25, 1), 0.25);
  assert.equal(heavier(2, 1), 2);
});

test("a_table_holds_no_formula_and_keeps_every_sign", () => {
  assert.equal(csv([["=1+1", 'say "a, b"', -0.5]]), `'=1+1,"say ""a, b""",-0.5\r\n`);
});

test("shares_are_honest_at_both_ends", () => {
  assert.deepEqual([0, 0.001, 0.5, 0.999, 1].map(percent), ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]);
});

test("labels_are_parted_by_lines_or_else_by_commas", () => {
  assert.deepEqual(listed("a, b,a"), { labels: ["a", "b"], doubled: 1 });
  assert.deepEqual(listed("red, round\nblue\n\n"), { labels: ["red, round", "blue"], doubled: 0 });
});
