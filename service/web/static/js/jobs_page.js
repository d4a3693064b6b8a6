// The list of jobs: the address says which, events keep it fresh.

import { byId, put, setText, show, el } from "./dom.js";
import { plural } from "./format.js";
import { atMostEvery } from "./frames.js";
import { applyEvent } from "./job_state.js";
import { viewFromAddress, writeAddress } from "./jobs_address.js";
import { findJobs, REACH } from "./jobs_search.js";
import { setUpSelection } from "./jobs_selection.js";
import { JobsTable } from "./jobs_table.js";
import { listen } from "./live.js";
import { showLink } from "./shell.js";

const REFRESH_MS = 1_000;
const TYPING_MS = 250;

const filters = byId("filters");
const table = new JobsTable(byId("rows"), (id, picked) => selection.pick(id, picked));
const selection = setUpSelection({
  jobOf: (id) => table.get(id),
  onChange: () => {
    table.showPicked(selection.picked);
    byId("pick-all").checked = selection.picked.size > 0 && table.ids.every((id) => selection.picked.has(id));
  },
  onDone: () => load(),
});

let view = viewFromAddress();
let next = "";
let loading = new AbortController();

function paintFilters() {
  filters.elements.state.value = view.state;
  filters.elements.processor.value = view.processor;
  if (filters.elements.q.value !== view.q) filters.elements.q.value = view.q;
}

async function load() {
  loading.abort();
  loading = new AbortController();
  try {
    present(await findJobs(view, loading.signal));
  } catch (error) {
    if (error.name !== "AbortError") setText(byId("shown"), error.message);
  }
}

function present({ items, next: following, searched }) {
  next = following;
  table.show(items, selection.picked);
  selection.keepOnly(table.ids);
  show(byId("newest"), view.cursor !== "");
  byId("older").disabled = next === "";
  setText(byId("older"), searched === null ? "Older" : "Search older jobs");
  setText(byId("shown"), summaryOf(items.length, searched));
  show(byId("empty"), !items.length);
  if (!items.length) put(byId("empty"), emptiness());
  byId("jobs").setAttribute("aria-busy", "false");
}

function summaryOf(found, searched) {
  const shown = plural(found, "job");
  if (searched === null) return view.cursor ? `${shown}, an older page` : shown;
  const where = next ? `in the ${view.cursor ? "next" : "newest"} ${plural(searched, "job")}` : `in ${plural(searched, "job")}`;
  return `${shown} found ${where}${next && searched >= REACH ? "; there are older ones" : ""}`;
}

function emptiness() {
  if (view.state || view.processor || view.q || view.cursor) {
    return [el("p", {}, "No job fits."), el("p", {}, el("a", { href: "/jobs" }, "Show all jobs"))];
  }
  return [el("p", {}, "There are no jobs yet."), el("p", {}, el("a", { href: "/upload" }, "Upload the first file"))];
}

function change(parts, replace = false) {
  view = { ...view, cursor: "", ...parts };
  writeAddress(view, replace);
  load();
}

let typing = 0;
filters.addEventListener("input", (event) => {
  clearTimeout(typing);
  const { name, value } = event.target;
  if (name === "q") typing = setTimeout(() => change({ q: value }, true), TYPING_MS);
  else change({ [name]: value });
});
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  change({ q: filters.elements.q.value });
});
byId("older").addEventListener("click", () => change({ cursor: next }));
byId("newest").addEventListener("click", () => change({}));
byId("pick-all").addEventListener("change", (event) => selection.pickAll(table.ids, event.target.checked));
addEventListener("popstate", () => {
  view = viewFromAddress();
  paintFilters();
  load();
});

const refresh = atMostEvery(REFRESH_MS, load);
paintFilters();
load();
listen("/v1/events", {
  resume: false,
  onLink: showLink,
  onOpen: refresh,
  onEvent(kind, data) {
    const job = table.get(data.job_id);
    if (job) {
      applyEvent(job, kind, data);
      table.touch(job.id);
    }
    if (kind === "state" && !view.q) refresh();
  },
});
