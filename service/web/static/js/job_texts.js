// The result, the params and the error of a job, as text; what is long is cut, with a link to the whole.

import { byId, el, put, show } from "./dom.js";
import { size } from "./format.js";
import { printable } from "./printable.js";

const CUT_CHARS = 32 * 1024;

/** Show a JSON value, indented. */
export function jsonBlock(value, label, whole) {
  const text = JSON.stringify(value, null, 2);
  const block = el("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, printable(text.slice(0, CUT_CHARS)));
  if (text.length <= CUT_CHARS) return [block];
  const note = el("p", { class: "muted cut" }, `The first ${size(CUT_CHARS)} of ${size(text.length)}. `, el("a", { href: whole }, "The whole job"));
  return [block, note];
}

export function showResult(job) {
  const has = job.result !== null && job.result !== undefined;
  show(byId("result"), has);
  if (has) put(byId("result-body"), jsonBlock(job.result, "Result", job.links.self));
}

export function showParams(job) {
  const empty = !Object.keys(job.params).length;
  put(byId("params"), empty ? el("p", { class: "muted" }, "None.") : jsonBlock(job.params, "Params", job.links.self));
  if (Object.keys(job.metadata).length) {
    byId("params").append(el("h3", {}, "Metadata"), ...jsonBlock(job.metadata, "Metadata", job.links.self));
  }
}

export function showError(job) {
  const has = job.error !== null && job.state !== "cancelled";
  show(byId("error"), has);
  if (!has) return;
  const { code, message, ...more } = job.error;
  const texts = Object.entries(more).filter(([, value]) => value !== null);
  put(
    byId("error-body"),
    el("p", { class: "wrap" }, el("code", { class: "tag" }, printable(code)), " ", cut(message, 2_000)),
    texts.map(([name, value]) => folded(name, value)),
  );
}

function folded(name, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const block = el("pre", { class: "code", tabindex: "0", role: "region", "aria-label": name }, cut(text, CUT_CHARS));
  return el("details", {}, el("summary", {}, name.replaceAll("_", " ")), block);
}

function cut(text, limit) {
  const whole = printable(text);
  return whole.length > limit ? `${whole.slice(0, limit)}…` : whole;
}
