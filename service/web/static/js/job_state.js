// What an event makes of a job that is on the page, and how a state looks.

import { el } from "./dom.js";
import { between } from "./format.js";

export const TERMINAL = new Set(["succeeded", "failed", "cancelled"]);
export const RETRYABLE = new Set(["failed", "cancelled"]);
export const CANCELLABLE = new Set(["queued", "running"]);

/** Change the job as the event says. */
export function applyEvent(job, kind, data) {
  if (kind === "progress" && job.state === "running") {
    job.progress = { fraction: data.fraction, message: data.message };
  } else if (kind === "state") {
    job.state = data.state;
    job.attempt = data.attempt;
    job.error = data.error ?? null;
    job.finished_at = TERMINAL.has(data.state) ? data.at : null;
    if (data.state === "running") {
      job.started_at = data.at;
      job.progress = { fraction: 0, message: "" };
    }
  }
}

/** A dot and the state's name. */
export function badge(state) {
  return el("span", { class: "state", "data-state": state }, el("span", { class: "dot", "aria-hidden": "true" }), state);
}

/** How long the last attempt ran, or runs, in seconds; null before the first. */
export function runTime(job) {
  if (!job.started_at || job.state === "queued") return null;
  return Math.max(between(job.started_at, job.finished_at), 0);
}

/** What a person calls the job: its first file, or its processor. */
export function titleOf(job) {
  const [first, ...more] = job.inputs;
  if (!first) return job.processor;
  return more.length ? `${first.name} and ${more.length} more` : first.name;
}
