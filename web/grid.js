// The pictures that were found, in rows that keep their aspect ratios.

const grid = document.getElementById("grid");

/** Draws the hits; `open` is called with the place of the one that was chosen. */
export function draw(hits, open) {
  grid.replaceChildren(...hits.map((hit, at) => cell(hit, () => open(at))));
}

export function setBusy(busy) {
  grid.setAttribute("aria-busy", busy);
}

/** Puts the focus on a picture, for example when the viewer closes over it. */
export function focus(at) {
  grid.children[at]?.firstElementChild.focus();
}

/** The last part of a path. */
export function nameOf(hit) {
  return hit.path.split("/").pop();
}

function cell(hit, open) {
  const item = document.createElement("li");
  // A very long panorama would be a hairline, a very high one would fill the page.
  const ratio = Math.min(Math.max(hit.width / hit.height, 0.4), 4);
  item.style.setProperty("--ratio", ratio.toFixed(4));
  const link = document.createElement("a");
  link.href = `/v1/pictures/${hit.id}/file`;
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });
  link.append(image(hit), caption(hit));
  item.append(link);
  return item;
}

function image(hit) {
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.width = hit.width;
  image.height = hit.height;
  image.alt = nameOf(hit);
  image.srcset = `${hit.thumbnail} 1x, ${hit.thumbnail.replace("size=320", "size=640")} 2x`;
  image.src = hit.thumbnail;
  return image;
}

function caption(hit) {
  const caption = document.createElement("span");
  caption.className = "caption";
  caption.ariaHidden = "true";
  const [name, score] = [document.createElement("span"), document.createElement("span")];
  name.textContent = nameOf(hit);
  score.textContent = hit.score.toFixed(2);
  caption.append(name, score);
  return caption;
}
