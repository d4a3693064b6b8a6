// Submit a job again with other params, over the input files that are stored already.

import { call, get } from "./api.js";
import { byId, show } from "./dom.js";
import { ParamsForm } from "./params_form.js";

/** Wire the form; `currentJob()` gives the job that is shown. */
export function setUpAgain(currentJob) {
  const card = byId("again");
  const form = new ParamsForm(byId("again-fields"), byId("again-problem"));

  byId("edit").addEventListener("click", async () => {
    const job = currentJob();
    try {
      const processor = await get(`/v1/processors/${encodeURIComponent(job.processor)}`);
      form.draw(processor.params_schema, job.params);
    } catch (error) {
      form.draw({});
      form.showProblems([], error.message);
    }
    show(card, true);
    card.scrollIntoView({ block: "nearest" });
    (card.querySelector("input, select, textarea") ?? byId("again-close")).focus();
  });
  byId("again-close").addEventListener("click", () => {
    show(card, false);
    byId("edit").focus();
  });
  byId("again-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const params = form.read();
    if (params === null) return;
    try {
      const job = await call("POST", "/v1/jobs", { body: submissionOf(currentJob(), params) });
      location.assign(`/jobs/${job.id}`);
    } catch (error) {
      form.showProblems(error.errors ?? [], error.message);
    }
  });
}

function submissionOf(job, params) {
  const { processor, priority, max_attempts, timeout_s, metadata } = job;
  return { processor, params, priority, max_attempts, timeout_s, metadata, files: job.inputs.map((file) => file.id) };
}
