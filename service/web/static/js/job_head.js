// The head of a job's page: its state, how far it is, when what happened, and what can be done with it.

import { byId, el, put, setText, show } from "./dom.js";
import { age, between, duration, shortMoment } from "./format.js";
import { badge, CANCELLABLE, RETRYABLE, runTime, titleOf } from "./job_state.js";
import { oneLine } from "./printable.js";

/** Draw the head of the job. */
export function showHead(job) {
  const title = oneLine(titleOf(job), 160);
  setText(byId("job-title"), title);
  document.title = `${title} · ${job.state} · Filemill`;
  setText(byId("job-id"), job.id);
  if (byId("state").firstChild?.dataset?.state !== job.state) put(byId("state"), badge(job.state));
  const running = job.state === "running";
  setText(byId("message"), running ? messageOf(job.progress) : "");
  show(byId("progress"), running);
  if (running) byId("progress").value = job.progress.fraction;
  show(byId("actions"), true);
  show(byId("cancel"), CANCELLABLE.has(job.state));
  show(byId("retry"), RETRYABLE.has(job.state));
  show(byId("delete"), !running);
  showFacts(job);
}

/** Draw what changes by itself as time goes by. */
export function showFacts(job) {
  const facts = {
    Processor: job.processor,
    Attempt: job.attempt ? `${job.attempt} of ${job.max_attempts}` : `0 of ${job.max_attempts}`,
    ...(job.losses ? { Losses: String(job.losses) } : {}),
    Duration: duration(runTime(job)),
    Age: age(between(job.created_at)),
    Created: shortMoment(job.created_at),
    Started: shortMoment(job.started_at),
    Finished: shortMoment(job.finished_at),
    "Time limit": duration(job.timeout_s),
    ...(job.priority ? { Priority: String(job.priority) } : {}),
    ...(job.state === "queued" && between(job.run_after) < -1 ? { "Not before": shortMoment(job.run_after) } : {}),
  };
  const place = byId("facts");
  const names = Object.keys(facts).join();
  if (place.dataset.names !== names) {
    place.dataset.names = names;
    put(place, Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), valueOf(name, value))));
  }
  [...place.querySelectorAll("dd")].forEach((dd, index) => setText(dd.firstElementChild ?? dd, Object.values(facts)[index]));
}

function valueOf(name, value) {
  if (name !== "Processor") return el("dd", {}, value);
  return el("dd", {}, el("a", { href: `/processors/${encodeURIComponent(value)}` }, value));
}

function messageOf({ fraction, message }) {
  return [`${Math.round(fraction * 100)} %`, oneLine(message, 300)].filter(Boolean).join(" · ");
}
