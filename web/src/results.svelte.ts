// What a query found so far: more is asked for as the end comes near.

import { type Hit, isAbort, Problem, search } from "./api";
import { type Term, toWire } from "./terms";

/** Hits of the first question and of each later one; what is scrolled to is soon there. */
const FIRST = 100;
const LATER = [200, 500, 1000];
/** The server gives no hits beyond this one. */
const FARTHEST = 100_000;

export class Results {
  hits: Hit[] = $state.raw([]);
  /** Pictures that were searched. */
  total = $state(0);
  tookMs = $state(0);
  /** Only the beginning of a text was read. */
  isTruncated = $state(false);
  isComplete = $state(false);
  isBusy = $state(false);
  problem: Problem | null = $state.raw(null);
  #stop = new AbortController();
  #asked = 0;
  #rounds = 0;
  #known = new Set<string>();

  constructor(readonly terms: Term[]) {}

  /** Asks for the next hits, so that there are at least `wanted`. One question at a time. */
  async more(wanted = 0): Promise<void> {
    if (this.isBusy || this.isComplete) return;
    this.isBusy = true;
    this.problem = null;
    try {
      do await this.#next(wanted);
      while (this.hits.length < wanted && !this.isComplete);
    } catch (error) {
      if (!isAbort(error)) this.problem = Problem.of(error);
    }
    this.isBusy = false;
  }

  stop(): void {
    this.#stop.abort();
    this.#stop = new AbortController();
  }

  async #next(wanted: number): Promise<void> {
    const usual = this.#rounds === 0 ? FIRST : (LATER[this.#rounds - 1] ?? 1000);
    const limit = Math.min(1000, Math.max(usual, wanted - this.#asked));
    const query = { terms: this.terms.map(toWire), limit, offset: this.#asked };
    const answer = await search(query, this.#stop.signal);
    if (this.#rounds === 0) this.tookMs = answer.took_ms;
    this.#rounds += 1;
    this.#asked += limit;
    this.total = answer.total_indexed;
    this.isTruncated = answer.truncated ?? false;
    this.isComplete = answer.hits.length < limit || this.#asked > FARTHEST;
    // A picture that was added meanwhile moves the others down, so that one may come twice.
    const fresh = answer.hits.filter(({ id }) => !this.#known.has(id));
    for (const { id } of fresh) this.#known.add(id);
    this.hits = [...this.hits, ...fresh];
  }
}
