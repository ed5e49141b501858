// What is looked for, and how it is written in the address: every result can be linked.
//
// ?q=WORDS&like=PICTURE&n=SHOWN; a picture of the visitor's own has no address and is kept in the
// entry of the history instead.

export const PAGE = 60;
const MOST = 960;
/** How much a word with a minus counts: enough to steer away, not enough to lead. */
const AWAY = -0.5;

/** Reads the state from the address and the entry of the history. */
export function read() {
  const params = new URLSearchParams(location.search);
  const shown = Number.parseInt(params.get("n") ?? "", 10);
  return {
    words: params.get("q") ?? "",
    like: params.get("like"),
    image: history.state?.image ?? null,
    shown: shown > 0 ? Math.min(shown, MOST) : PAGE,
  };
}

/** Writes the state into the address: a new entry, or in place of the current one. */
export function write(state, replace = false) {
  const params = new URLSearchParams();
  if (state.words.trim()) params.set("q", state.words.trim());
  if (state.like) params.set("like", state.like);
  if (state.shown !== PAGE) params.set("n", state.shown);
  const address = params.size ? `?${params}` : location.pathname;
  const entry = state.image ? { image: state.image } : null;
  history[replace ? "replaceState" : "pushState"](entry, "", address);
}

/** Whether anything is looked for. */
export function isEmpty(state) {
  return !state.words.trim() && !state.like && !state.image;
}

/** The query that the API gets. A word with a minus before it, or several in quotes, steers away. */
export function toQuery(state) {
  const away = [];
  const words = state.words
    .replace(/(^|\s)-(?:"([^"]+)"|([^\s"]+))/g, (_, space, quoted, word) => {
      away.push(quoted ?? word);
      return space;
    })
    .replace(/\s+/g, " ")
    .trim();
  const terms = away.map((text) => ({ text, weight: AWAY }));
  if (words) terms.unshift({ text: words });
  if (state.like) terms.push({ picture: state.like });
  if (state.image) terms.push({ image: "image" });
  return { terms, limit: state.shown };
}

export function canShowMore(state, found) {
  return found >= state.shown && state.shown < MOST;
}
