// What happened to the job, in order.

import { el } from "./dom.js";
import { clock, duration, moment } from "./format.js";
import { oneLine } from "./printable.js";

const WORDS = {
  submit: "Submitted",
  claim: "Started",
  succeed: "Succeeded",
  fail: "Failed",
  back_off: "Failed; to be tried again",
  snooze: "Put off by the processor",
  release: "Put back: the server stopped",
  rescue: "Taken back: the server had died",
  give_up: "Failed: the server had died",
  cancel: "Cancelled",
  retry: "Queued again",
};

const KEPT = 1_000; // a job may be put off for ever

/** Adds an entry for each change of state; the newest stay. */
export class Timeline {
  #list;
  #last = null;

  constructor(list) {
    this.#list = list;
  }

  add(data) {
    const words = WORDS[data.reason] ?? data.state;
    const since = this.#last === null ? "" : `+${duration((Date.parse(data.at) - this.#last) / 1000)}`;
    const attempt = data.reason === "claim" ? `, attempt ${data.attempt}` : "";
    const error = data.error && data.reason !== "cancel" ? oneLine(`${data.error.code}: ${data.error.message}`, 300) : "";
    this.#last = Date.parse(data.at);
    if (this.#list.childElementCount >= KEPT) this.#list.firstElementChild.remove();
    this.#list.append(
      el(
        "li",
        { "data-state": data.state },
        el("span", { class: "dot", "aria-hidden": "true" }),
        el("div", {}, el("strong", {}, words), attempt, error && el("p", { class: "bad wrap" }, error)),
        el("span", { class: "when" }, el("time", { datetime: data.at, title: moment(data.at) }, clock(data.at)), el("span", { class: "muted" }, since)),
      ),
    );
  }
}
