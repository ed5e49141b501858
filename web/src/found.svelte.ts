// What the page shows: the results of the query in the address, kept for the way back.

import { isEmpty } from "./address";
import { GOOD } from "./api";
import { bin } from "./bin.svelte";
import { page } from "./page.svelte";
import { Results } from "./results.svelte";
import { type Term, typed } from "./terms";

/** What fills the page before anything was asked for. */
const ANYTHING: Term[] = [{ kind: "text", value: "a colorful photo taken outdoors", weight: 1 }];
/** Earlier results that are kept for the button back. */
const KEPT = 8;
const AHEAD = 60;

class Found {
  /** The last results that came, which stay in sight until the next are there. */
  shown: Results = $state.raw(new Results([]));
  isBusy = $state(true);
  hits = $derived(this.shown.hits.filter(({ id }) => !bin.hidden.has(id)));
  /** The first hit that rather does not show what was asked for; -1 where there is none, or nobody can tell. */
  weaker = $derived(isEmpty(page) ? -1 : this.hits.findIndex(({ calibrated }) => calibrated !== null && calibrated < GOOD));
  #kept = new Map<string, Results>();
  #running: Results | null = null;

  /** Looks for what the address says, unless it is known. */
  async look(): Promise<void> {
    const terms = isEmpty(page) ? ANYTHING : [...typed(page.words), ...page.terms];
    const key = JSON.stringify(terms);
    this.#running?.stop();
    const results = this.#kept.get(key) ?? new Results(terms);
    this.#running = results;
    this.isBusy = true;
    const wanted = page.at + AHEAD;
    if (results.hits.length < wanted) await results.more(wanted);
    if (this.#running !== results) return;
    this.#running = null;
    this.isBusy = false;
    this.shown = results;
    this.#kept.delete(key);
    if (!results.problem) this.#kept.set(key, results);
    for (const oldest of this.#kept.keys()) if (this.#kept.size > KEPT) this.#kept.delete(oldest);
  }

  /** Looks anew, since the collection is another one now. */
  again(): Promise<void> {
    this.#kept.clear();
    return this.look();
  }
}

export const found = new Found();
