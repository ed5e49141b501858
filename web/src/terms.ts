// The parts of a query: words, pictures of the collection, and vectors of pictures from elsewhere.

import type { WireTerm } from "./api";

/** One weighted part. `value` is the words, a picture's id, or a vector as `pack` writes it. */
export type Term = { kind: "text" | "picture" | "vector"; value: string; weight: number };

/** What a typed minus and "less like this" count: enough to steer away, not enough to lead. */
export const AWAY = -0.5;
/** Weights go by this much, to at most `HEAVIEST` either way. */
const STEP = 0.25;
const HEAVIEST = 2;
/** Letters of the model's id that a packed vector begins with. */
const MARK = 8;

/** A weight one step up (1) or down (-1); zero, which would mean nothing, is stepped over. */
export function heavier(weight: number, direction: 1 | -1): number {
  const next = weight + direction * STEP;
  const stepped = next === 0 ? direction * STEP : next;
  return Math.max(-HEAVIEST, Math.min(HEAVIEST, stepped));
}

/** Typed words as terms: a word with a minus before it, or several in quotes, steers away. */
export function typed(words: string): Term[] {
  const away: Term[] = [];
  const rest = words
    .replace(/(^|\s)-(?:"([^"]+)"|([^\s"]+))/g, (_, space: string, quoted?: string, word?: string) => {
      away.push({ kind: "text", value: quoted ?? word ?? "", weight: AWAY });
      return space;
    })
    .replace(/\s+/g, " ")
    .trim();
  return rest ? [{ kind: "text", value: rest, weight: 1 }, ...away] : away;
}

/** A term as the API takes it. */
export function toWire({ kind, value, weight }: Term): WireTerm {
  if (kind === "vector") return { vector: unpack(value), weight };
  return kind === "text" ? { text: value, weight } : { picture: value, weight };
}

/** Whether both are the same part, whatever they weigh. */
export function isSame(one: Term, other: Term): boolean {
  return one.kind === other.kind && one.value === other.value;
}

/** A vector short enough for an address: a byte for each number, after the mark of its model. */
export function pack(vector: number[], model: string): string {
  const most = Math.max(...vector.map(Math.abs)) || 1;
  const bytes = vector.map((number) => Math.round((number / most) * 127) & 0xff);
  const text = btoa(String.fromCharCode(...bytes));
  return `${model.slice(0, MARK)}.${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** The numbers of a packed vector; none where it is damaged, which the server then says. */
export function unpack(packed: string): number[] {
  const text = packed.slice(MARK + 1).replaceAll("-", "+").replaceAll("_", "/");
  try {
    return [...atob(text)].map((letter) => (letter.charCodeAt(0) << 24) >> 24);
  } catch {
    return [];
  }
}

/** Whether a packed vector was made by another model, so that comparing means nothing. */
export function isOfAnother(packed: string, model: string): boolean {
  return packed.slice(0, MARK) !== model.slice(0, MARK);
}
