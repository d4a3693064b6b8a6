// Whether the server answers. It is asked now and then, at once when something failed, and often while it is gone.

const CALM_MS = 15_000;
const GONE_MS = 1_000;
const PATIENCE_MS = 5_000;

const listeners = new Set();
let reachable = true;
let timer = 0;
let asking = null;

/** Call `listener(reachable)` at each change. */
export function onConnection(listener) {
  listeners.add(listener);
}

/** Ask now; return whether it answered. */
export function checkConnection() {
  asking ??= ask().finally(() => {
    asking = null;
    clearTimeout(timer);
    timer = setTimeout(checkConnection, reachable ? CALM_MS : GONE_MS);
  });
  return asking;
}

async function ask() {
  let answered = false;
  try {
    answered = (await fetch("/livez", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) })).ok;
  } catch {
    // that is the answer
  }
  if (answered !== reachable) {
    reachable = answered;
    for (const listener of listeners) listener(reachable);
  }
  return reachable;
}
