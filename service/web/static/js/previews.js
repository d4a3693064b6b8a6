// A look at a stored file. Its bytes are only ever shown as an image, which runs nothing, or as text.

import { readHead } from "./api.js";
import { el, put } from "./dom.js";
import { size } from "./format.js";
import { pdfPages } from "./pdf_pages.js";
import { printable } from "./printable.js";
import { rowsOf } from "./table_text.js";

const HEAD_BYTES = 32 * 1024;
const IMAGE_BYTES = 30 * 1024 * 1024;
const NEAR = { rootMargin: "400px" };
const ROWS = 30;
const COLUMNS = 30;
const IMAGES = /^image\/(?:png|jpeg|gif|webp|avif|bmp|svg\+xml|x-icon|vnd\.microsoft\.icon)$/;
const TEXTS = /^(?:text\/|message\/|application\/(?:json|x-ndjson|csv|xml|javascript|yaml|toml|sql)|.*\+(?:json|xml)$)/;
const TABLES = /\.(?:csv|tsv)$/i;
const JSONS = /\.(?:json|geojson)$/i;

/** Return an element that shows the file as soon as it is seen, or null where there is no way to. */
export function previewOf(file) {
  const draw = drawerOf(file);
  if (!draw) return null;
  const place = el("div", { class: "preview" });
  const watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    draw(file, place).catch((error) => put(place, el("p", { class: "muted" }, `No preview: ${error.message}`)));
  }, NEAR);
  watcher.observe(place);
  return place;
}

function drawerOf(file) {
  const { media_type: type, size_bytes: bytes, name } = file;
  if (!bytes) return null;
  if (IMAGES.test(type)) return bytes <= IMAGE_BYTES ? drawImage : null;
  if (type === "application/pdf") return pdfPages;
  if (!TEXTS.test(type)) return null;
  if (/[/+](?:json)$/.test(type) || JSONS.test(name)) return drawJson;
  return type.endsWith("/csv") || TABLES.test(name) ? drawTable : drawText;
}

async function drawImage(file, place) {
  const image = el("img", { src: file.links.content, alt: `Preview of ${printable(file.name)}`, decoding: "async" });
  image.addEventListener("error", () => put(place, el("p", { class: "muted" }, "This browser cannot show the image.")));
  put(place, image);
}

async function drawText(file, place) {
  const { text, note } = await headOf(file);
  put(place, blockOf(printable(text), file), note);
}

async function drawJson(file, place) {
  const { text, note } = await headOf(file);
  put(place, blockOf(printable(note ? text : indented(text)), file), note);
}

async function drawTable(file, place) {
  const { text, note } = await headOf(file);
  const rows = rowsOf(text, ROWS + 1, note !== null);
  if (rows.length < 1 || rows[0].length < 2) {
    put(place, blockOf(printable(text), file), note);
    return;
  }
  const [head, ...body] = rows.map((row) => row.slice(0, COLUMNS).map((cell) => printable(cell).slice(0, 200)));
  const table = el(
    "table",
    { class: "grid" },
    el("thead", {}, el("tr", {}, head.map((cell) => el("th", { scope: "col" }, cell)))),
    el("tbody", {}, body.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))),
  );
  const more = note ?? (body.length === ROWS ? cutNote(file, `The first ${ROWS} rows.`) : null);
  put(place, el("div", scrolling(file, "scroll"), table), more);
}

async function headOf(file) {
  const bytes = await readHead(file, HEAD_BYTES);
  const text = new TextDecoder().decode(bytes);
  const note = file.size_bytes > HEAD_BYTES ? cutNote(file, `The first ${size(HEAD_BYTES)} of ${size(file.size_bytes)}.`) : null;
  return { text, note };
}

function blockOf(text, file) {
  return el("pre", scrolling(file, "code"), text);
}

function scrolling(file, name) {
  return { class: name, tabindex: "0", role: "region", "aria-label": `Preview of ${printable(file.name)}` };
}

function cutNote(file, text) {
  return el("p", { class: "muted cut" }, `${text} `, el("a", { href: file.links.content, download: true }, "The whole file"));
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
