// The state of the page, which is the address.

import { read, type State, write } from "./address";
import { AWAY, isSame, type Term } from "./terms";

export const page: State = $state(restored());

/** Changes the state: a new entry of the history, or in place of this one. */
export function go(change: Partial<State>, how: "push" | "replace" = "push"): void {
  Object.assign(page, change);
  const opened = change.open != null && how === "push" ? true : how === "replace" && isOpened();
  const kept = { opened, labels: page.labels, templates: page.templates };
  history[how === "push" ? "pushState" : "replaceState"](kept, "", write(page));
}

/** Another query, from its first hit on. */
export function ask(change: Partial<Pick<State, "words" | "terms">>, how: "push" | "replace" = "push"): void {
  go({ ...change, at: 0, open: null }, how);
}

/** Adds a term, or gives the one that is there its new weight. */
export function add(term: Term): void {
  const others = page.terms.filter((one) => !isSame(one, term));
  ask({ terms: [...others, term] });
}

export function more(id: string): void {
  add({ kind: "picture", value: id, weight: 1 });
}

export function less(id: string): void {
  add({ kind: "picture", value: id, weight: AWAY });
}

/** Closes the picture that is seen large: by going back where opening it went ahead. */
export function close(): void {
  if (isOpened()) history.back();
  else go({ open: null }, "replace");
}

/** An address of the page, for a link that can be opened elsewhere. */
export function linkTo(change: Partial<State>): string {
  return write({ ...page, ...change });
}

function isOpened(): boolean {
  return history.state?.opened === true;
}

/** What the address says, with the lists that were too long for it. */
function restored(): State {
  const state = read(location.search);
  const kept = history.state as Partial<State> | null;
  return {
    ...state,
    labels: state.labels || (kept?.labels ?? ""),
    templates: state.templates || (kept?.templates ?? ""),
  };
}

history.scrollRestoration = "manual";
addEventListener("popstate", () => Object.assign(page, restored()));
