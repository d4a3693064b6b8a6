// What an event makes of a job that is on the page, and how a state looks.

import { el } from "./dom.js";
import { between } from "./format.js";

export const TERMINAL = new Set(["succeeded", "failed", "cancelled"]);
export const RETRYABLE = new Set(["failed", "cancelled"]);
export const CANCELLABLE = new Set(["queued", "running"]);

/** What a row needs of a job: lists are asked for no more, and no more is kept. */
export const ROW_FIELDS = [
  "processor", "state", "progress", "attempt", "max_attempts", "created_at", "run_after", "started_at", "finished_at",
  "error", "inputs", "outputs", "input_count", "output_count",
].join();

/** A job with only what a row needs, whatever the server said of it; `output_bytes` is null where it did not say all. */
export function lightly(job) {
  const { id, links, processor, state, progress, attempt, max_attempts, created_at, run_after, started_at, finished_at } = job;
  const { input_count, output_count } = job;
  const error = job.error && { code: job.error.code, message: job.error.message };
  const bytes = job.outputs.reduce((sum, file) => sum + file.size_bytes, 0);
  const output_bytes = job.outputs.length === output_count ? bytes : null;
  const [first] = job.inputs;
  const inputs = first ? [{ name: first.name }] : [];
  const moments = { created_at, run_after, started_at, finished_at };
  return { id, links, processor, state, progress, attempt, max_attempts, ...moments, error, inputs, input_count, output_count, output_bytes };
}

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
  const [first] = job.inputs;
  if (!first) return job.processor;
  return job.input_count > 1 ? `${first.name} and ${job.input_count - 1} more` : first.name;
}
