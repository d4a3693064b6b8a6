// One row of the list: made once, then changed only where the job did.

import { el, setText, show } from "./dom.js";
import { age, between, clock, duration, moment, plural, size } from "./format.js";
import { runTime, titleOf } from "./job_state.js";
import { oneLine } from "./printable.js";

/** Make a row: `{element, pick, update(job)}`. */
export function makeRow(job, onPick) {
  const parts = {
    pick: el("input", { type: "checkbox", onchange: () => onPick(job.id, parts.pick.checked) }),
    stateName: document.createTextNode(""),
    link: el("a", { href: `/jobs/${job.id}` }),
    under: el("span", { class: "under-processor", translate: "no" }, job.processor),
    bar: el("progress", { max: "1" }),
    percent: el("span", { class: "percent" }),
    message: el("span", { class: "message" }),
    attempt: cell("c-attempt number"),
    duration: cell("c-duration number"),
    age: el("time", { datetime: job.created_at, title: moment(job.created_at) }),
  };
  parts.state = el("span", { class: "state" }, el("span", { class: "dot", "aria-hidden": "true" }), parts.stateName);
  const title = oneLine(titleOf(job), 120);
  setText(parts.link, title);
  parts.pick.setAttribute("aria-label", `Select ${title}`);
  parts.bar.setAttribute("aria-label", `Progress of ${title}`);
  const element = el(
    "tr",
    { "data-id": job.id, role: "row" },
    cell("c-pick", parts.pick),
    cell("c-state", parts.state),
    cell("c-job", el("bdi", {}, parts.link), el("span", { class: "sub" }, parts.under, shortId(job.id))),
    cell("c-processor", el("a", { href: `/processors/${job.processor}` }, job.processor)),
    cell("c-progress", el("div", { class: "meter" }, parts.bar, parts.percent), parts.message),
    parts.attempt,
    parts.duration,
    cell("c-age number", parts.age),
  );
  return { element, pick: parts.pick, update: (now) => draw(parts, now), tick: (now) => tick(parts, now) };
}

// the roles are said because small screens lay the table out anew, and browsers then forget what it was
function cell(name, ...children) {
  return el("td", { class: name, role: "cell" }, ...children);
}

/** The end of an id: its beginning is only the time. */
export function shortId(id) {
  return el("span", { class: "mono id", title: id }, id.slice(-8));
}

function draw(parts, job) {
  if (parts.state.dataset.state !== job.state) {
    parts.state.dataset.state = job.state;
    parts.stateName.data = job.state;
  }
  const running = job.state === "running";
  show(parts.bar.parentNode, running);
  if (running) {
    if (parts.bar.value !== job.progress.fraction) parts.bar.value = job.progress.fraction;
    setText(parts.percent, `${Math.round(job.progress.fraction * 100)} %`);
  }
  setText(parts.message, messageOf(job));
  setText(parts.attempt, job.attempt ? `${job.attempt} / ${job.max_attempts}` : "–");
  tick(parts, job);
}

function tick(parts, job) {
  setText(parts.duration, duration(runTime(job)));
  setText(parts.age, age(between(job.created_at)));
}

function messageOf(job) {
  switch (job.state) {
    case "running":
      return oneLine(job.progress.message, 120);
    case "failed":
      return oneLine(job.error ? `${job.error.code}: ${job.error.message}` : "", 160);
    case "queued":
      return Date.parse(job.run_after) > Date.now() + 1000 ? `not before ${clock(job.run_after).slice(0, 8)}` : "";
    case "succeeded":
      return outputsOf(job);
    default:
      return "";
  }
}

function outputsOf(job) {
  if (!job.output_count) return "";
  const files = plural(job.output_count, "file");
  return job.output_bytes === null ? files : `${files}, ${size(job.output_bytes)}`;
}
