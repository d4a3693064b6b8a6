// Select many, and cancel, retry or delete them together.

import { call } from "./api.js";
import { confirmed, LOST } from "./confirm.js";
import { byId, setText, show } from "./dom.js";
import { plural } from "./format.js";
import { CANCELLABLE, RETRYABLE } from "./job_state.js";
import { announce } from "./shell.js";

const AT_ONCE = 6;
const ACTS = {
  cancel: { done: "cancelled", fits: (job) => CANCELLABLE.has(job.state), call: (id) => call("POST", `/v1/jobs/${id}/cancel`) },
  retry: { done: "queued again", fits: (job) => RETRYABLE.has(job.state), call: (id) => call("POST", `/v1/jobs/${id}/retry`) },
  delete: { done: "deleted", fits: (job) => job.state !== "running", call: (id) => call("DELETE", `/v1/jobs/${id}`) },
};

/** Wire the bar: `jobOf(id)` gives a job, `onChange()` is called when the choice changes, `onDone()` after an act. */
export function setUpSelection({ jobOf, onChange, onDone }) {
  const picked = new Set();
  const bar = byId("selection");

  const paint = () => {
    show(bar, picked.size > 0);
    setText(byId("selected-count"), `${plural(picked.size, "job")} selected`);
    for (const button of bar.querySelectorAll("[data-act]")) {
      const act = ACTS[button.dataset.act];
      if (act) button.disabled = !fitting(act).length;
    }
    onChange();
  };
  const fitting = (act) => [...picked].filter((id) => jobOf(id) && act.fits(jobOf(id)));

  bar.addEventListener("click", async (event) => {
    const name = event.target.closest("[data-act]")?.dataset.act;
    if (name === "clear") picked.clear();
    else if (name) {
      const ids = fitting(ACTS[name]);
      if (name === "delete" && !(await confirmed(`Delete ${plural(ids.length, "job")}?`, LOST, "Delete"))) return;
      const outcome = await actOnAll(ids, ACTS[name]);
      picked.clear();
      tell(outcome);
      onDone();
    }
    paint();
  });

  return {
    picked,
    paint,
    pick(id, wanted) {
      if (wanted) picked.add(id);
      else picked.delete(id);
      paint();
    },
    pickAll(ids, wanted) {
      for (const id of ids) wanted ? picked.add(id) : picked.delete(id);
      paint();
    },
    /** Forget what is no longer listed. */
    keepOnly(ids) {
      const known = new Set(ids);
      for (const id of picked) if (!known.has(id)) picked.delete(id);
      paint();
    },
  };
}

async function actOnAll(ids, act) {
  const waiting = [...ids];
  const refused = [];
  let done = 0;
  const work = async () => {
    for (let id = waiting.pop(); id; id = waiting.pop()) {
      try {
        await act.call(id);
        done += 1;
      } catch (error) {
        refused.push(error.message);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { text: `${plural(done, "job")} ${act.done}`, refused };
}

function tell({ text, refused }) {
  const full = refused.length ? `${text}; ${refused.length} refused: ${refused[0]}` : text;
  setText(byId("shown"), full);
  announce(full);
}
