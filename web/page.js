// The page: the address is the state, the state is searched for, the answer is drawn.

import { Problem, search } from "./api.js";
import * as grid from "./grid.js";
import { PAGE, canShowMore, isEmpty, read, toQuery, write } from "./state.js";
import * as viewer from "./viewer.js";

const EXAMPLES = ["a sunflower", "food on a table", "a boat on the water", "a red car",
  "a bird standing in water", "someone making music"];
/** What fills the page before anything was asked for. */
const ANYTHING = { terms: [{ text: "a colorful photo taken outdoors" }], limit: 40 };
/** Milliseconds without a key after which the words are searched for. */
const PAUSE = 350;

const element = (name) => document.getElementById(name);
const words = element("words");
let state = read();
let running = null;
let typing = 0;
let chipUrl = null;

function change(next, replace = false) {
  state = { ...state, shown: PAGE, ...next };
  write(state, replace);
  show();
}

async function show() {
  clearTimeout(typing);
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  if (words.value !== state.words) words.value = state.words;
  drawChip();
  document.title = state.words ? `${state.words} · Clipsight` : "Clipsight";
  element("examples").hidden = !isEmpty(state);
  setBusy(true);
  try {
    const query = isEmpty(state) ? ANYTHING : toQuery(state);
    draw(await search(query, isEmpty(state) ? null : state.image, signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error instanceof Problem ? error : new Problem("The page failed", String(error)));
  }
  setBusy(false);
}

function draw(answer) {
  const { hits, total_indexed: total } = answer;
  grid.draw(hits, (at) => viewer.open(hits, at));
  element("more").hidden = isEmpty(state) || !canShowMore(state, hits.length);
  element("message").hidden = true;
  const pictures = `${total.toLocaleString()} picture${total === 1 ? "" : "s"}`;
  if (total === 0) {
    say("There are no pictures yet", "Stop the server, run clipsight index with a folder of yours, then start the server again.");
  } else if (hits.length === 0) {
    say("Nothing found", "Try other words, or fewer of them.");
  }
  element("examples").hidden = !isEmpty(state) || total === 0;
  element("status").textContent = total === 0 ? "" : isEmpty(state)
    ? `${pictures}. Ask for something, or look around.`
    : `The ${hits.length} nearest of ${pictures}, in ${answer.took_ms} ms.`
      + (answer.truncated ? " Only the beginning of the text was read." : "");
}

function fail(problem) {
  grid.draw([], () => {});
  element("more").hidden = true;
  element("status").textContent = "";
  say(problem.title, problem.detail, true);
}

function say(title, detail, isError = false) {
  const message = element("message");
  const [strong, paragraph] = [document.createElement("strong"), document.createElement("p")];
  strong.textContent = title;
  paragraph.textContent = detail;
  message.replaceChildren(strong, paragraph);
  message.classList.toggle("error", isError);
  message.hidden = false;
}

function setBusy(busy) {
  element("busy").hidden = !busy;
  grid.setBusy(busy);
}

function drawChip() {
  if (chipUrl) URL.revokeObjectURL(chipUrl);
  chipUrl = state.image ? URL.createObjectURL(state.image) : null;
  const source = chipUrl ?? (state.like ? `/v1/pictures/${state.like}/thumbnail?size=160` : null);
  element("chip").hidden = !source;
  if (source) element("chip-image").src = source;
  words.placeholder = source ? "Similar pictures; add words to steer" : "Describe a picture";
}

function searchBy(files) {
  const image = [...files].find((file) => file.type.startsWith("image/"));
  if (image) change({ image, like: null });
  else if (files.length) say("That is no picture", "Drop a JPEG, PNG, WebP, GIF, BMP or TIFF file.", true);
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  change({ words: words.value });
});
words.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => change({ words: words.value }, !isEmpty(state)), PAUSE);
});
element("start").addEventListener("click", (event) => {
  event.preventDefault();
  change({ words: "", like: null, image: null });
});
element("chip-clear").addEventListener("click", () => change({ image: null, like: null }));
element("more").addEventListener("click", () => change({ shown: state.shown * 2 }, true));
element("pick").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", ({ target }) => {
  searchBy(target.files);
  target.value = "";
});
viewer.onLike((like) => change({ like, image: null, words: "" }));
window.addEventListener("popstate", () => {
  state = read();
  show();
});
window.addEventListener("paste", ({ clipboardData }) => searchBy(clipboardData.files));
window.addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input, dialog");
  if (event.key === "/" && !writing) {
    event.preventDefault();
    words.select();
  }
});
for (const name of ["dragenter", "dragover"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").hidden = false;
  });
}
window.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) element("drop").hidden = true;
});
window.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").hidden = true;
  searchBy(event.dataTransfer.files);
});

element("examples").append(...EXAMPLES.map((text) => {
  const link = document.createElement("a");
  link.textContent = text;
  link.href = `?q=${encodeURIComponent(text)}`;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    change({ words: text });
  });
  return link;
}));
if (!isEmpty(state)) words.value = state.words;
show();
