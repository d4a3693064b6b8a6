// The upload page: files from a drop or a choice, a processor and its params, then the way of each to its end.

import { call, get } from "./api.js";
import { byId, put, setText, show } from "./dom.js";
import { filesOf } from "./dropped.js";
import { plural, size } from "./format.js";
import { oncePerFrame } from "./frames.js";
import { applyEvent, lightly } from "./job_state.js";
import { listen } from "./live.js";
import { ParamsForm } from "./params_form.js";
import { announce, showLink } from "./shell.js";
import { UploadItem } from "./upload_item.js";
import { UploadQueue } from "./upload_queue.js";

const choice = byId("processor");
const form = new ParamsForm(byId("fields"), byId("problem"));
const byJob = new Map();
const early = new Map(); // events that came before the answer with the id of their job
const EARLY_JOBS = 1_000;
const EARLY_EVENTS = 10;
const changed = new Set();
let known = new Map();

const draw = oncePerFrame(() => {
  for (const item of changed) item.draw();
  changed.clear();
});

const queue = new UploadQueue({
  onChange: summarize,
  onJob(item) {
    byJob.set(item.job.id, item);
    for (const [kind, data] of early.get(item.job.id) ?? []) apply(item, kind, data);
    early.delete(item.job.id);
  },
  onRefused(refusal, paramsAreWrong) {
    if (paramsAreWrong) form.showProblems(refusal.errors, refusal.message);
    announce(refusal.message);
  },
});

function summarize() {
  const { items } = queue;
  const bytes = items.reduce((sum, item) => sum + item.bytes, 0);
  const over = items.filter((item) => item.isOver).length;
  const text = items.length ? `${plural(items.length, "upload")}, ${size(bytes)}` : "Nothing chosen yet.";
  setText(byId("summary"), over ? `${text}; ${over} finished` : text);
  show(byId("clear"), over > 0);
  if (!queue.isBusy) early.clear();
}

function add(files) {
  const together = !byId("together-field").hidden && byId("together").checked;
  const lots = together && files.length ? [files] : files.map((file) => [file]);
  for (const lot of lots) {
    const item = new UploadItem(lot, { onCancel: cancel, onAgain: (one) => queue.again(one) });
    byId("uploads").append(item.element);
    queue.add(item);
  }
  put(byId("problem"));
}

async function cancel(item) {
  if (!item.job) {
    queue.cancel(item);
    return;
  }
  try {
    await call("POST", `/v1/jobs/${item.job.id}/cancel`);
  } catch (error) {
    announce(error.message);
  }
}

function apply(item, kind, data) {
  applyEvent(item.job, kind, data);
  changed.add(item);
  draw();
  if (item.isOver) {
    announce(`${item.name}: ${item.job.state}`);
    summarize();
  }
}

function choose() {
  const one = known.get(choice.value);
  if (!one) return;
  put(byId("about"), one.summary);
  show(byId("together-field"), one.limits.max_files > 1);
  byId("together").checked = one.limits.min_files > 1;
  form.draw(one.params_schema);
}

async function submitWithoutFiles(processor, params) {
  try {
    const job = await call("POST", "/v1/jobs", { body: { processor, params } });
    location.assign(`/jobs/${job.id}`);
  } catch (error) {
    form.showProblems(error.errors ?? [], error.message);
  }
}

byId("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  await ready; // somebody may be quicker than the list of processors
  const params = form.read();
  if (params === null) return;
  const waits = queue.items.some((item) => item.phase === "waiting" || item.phase === "refused");
  if (waits) queue.start(choice.value, params);
  else if (known.get(choice.value)?.limits.min_files === 0) submitWithoutFiles(choice.value, params);
  else put(byId("problem"), "Choose a file first.");
});

const drop = byId("drop");
const over = (on) => (event) => {
  event.preventDefault();
  drop.classList.toggle("over", on);
};
addEventListener("dragover", over(true));
addEventListener("dragleave", over(false));
addEventListener("drop", async (event) => {
  over(false)(event);
  add(await filesOf(event.dataTransfer));
});
for (const name of ["files", "folder"]) {
  const input = byId(name);
  byId(`pick-${name}`).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    add([...input.files]);
    input.value = "";
  });
}
byId("clear").addEventListener("click", () => {
  for (const item of queue.items.filter((one) => one.isOver)) queue.remove(item);
});
choice.addEventListener("change", () => {
  history.replaceState(null, "", `/upload?processor=${encodeURIComponent(choice.value)}`);
  choose();
});
addEventListener("beforeunload", (event) => queue.isBusy && event.preventDefault());

async function begin() {
  const wanted = new URLSearchParams(location.search).get("processor");
  const { items } = await get("/v1/processors");
  known = new Map(items.map((one) => [one.name, one]));
  if (known.has(wanted)) choice.value = wanted;
  else if (known.has("image.thumbnail")) choice.value = "image.thumbnail";
  choose();
}

/** Keep an event until the answer says whose it is: the last few of each job, and of the jobs that were heard of last. */
function keepEarly(id, event) {
  const kept = [...(early.get(id) ?? []), event].slice(-EARLY_EVENTS);
  early.delete(id);
  early.set(id, kept);
  if (early.size > EARLY_JOBS) early.delete(early.keys().next().value);
}

async function catchUp() {
  await ready;
  if (!known.size) await begin();
  for (const item of byJob.values()) {
    if (item.isOver) continue;
    item.job = lightly(await get(item.job.links.self));
    item.draw();
  }
  summarize();
}

summarize();
const ready = begin().catch((error) => put(byId("problem"), error.message));
listen("/v1/events", {
  resume: false,
  onLink: showLink,
  onOpen: () => catchUp().catch(() => {}),
  onEvent(kind, data) {
    const item = byJob.get(data.job_id);
    if (item) apply(item, kind, data);
    else if (queue.isBusy && kind !== "log") keepEarly(data.job_id, [kind, data]);
  },
});
