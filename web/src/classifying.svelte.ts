// Sorting pictures into classes of one's own, one picture after the other.

import { classify, isAbort, type Label, Problem } from "./api";
import { each } from "./crowd";

/** Pictures that are asked for at once. */
const AT_ONCE = 4;
/** Likeliest labels that are kept of each of several pictures. */
const KEPT = 5;

/** A picture with the labels it got, the likeliest first. */
export type Sorted = { id: string | null; path: string; labels: Label[] };
export type Subject = { id: string; path: string } | File;

class Classifying {
  sorted: Sorted[] = $state.raw([]);
  total = $state(0);
  isRunning = $state(false);
  problem: Problem | null = $state.raw(null);
  #stop = new AbortController();

  /** Sorts the subjects; whatever ran before ends. */
  async start(subjects: Subject[], labels: string[], templates: string[]): Promise<void> {
    this.#stop.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.sorted = [];
    this.total = subjects.length;
    this.problem = null;
    this.isRunning = true;
    const limit = subjects.length === 1 ? labels.length : Math.min(KEPT, labels.length);
    const asked = { labels, templates: templates.length > 0 ? templates : null, limit };
    const places = new Map<Subject, Sorted>();
    try {
      await each(subjects, AT_ONCE, async (subject) => {
        const on = subject instanceof File ? subject : subject.id;
        const found = await classify(on, asked, stop.signal);
        places.set(subject, rowOf(subject, found));
        this.sorted = subjects.flatMap((one) => places.get(one) ?? []);
      }, stop.signal);
    } catch (error) {
      if (!isAbort(error)) {
        stop.abort();
        this.problem = Problem.of(error);
      }
    }
    if (this.#stop === stop) this.isRunning = false;
  }

  stop(): void {
    this.#stop.abort();
    this.isRunning = false;
  }
}

function rowOf(subject: Subject, labels: Label[]): Sorted {
  if (subject instanceof File) return { id: null, path: subject.name, labels };
  return { ...subject, labels };
}

export const classifying = new Classifying();

/** Labels as they are typed or pasted: one in a line, or parted by commas; each once. */
export function listed(text: string): { labels: string[]; doubled: number } {
  const parts = text.includes("\n") ? text.split("\n") : text.split(",");
  const all = parts.map((part) => part.trim().replace(/,$/, "").trim()).filter(Boolean);
  const labels = [...new Set(all)];
  return { labels, doubled: all.length - labels.length };
}
