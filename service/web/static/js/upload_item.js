// One upload of the list: a file, or several for one job; from waiting over sending to the end of its job.

import { el, put, setText, show } from "./dom.js";
import { plural, size } from "./format.js";
import { badge } from "./job_state.js";
import { oneLine } from "./printable.js";

const PREVIEW_BYTES = 20 * 1024 * 1024;
const PREVIEWED = /^image\/(?:png|jpeg|gif|webp|avif|bmp)$/;

/** `phase` is waiting, sending, refused, lost or sent; with a job, `job` has its state. */
export class UploadItem {
  phase = "waiting";
  job = null;
  fraction = 0;
  problem = "";
  sending = null;
  key = "";

  constructor(files, { onCancel, onAgain }) {
    this.files = files;
    this.name = files.length > 1 ? `${files[0].name} and ${files.length - 1} more` : files[0].name;
    this.bytes = files.reduce((sum, file) => sum + file.size, 0);
    const title = oneLine(this.name, 120);
    this.parts = {
      title: el("bdi", { class: "name" }, title),
      state: el("span", { class: "upload-state" }),
      bar: el("progress", { max: "1", "aria-label": `Progress of ${title}` }),
      note: el("p", { class: "muted note" }),
      cancel: el("button", { type: "button", class: "quiet", onclick: () => onCancel(this) }),
      again: el("button", { type: "button", "aria-label": `Try ${title} again`, onclick: () => onAgain(this) }, "Try again"),
    };
    const { title: name, state, bar, note, cancel, again } = this.parts;
    const text = el("div", { class: "upload-text" }, el("div", { class: "upload-head" }, name, state), bar, note);
    this.element = el("li", {}, thumbnail(files), text, el("div", { class: "buttons" }, again, cancel));
    this.draw();
  }

  /** Whether nothing more will happen with it here. */
  get isOver() {
    return this.job ? ["succeeded", "failed", "cancelled"].includes(this.job.state) : false;
  }

  draw() {
    const { state, bar, note, cancel, again, title } = this.parts;
    this.element.dataset.phase = this.phase;
    put(state, this.job ? badge(this.job.state) : LABELS[this.phase]);
    const moving = this.phase === "sending" || this.job?.state === "running";
    show(bar, moving);
    if (moving) bar.value = this.job ? this.job.progress.fraction : this.fraction;
    setText(note, this.#note());
    note.classList.toggle("bad", this.problem !== "" || this.job?.state === "failed");
    show(cancel, !this.isOver);
    setText(cancel, this.job || this.phase === "sending" ? "Cancel" : "Remove");
    cancel.setAttribute("aria-label", `${cancel.textContent} ${oneLine(this.name, 120)}`);
    show(again, this.phase === "lost" || this.phase === "refused");
    if (this.job && !title.querySelector("a")) {
      put(title, el("a", { href: `/jobs/${this.job.id}` }, oneLine(this.name, 120)));
    }
  }

  #note() {
    if (this.problem) return oneLine(this.problem, 300);
    if (this.phase === "sending") return `${Math.floor(this.fraction * 100)} % of ${size(this.bytes)}`;
    if (this.job?.state === "running") return oneLine(this.job.progress.message, 160);
    if (this.job?.error) return oneLine(`${this.job.error.code}: ${this.job.error.message}`, 300);
    return this.files.length > 1 ? `${plural(this.files.length, "file")}, ${size(this.bytes)}` : size(this.bytes);
  }
}

const LABELS = { waiting: "waiting", sending: "sending", refused: "refused", lost: "not sent", sent: "sent" };

function thumbnail(files) {
  const [file] = files;
  if (!PREVIEWED.test(file.type) || file.size > PREVIEW_BYTES) {
    const ending = /\.([a-z0-9]{1,4})$/i.exec(file.name)?.[1] ?? "file";
    return el("span", { class: "thumb", "aria-hidden": "true" }, ending.toLowerCase());
  }
  const address = URL.createObjectURL(file);
  const release = () => URL.revokeObjectURL(address);
  return el("img", { class: "thumb", src: address, alt: "", onload: release, onerror: release });
}
