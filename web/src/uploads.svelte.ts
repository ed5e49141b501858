// Pictures on their way into the collection: progress, what was refused and why, and undo.

import { add, Problem, remove } from "./api";
import { bin } from "./bin.svelte";
import { each } from "./crowd";
import { pictures } from "./files";
import { found } from "./found.svelte";

/** Pictures that are sent at once: the server embeds what comes together in one batch. */
const AT_ONCE = 4;
/** How often a picture is sent again to a server that is busy. */
const TRIES = 8;

export type Refused = { name: string; reason: string };

class Uploads {
  isShown = $state(false);
  isRunning = $state(false);
  isUndoing = $state(false);
  total = $state(0);
  done = $state(0);
  unchanged = $state(0);
  added: string[] = $state([]);
  refused: Refused[] = $state([]);
  #stop = new AbortController();

  /** Adds what can be a picture and says what cannot. */
  async start(files: File[]): Promise<void> {
    if (files.length === 0) return;
    if (!this.isRunning) this.#clear();
    const chosen = pictures(files);
    const others = files.filter((file) => !chosen.includes(file));
    this.refused.push(...others.map(({ name }) => ({ name, reason: "not a picture, not sent" })));
    this.total += files.length;
    this.done += others.length;
    this.isShown = true;
    this.isRunning = true;
    await each(chosen, AT_ONCE, (file) => this.#add(file), this.#stop.signal);
    this.isRunning = this.done < this.total && !this.#stop.signal.aborted;
    if (!this.isRunning) await found.again();
  }

  stop(): void {
    this.#stop.abort();
  }

  hide(): void {
    this.isShown = false;
  }

  /** Takes out again what was added; what had been there before stays. */
  async undo(): Promise<void> {
    const leaving = this.added;
    this.added = [];
    this.isUndoing = true;
    await each(leaving, AT_ONCE, async (id) => {
      try {
        await remove(id);
      } catch (error) {
        this.refused.push({ name: `picture ${id}`, reason: Problem.of(error).detail });
      }
    });
    this.isUndoing = false;
    this.isShown = this.refused.length > 0;
    await found.again();
  }

  async #add(file: File): Promise<void> {
    try {
      const { id, status } = await patiently(() => add(file));
      bin.restore(id);
      if (status === "indexed") this.added.push(id);
      else this.unchanged += 1;
    } catch (error) {
      this.refused.push({ name: file.name, reason: Problem.of(error).detail });
    }
    this.done += 1;
  }

  #clear(): void {
    this.#stop = new AbortController();
    this.total = this.done = this.unchanged = 0;
    this.added = [];
    this.refused = [];
  }
}

/** Tries again where the server says when. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await work();
    } catch (error) {
      const wait = Problem.of(error).retryAfter;
      if (wait === null || tried === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }
}

export const uploads = new Uploads();
