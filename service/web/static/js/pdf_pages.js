// Pages of a PDF as images. The server draws them, by a job of `pdf.render` that is deleted once they are here.

import { call, get } from "./api.js";
import { el, put } from "./dom.js";
import { printable } from "./printable.js";

const PAGES = "1";
const WIDTH = 900;
const PATIENCE = "wait=30";

let available = null;

/** Offer the first page of a PDF where the server can draw it. */
export async function pdfPages(file, place) {
  available ??= get("/v1/processors").then(({ items }) => items.some((one) => one.name === "pdf.render" && one.available));
  if (!(await available)) return;
  const status = el("p", { class: "muted", role: "status" });
  const first = el("button", { type: "button", onclick: () => draw(file, place, status, PAGES) }, "Show the first page");
  const all = el("button", { type: "button", onclick: () => draw(file, place, status, null) }, "Show all pages");
  put(place, el("div", { class: "buttons" }, first, all), status);
}

async function draw(file, place, status, pages) {
  put(status, "Drawing…");
  try {
    const job = await rendered(file, pages);
    const images = await Promise.all(job.outputs.map(imageOf));
    put(place, images);
    await call("DELETE", job.links.self);
  } catch (error) {
    put(status, `No preview: ${error.message}`);
  }
}

async function rendered(file, pages) {
  const params = pages ? { pages, width: WIDTH } : { width: WIDTH };
  const body = { processor: "pdf.render", params, files: [file.id], max_attempts: 1, priority: 10, metadata: { preview_of: file.id } };
  const job = await call("POST", "/v1/jobs", { body, headers: { Prefer: PATIENCE } });
  if (job.state === "succeeded") return job;
  throw new Error(job.error ? printable(job.error.message) : "it takes too long; the job goes on by itself");
}

async function imageOf(output) {
  const answer = await fetch(output.links.content);
  const address = URL.createObjectURL(await answer.blob());
  const release = () => URL.revokeObjectURL(address);
  return el("img", { class: "pdf-page", src: address, alt: `Page: ${printable(output.name)}`, onload: release, onerror: release });
}
