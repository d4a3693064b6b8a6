// The log of a job, line by line as it comes: the newest lines stay, long ones are folded.

import { byId, el, put } from "./dom.js";
import { clock, count } from "./format.js";
import { oncePerFrame } from "./frames.js";
import { printable } from "./printable.js";

const KEPT = 1_000;
const LONG = 600;
const NEAR_PX = 40;

export class Log {
  #list = byId("log");
  #whole;
  #waiting = [];
  total = 0;
  #draw = oncePerFrame(() => this.#flush());

  /** `whole` is the address of all events of the job. */
  constructor(whole) {
    this.#whole = whole;
    put(byId("log-note"), "No lines so far.");
  }

  add(data) {
    this.total += 1;
    this.#waiting.push(data);
    if (this.#waiting.length > KEPT) this.#waiting.shift();
    this.#draw();
  }

  #flush() {
    const list = this.#list;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_PX;
    list.append(...this.#waiting.splice(0).map(lineOf));
    while (list.childElementCount > KEPT) list.firstElementChild.remove();
    put(byId("log-note"), this.#note());
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  #note() {
    if (this.total <= KEPT) return [];
    return [`The last ${count(KEPT)} of ${count(this.total)} lines. `, el("a", { href: this.#whole }, "All events")];
  }
}

function lineOf(data) {
  const text = printable(data.message);
  const time = el("time", { datetime: data.at }, clock(data.at));
  return el("div", {}, time, text.length > LONG ? folded(text) : el("span", { class: "line" }, text), fieldsOf(data.fields));
}

function folded(text) {
  const rest = el("details", {}, el("summary", {}, `all ${count(text.length)} characters`), el("pre", {}, text));
  return el("div", { class: "line" }, `${text.slice(0, LONG)}…`, rest);
}

function fieldsOf(fields) {
  const pairs = Object.entries(fields ?? {});
  if (!pairs.length) return null;
  const text = pairs.map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return el("span", { class: "log-fields" }, printable(text.join(" ")).slice(0, LONG));
}
