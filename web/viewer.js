// One picture large, with where it lies and what can be done with it.

import { focus, nameOf } from "./grid.js";

const element = (name) => document.getElementById(name);
const dialog = element("viewer");
let hits = [];
let at = 0;

/** Opens the viewer on one of the hits. */
export function open(found, place) {
  hits = found;
  show(place);
  dialog.showModal();
}

/** Sets what happens on "More like this". */
export function onLike(like) {
  element("viewer-like").addEventListener("click", () => {
    const { id } = hits[at];
    dialog.close();
    like(id);
  });
}

function show(place) {
  at = Math.min(Math.max(place, 0), hits.length - 1);
  const hit = hits[at];
  const image = element("viewer-image");
  image.src = `/v1/pictures/${hit.id}/file`;
  image.alt = nameOf(hit);
  element("viewer-name").textContent = nameOf(hit);
  element("viewer-path").textContent = hit.path;
  element("viewer-path").title = hit.path;
  element("viewer-facts").textContent =
    `${hit.width} × ${hit.height} · score ${hit.score.toFixed(3)} · ${at + 1} of ${hits.length}`;
  element("viewer-open").href = image.src;
  element("viewer-back").disabled = at === 0;
  element("viewer-next").disabled = at === hits.length - 1;
}

element("viewer-back").addEventListener("click", () => show(at - 1));
element("viewer-next").addEventListener("click", () => show(at + 1));
element("viewer-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => focus(at));
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") show(at - 1);
  else if (event.key === "ArrowRight") show(at + 1);
});
