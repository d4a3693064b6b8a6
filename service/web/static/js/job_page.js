// A job: what it is, what happened to it, and what happens now.

import { call, get, Refusal } from "./api.js";
import { confirmed, LOST } from "./confirm.js";
import { curlFor } from "./curl.js";
import { byId, put, setText, show } from "./dom.js";
import { atMostEvery, oncePerFrame } from "./frames.js";
import { setUpAgain } from "./job_again.js";
import { showFiles } from "./job_files.js";
import { showFacts, showHead } from "./job_head.js";
import { Log } from "./job_log.js";
import { applyEvent, TERMINAL } from "./job_state.js";
import { showError, showParams, showResult } from "./job_texts.js";
import { Timeline } from "./job_timeline.js";
import { listen } from "./live.js";
import { announce, showLink } from "./shell.js";

const RELOAD_MS = 200;

const id = byId("main").dataset.job;
const self = `/v1/jobs/${encodeURIComponent(id)}`;
const timeline = new Timeline(byId("timeline"));
const log = new Log(`${self}/events`);
const drawHead = oncePerFrame(() => job && showHead(job));
const reload = atMostEvery(RELOAD_MS, load);

let job = null;
let deleted = false;
let lastEvent = 0;
let lastState = "";
let lastAttempt = 0;

async function load() {
  try {
    job = await get(self);
  } catch (error) {
    complain(error);
    return;
  }
  put(byId("job-problem"));
  show(byId("job-problem"), false);
  show(byId("job-body"), true);
  showHead(job);
  showFiles(byId("outputs"), job.outputs, "None so far.");
  showFiles(byId("inputs"), job.inputs, "");
  hideEmpty();
  showResult(job);
  showError(job);
  showParams(job);
  setText(byId("curl"), curlFor(job));
}

/** Hide the cards of what the job has not, and will not have. */
function hideEmpty() {
  const over = TERMINAL.has(job.state);
  show(byId("outputs-card"), !over || job.outputs.length > 0);
  show(byId("inputs-card"), job.inputs.length > 0);
  show(byId("log-card"), !over || log.total > 0);
}

function complain(error) {
  const gone = error instanceof Refusal && error.status === 404;
  if (gone) {
    deleted = true;
    stop();
    show(byId("job-body"), false);
    show(byId("actions"), false);
    setText(byId("job-title"), "No such job");
  }
  setText(byId("job-problem"), gone ? "It was deleted, or there never was one with this id." : error.message);
  show(byId("job-problem"), true);
}

function note(kind, data, eventId) {
  if (eventId <= lastEvent) return; // a stream that began afresh tells everything again
  lastEvent = eventId;
  if (kind === "log") {
    log.add(data);
    show(byId("log-card"), true);
    return;
  }
  if (kind === "state") {
    lastState = data.state;
    lastAttempt = data.attempt;
    timeline.add(data);
  }
  if (!job || data.at.replace("+00:00", "Z") <= newestChange(job)) return; // that is in what was loaded
  applyEvent(job, kind, data);
  drawHead();
  if (kind === "state") {
    announce(`The job is ${data.state}.`);
    reload();
  }
}

function newestChange({ created_at, started_at, finished_at }) {
  return finished_at ?? started_at ?? created_at;
}

let stop = () => {};

/** Listen to the job from its beginning to its end; then to whatever may still come. */
function follow() {
  stop = listen(`${self}/events`, {
    onLink: showLink,
    onOpen: load,
    onEvent: note,
    isOver: () => TERMINAL.has(lastState),
    onEnd: followOn,
  });
}

function followOn() {
  stop = listen(`/v1/events?job=${encodeURIComponent(id)}`, {
    resume: false,
    onLink: showLink,
    onEvent: note,
    async onOpen() {
      await load();
      if (job && (job.state !== lastState || job.attempt !== lastAttempt)) {
        stop(); // something happened between the two streams
        lastState = "";
        follow();
      }
    },
  });
}

async function act(method, path, then) {
  try {
    await call(method, path);
    await then();
  } catch (error) {
    setText(byId("job-problem"), error.message);
    show(byId("job-problem"), true);
  }
}

byId("cancel").addEventListener("click", () => act("POST", `${self}/cancel`, load));
byId("retry").addEventListener("click", () => act("POST", `${self}/retry`, load));
byId("delete").addEventListener("click", async () => {
  if (await confirmed("Delete this job?", LOST, "Delete")) act("DELETE", self, () => location.assign("/jobs"));
});
byId("copy-curl").addEventListener("click", async () => {
  await navigator.clipboard.writeText(byId("curl").textContent);
  announce("Copied.");
});
show(byId("copy-curl"), Boolean(navigator.clipboard));
setUpAgain(() => job);
setInterval(() => job && !byId("job-body").hidden && showFacts(job), 1000);
load().then(() => deleted || follow()); // a server that is gone comes back
