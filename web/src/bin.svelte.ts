// Deleting with undo: a picture is hidden at once and taken out a few seconds later.
//
// Until then the server knows nothing of it, so undoing cannot lose anything.

import { SvelteSet } from "svelte/reactivity";
import { Problem, remove } from "./api";

/** Milliseconds in which a deletion can be taken back. */
const GRACE = 7000;

class Bin {
  /** Pictures that are not shown any more. */
  hidden = new SvelteSet<string>();
  /** Those that can still come back. */
  waiting: string[] = $state([]);
  problem: Problem | null = $state.raw(null);
  #timer = 0;

  put(id: string): void {
    this.hidden.add(id);
    this.waiting.push(id);
    this.problem = null;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.empty(), GRACE);
  }

  undo(): void {
    clearTimeout(this.#timer);
    for (const id of this.waiting) this.hidden.delete(id);
    this.waiting = [];
  }

  /** Takes out what waits; `isLeaving` when the page goes and must not keep the requests from ending. */
  empty(isLeaving = false): void {
    clearTimeout(this.#timer);
    const leaving = this.waiting;
    this.waiting = [];
    for (const id of leaving) void this.#remove(id, isLeaving);
  }

  /** A picture that was added again is there again. */
  restore(id: string): void {
    this.hidden.delete(id);
  }

  async #remove(id: string, isLeaving: boolean): Promise<void> {
    try {
      await remove(id, isLeaving);
    } catch (error) {
      const problem = Problem.of(error);
      if (problem.status === 404) return;
      this.hidden.delete(id);
      this.problem = problem;
    }
  }
}

export const bin = new Bin();
addEventListener("pagehide", () => bin.empty(true));
