// Figures of the last minutes, as far as a page of this tab was open to see them.

const KEY = "figures";
const KEPT_MS = 5 * 60_000;

/** Add the figures of now; return all that are kept, the oldest first: `[{at, queued, running, ...}]`. */
export function remember(figures) {
  const now = Date.now();
  const kept = [...recall(), { at: now, ...figures }].filter((one) => now - one.at < KEPT_MS);
  sessionStorage.setItem(KEY, JSON.stringify(kept));
  return kept;
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}
