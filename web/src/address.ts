// The state of the page and how it stands in the address: every result can be linked.
//
// ?q=WORDS & t=KIND*VALUE*WEIGHT (repeated) & at=FIRST HIT ON SCREEN & open=PICTURE
// & view=classify & on=PICTURE & labels=… & templates=…, one in a line.

import type { Term } from "./terms";

export type State = {
  view: "search" | "classify";
  /** What is typed into the box. */
  words: string;
  /** What stands in the box as chips. */
  terms: Term[];
  /** Number of the first hit on screen. */
  at: number;
  /** The picture that is seen large. */
  open: string | null;
  /** The picture to classify; without one, what was found is. */
  on: string | null;
  labels: string;
  templates: string;
};

const KINDS = ["text", "picture", "vector"] as const;
/** Longer lists stay out of the address, which has its limits; they are kept with the entry. */
const LONGEST = 4000;

export function read(address: string): State {
  const params = new URLSearchParams(address);
  const at = Number.parseInt(params.get("at") ?? "", 10);
  return {
    view: params.get("view") === "classify" ? "classify" : "search",
    words: params.get("q") ?? "",
    terms: params.getAll("t").flatMap(readTerm),
    at: at > 0 ? at : 0,
    open: params.get("open"),
    on: params.get("on"),
    labels: params.get("labels") ?? "",
    templates: params.get("templates") ?? "",
  };
}

export function write(state: State): string {
  const params = new URLSearchParams();
  const put = (name: string, value: string | null, most = Number.POSITIVE_INFINITY) => {
    if (value?.trim() && value.length <= most) params.append(name, value.trim());
  };
  if (state.view === "classify") params.append("view", "classify");
  put("q", state.words);
  for (const { kind, value, weight } of state.terms) put("t", `${kind}*${value}*${weight}`);
  if (state.at > 0) params.append("at", String(state.at));
  put("open", state.open);
  if (state.view === "classify") {
    put("on", state.on);
    put("labels", state.labels, LONGEST);
    put("templates", state.templates, LONGEST);
  }
  return params.size ? `?${params}` : "/";
}

/** Whether nothing is looked for. */
export function isEmpty(state: Pick<State, "words" | "terms">): boolean {
  return !state.words.trim() && state.terms.length === 0;
}

/** A term that an address holds; none where it was damaged. */
function readTerm(text: string): Term[] {
  const first = text.indexOf("*");
  const last = text.lastIndexOf("*");
  const kind = KINDS.find((one) => one === text.slice(0, first));
  const weight = Number(text.slice(last + 1));
  const value = text.slice(first + 1, last);
  if (!kind || !value || first === last || !Number.isFinite(weight) || weight === 0) return [];
  return [{ kind, value, weight }];
}
