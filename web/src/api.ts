// The only file that talks to the server. The types come from the server's OpenAPI document.

import type { components } from "./wire";

type Schemas = components["schemas"];
export type Answer = Schemas["Answer"];
export type Hit = Schemas["Hit"];
export type Label = Schemas["Classified"]["labels"][number];
export type Model = Schemas["Model"];
export type Picture = Schemas["Picture"];
export type Query = Schemas["Query"];
export type WireTerm = Schemas["Term"];
type Added = Schemas["Uploaded"]["pictures"][number];

/** From this `calibrated` on, a hit rather shows what was asked for than not. */
export const GOOD = 0.5;

/** What went wrong, in the server's words (RFC 9457) or in ours where no answer came. */
export class Problem extends Error {
  constructor(
    readonly title: string,
    readonly detail: string,
    /** The status of the answer; 0 where none came. */
    readonly status = 0,
    /** Seconds after which to try again, where the server says so. */
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }

  /** Whatever was thrown, as a problem. */
  static of(error: unknown): Problem {
    return error instanceof Problem ? error : new Problem("The page failed", String(error));
  }
}

/** Whether this is the end of a request that nobody waits for any more. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function search(query: Query, signal: AbortSignal): Promise<Answer> {
  return post("/v1/search", json(query), signal);
}

export type Asked = { labels: string[]; templates: string[] | null; limit: number };

/** Sorts a stored picture (by its id) or a file into classes. */
export async function classify(on: string | File, asked: Asked, signal: AbortSignal): Promise<Label[]> {
  const query = { ...asked, picture: typeof on === "string" ? on : null };
  const body = typeof on === "string" ? json(query) : form(on, query);
  return (await post<Schemas["Classified"]>("/v1/classify", body, signal)).labels;
}

/** The vector of a picture that is not in the collection, and the id of the model that made it. */
export async function embed(image: File): Promise<{ vector: number[]; model: string }> {
  const { embeddings, model } = await post<Schemas["Embedded"]>("/v1/embed", form(image));
  return { vector: embeddings[0] ?? [], model };
}

/** Adds one picture to the collection. */
export async function add(image: File): Promise<Added> {
  const { pictures } = await post<Schemas["Uploaded"]>("/v1/pictures", form(image));
  const [added] = pictures;
  if (!added) throw new Problem("Nothing was added", "the server's answer holds no picture");
  return added;
}

/** Takes a picture out; `keepalive` lets the request outlive the page. */
export async function remove(id: string, keepalive = false): Promise<void> {
  await ask(picture(id), { method: "DELETE", keepalive });
}

export async function record(id: string, signal: AbortSignal): Promise<Picture> {
  return (await ask(picture(id), { signal })).json();
}

export async function model(): Promise<Model> {
  return (await ask("/v1/model", {})).json();
}

/** Where the bytes of a picture are. */
export function file(id: string): string {
  return `${picture(id)}/file`;
}

/** Where a small copy is, whose longer side has at least `pixels` pixels if the picture has. */
export function thumbnail(id: string, pixels: number): string {
  const size = [160, 320, 640].find((one) => one >= pixels) ?? 1280;
  return `${picture(id)}/thumbnail?size=${size}`;
}

function picture(id: string): string {
  return `/v1/pictures/${encodeURIComponent(id)}`;
}

function json(value: unknown): RequestInit {
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}

function form(image: File, query?: unknown): RequestInit {
  const body = new FormData();
  if (query) body.append("query", JSON.stringify(query));
  body.append("image", image, image.name || "picture");
  return { body };
}

async function post<T>(path: string, body: RequestInit, signal?: AbortSignal): Promise<T> {
  const init: RequestInit = { method: "POST", ...body };
  if (signal) init.signal = signal;
  return (await ask(path, init)).json();
}

/** An answer that is none of an error. */
async function ask(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem("The server does not answer", "Is clipsight serve still running?");
  }
  if (response.ok) return response;
  const told = (await response.json().catch(() => ({}))) as Partial<Schemas["Problem"]>;
  const detail = told.failed?.[0]?.reason ?? told.detail ?? "the answer does not say why";
  const wait = Number(response.headers.get("retry-after") ?? Number.NaN);
  throw new Problem(
    told.title ?? `Status ${response.status}`,
    detail,
    response.status,
    Number.isFinite(wait) ? wait : null,
  );
}
