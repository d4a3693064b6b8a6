// Calls of the API. A refusal is a `Refusal` with the server's own words; no answer at all is an `Unreachable`.

/** The server refused: `code`, `message` for people, `errors` by field. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.errors = problem.errors ?? [];
  }
}

/** The server gave no answer. */
export class Unreachable extends Error {
  constructor() {
    super("the server does not answer");
  }
}

/** Call the API; return its JSON, or null where there is none. */
export async function call(method, path, { body, headers = {}, signal } = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const type = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await reach(path, { method, signal, ...sent, headers: { ...type, ...headers } });
  if (!answer.ok) throw new Refusal(answer.status, await problemOf(answer));
  return answer.status === 204 ? null : answer.json();
}

/** Get JSON. */
export function get(path, options) {
  return call("GET", path, options);
}

/** Read the first bytes of a stored file. */
export async function readHead(file, bytes) {
  const headers = file.size_bytes > bytes ? { Range: `bytes=0-${bytes - 1}` } : {};
  const answer = await reach(file.links.content, { headers });
  if (!answer.ok) throw new Refusal(answer.status, await problemOf(answer));
  return answer.arrayBuffer();
}

/** A key that makes a repeated submission harmless; `randomUUID` is missing where the page came by plain HTTP. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
}

async function reach(path, options) {
  try {
    return await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable();
  }
}

async function problemOf(answer) {
  try {
    return await answer.json();
  } catch {
    return {};
  }
}
