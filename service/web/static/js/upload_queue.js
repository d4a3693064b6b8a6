// The uploads of the page: a few are sent at the same time, the rest wait.

import { newKey, Refusal } from "./api.js";
import { lightly } from "./job_state.js";
import { send } from "./sender.js";

const AT_ONCE = 3;

export class UploadQueue {
  #items = [];
  #order = null;
  #hooks;

  /** `onChange()` after each change, `onJob(item)` for each accepted job, `onRefused(refusal)` for wrong params. */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  get items() {
    return this.#items;
  }

  get isBusy() {
    return this.#items.some((item) => item.phase === "sending");
  }

  add(item) {
    this.#items.push(item);
    this.#hooks.onChange();
  }

  remove(item) {
    this.#items = this.#items.filter((one) => one !== item);
    item.element.remove();
    this.#hooks.onChange();
  }

  /** Send all that waits, with these params. */
  start(processor, params) {
    this.#order = { processor, params };
    for (const item of this.#items) if (item.phase === "refused") this.#set(item, "waiting");
    this.#fill();
  }

  /** Send one again: with the same key while nobody knows whether the server got it. */
  again(item) {
    this.#set(item, "waiting");
    this.#fill();
  }

  /** Forget what waits, and stop what is being sent. */
  cancel(item) {
    if (item.phase === "sending") item.sending.cancel();
    else this.remove(item);
  }

  #fill() {
    for (const item of this.#items) {
      if (this.#items.filter((one) => one.phase === "sending").length >= AT_ONCE || !this.#order) return;
      if (item.phase === "waiting") this.#send(item, this.#order);
    }
  }

  async #send(item, order) {
    item.key ||= newKey();
    item.fraction = 0;
    item.sending = send({ ...order, files: item.files, key: item.key }, (fraction) => {
      item.fraction = fraction;
      item.draw();
    });
    this.#set(item, "sending");
    try {
      item.job = lightly(await item.sending.done);
      this.#hooks.onJob(item);
      this.#set(item, "sent");
    } catch (error) {
      this.#failed(item, error);
    }
    this.#fill();
  }

  #failed(item, error) {
    if (error === null) {
      this.remove(item);
    } else if (error instanceof Refusal) {
      item.key = "";
      const paramsAreWrong = error.errors.length > 0;
      if (paramsAreWrong) this.#order = null; // they are so for all that wait
      this.#set(item, paramsAreWrong ? "waiting" : "refused", paramsAreWrong ? "" : error.message);
      this.#hooks.onRefused(error, paramsAreWrong);
    } else {
      this.#set(item, "lost", error.message);
    }
  }

  #set(item, phase, problem = "") {
    item.phase = phase;
    item.problem = problem;
    item.draw();
    this.#hooks.onChange();
  }
}
