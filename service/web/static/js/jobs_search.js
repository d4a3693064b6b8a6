// Search by id and by file name. The API finds an id at once. It has no index of names, so names are looked for in the
// newest jobs that fit the filters, page by page, and the answer says how far that went. Of a job with very many files a
// list names the first ones only, and they alone are found. No more of a job is kept than its row shows.

import { get, Refusal } from "./api.js";
import { lightly, ROW_FIELDS } from "./job_state.js";
import { apiQuery } from "./jobs_address.js";

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const SLICE = 500;
export const PAGE = 50;
export const REACH = 5_000;

/** Find the jobs of the view: `{items, next, searched}`; `searched` counts the jobs that were looked at. */
export async function findJobs(view, signal) {
  const wanted = view.q.trim().toLowerCase();
  if (!wanted) return onePage(view, signal);
  if (ID.test(wanted)) return { items: await byId(wanted, signal), next: "", searched: null };
  return scan(view, wanted, signal);
}

/** Whether a job is one that is looked for. */
export function matches(job, wanted) {
  const files = [...job.inputs, ...job.outputs];
  return job.id.includes(wanted) || files.some((file) => file.name.toLowerCase().includes(wanted));
}

async function onePage(view, signal) {
  const page = await get(`/v1/jobs?${apiQuery(view, { limit: PAGE, fields: ROW_FIELDS })}`, { signal });
  return { items: page.items.map(lightly), next: page.next_cursor ?? "", searched: null };
}

async function byId(id, signal) {
  try {
    return [lightly(await get(`/v1/jobs/${id}`, { signal }))];
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return [];
    throw error;
  }
}

async function scan(view, wanted, signal) {
  const items = [];
  let cursor = view.cursor;
  let searched = 0;
  do {
    const page = await get(`/v1/jobs?${apiQuery(view, { limit: SLICE, cursor, fields: ROW_FIELDS })}`, { signal });
    items.push(...page.items.filter((job) => matches(job, wanted)).map(lightly));
    searched += page.items.length;
    cursor = page.next_cursor ?? "";
  } while (cursor && items.length < PAGE && searched < REACH);
  return { items, next: cursor, searched };
}
