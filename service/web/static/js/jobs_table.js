// The rows of the list. Events may come by the thousand: a row is drawn at most once a frame, and only while it can be
// seen; the others wait until they are scrolled to.

import { oncePerFrame } from "./frames.js";
import { makeRow } from "./jobs_row.js";

/** Keep the rows of `body`; `onPick(id, picked)` is called when a row is ticked. */
export class JobsTable {
  #body;
  #onPick;
  #jobs = new Map();
  #rows = new Map();
  #visible = new Set();
  #dirty = new Set();
  #draw = oncePerFrame(() => this.#drawDirty());
  #watcher = new IntersectionObserver((entries) => this.#note(entries), { rootMargin: "100px" });

  constructor(body, onPick) {
    this.#body = body;
    this.#onPick = onPick;
    setInterval(() => this.#tick(), 1000);
  }

  get ids() {
    return [...this.#jobs.keys()];
  }

  get(id) {
    return this.#jobs.get(id);
  }

  /** Show these jobs, in this order; rows that stay keep their place and their focus. */
  show(jobs, picked) {
    this.#drop(new Set(jobs.map((job) => job.id)));
    let before = this.#body.firstChild;
    for (const job of jobs) {
      this.#jobs.set(job.id, job);
      const row = this.#rows.get(job.id) ?? this.#add(job);
      row.pick.checked = picked.has(job.id);
      if (row.element === before) before = before.nextSibling;
      else this.#body.insertBefore(row.element, before);
      this.#dirty.add(job.id);
    }
    this.#jobs = new Map(jobs.map((job) => [job.id, job]));
    this.#draw();
  }

  /** Draw a job again that has changed. */
  touch(id) {
    this.#dirty.add(id);
    this.#draw();
  }

  /** Tick the rows that are picked. */
  showPicked(picked) {
    for (const [id, row] of this.#rows) row.pick.checked = picked.has(id);
  }

  #add(job) {
    const row = makeRow(job, this.#onPick);
    row.update(job);
    this.#rows.set(job.id, row);
    this.#watcher.observe(row.element);
    return row;
  }

  #drop(kept) {
    for (const [id, row] of this.#rows) {
      if (kept.has(id)) continue;
      this.#watcher.unobserve(row.element);
      row.element.remove();
      this.#rows.delete(id);
      this.#visible.delete(id);
      this.#dirty.delete(id);
    }
  }

  #note(entries) {
    for (const entry of entries) {
      const id = entry.target.dataset.id;
      if (entry.isIntersecting) this.#visible.add(id);
      else this.#visible.delete(id);
    }
    if (this.#dirty.size) this.#draw();
  }

  #drawDirty() {
    for (const id of this.#dirty) {
      if (!this.#visible.has(id)) continue;
      this.#rows.get(id)?.update(this.#jobs.get(id));
      this.#dirty.delete(id);
    }
  }

  #tick() {
    for (const id of this.#visible) this.#rows.get(id)?.tick(this.#jobs.get(id));
  }
}
