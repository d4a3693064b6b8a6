// The inputs or the outputs of a job, each with a preview.

import { el, put } from "./dom.js";
import { plural, size } from "./format.js";
import { previewOf } from "./previews.js";
import { oneLine } from "./printable.js";

const FIRST = 12;

/** Show the files; nothing is drawn again for the same ones. */
export function showFiles(place, files, nothing) {
  const ids = files.map((file) => file.id).join();
  if (place.dataset.ids === ids) return;
  place.dataset.ids = ids;
  if (!files.length) {
    put(place, el("p", { class: "muted" }, nothing));
    return;
  }
  const rest = files.slice(FIRST);
  const more = el("button", { type: "button", onclick: () => more.replaceWith(...rest.map(fileOf)) }, `Show ${plural(rest.length, "more file")}`);
  put(place, files.slice(0, FIRST).map(fileOf), rest.length > 0 && more);
}

function fileOf(file) {
  const name = el("bdi", { class: "name wrap" }, oneLine(file.name, 300));
  const facts = el("span", { class: "muted" }, `${oneLine(file.media_type, 100)} · ${size(file.size_bytes)}`);
  const link = el("a", { class: "button small", href: file.links.content, download: true, "aria-label": `Download ${oneLine(file.name, 100)}` }, "Download");
  return el("article", { class: "file" }, el("div", { class: "file-head" }, el("div", {}, name, facts), link), previewOf(file));
}
