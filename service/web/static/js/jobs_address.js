// The view of the list in the address bar: reload and links give the same one.

const NAMES = ["state", "processor", "q", "cursor"];

/** The view that the address asks for; missing parts are empty. */
export function viewFromAddress() {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
}

/** Write the view into the address; `replace` while somebody types. */
export function writeAddress(view, replace = false) {
  const query = queryOf(view);
  const place = query ? `/jobs?${query}` : "/jobs";
  if (place === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", place);
}

/** The part of the view that the API filters by. */
export function apiQuery(view, more = {}) {
  return queryOf({ state: view.state, processor: view.processor, cursor: view.cursor, ...more });
}

function queryOf(parts) {
  return new URLSearchParams(Object.entries(parts).filter(([, value]) => value !== "")).toString();
}
