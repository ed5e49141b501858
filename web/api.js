// The only file that talks to the server.

/** A problem as the server sent it (RFC 9457). */
export class Problem extends Error {
  constructor(title, detail) {
    super(detail);
    this.title = title;
    this.detail = detail;
  }
}

/** Searches for `query`; `image` goes along as the part of that name. */
export async function search(query, image, signal) {
  const request = { method: "POST", signal };
  if (image) {
    request.body = new FormData();
    request.body.append("query", JSON.stringify(query));
    request.body.append("image", image, "image");
  } else {
    request.headers = { "content-type": "application/json" };
    request.body = JSON.stringify(query);
  }
  return answer("/v1/search", request);
}

async function answer(path, request) {
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer", "Is clipsight serve still running?");
  }
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  throw new Problem(body.title ?? `Status ${response.status}`, body.detail ?? "");
}
